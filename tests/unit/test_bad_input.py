"""What makes no sense is refused: a line what, a line what to do, the right code, no change."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest

from interceptor.cli.main import run

if TYPE_CHECKING:
    from pathlib import Path


class Bad(NamedTuple):
    """A command line, what it must say, and what must come with it."""

    argv: str
    says: str
    hint: str = ""
    code: int = 2
    environment: tuple[tuple[str, str], ...] = ()
    config: str | None = None
    stdin: str | None = None


def env(**variables: str) -> tuple[tuple[str, str], ...]:
    return tuple(variables.items())


_FLAGS = [
    Bad("render --inbound-port 0", "--inbound-port: port 0 is not within 1..65535"),
    Bad("render --inbound-port 65536", "port 65536 is not within 1..65535"),
    Bad("render --outbound-port=-1", "'-1' is no port"),
    Bad("render --outbound-port http", "--outbound-port: 'http' is no port"),
    Bad("render --tunnel-port=", "a port is needed, not an empty value"),
    Bad("render --inbound-port 15006,15007", "'15006,15007' is no port"),
    Bad("render --inbound-port ١٢", "is no port"),
    Bad("render --exclude-inbound-ports 80,0", "port 0 is not within"),
    Bad("render --exclude-inbound-ports 90-80", "the range '90-80' runs backwards"),
    Bad("render --exclude-inbound-ports 80-90-100", "'90-100' is no port"),
    Bad("render --exclude-inbound-ports 80,,443", "an empty item in '80,,443'"),
    Bad("render --exclude-inbound-ports 80,", "an empty item"),
    Bad("render --exclude-outbound-ports *", "'*' excludes everything", "exclude_outbound_ports"),
    Bad("render --exclude-outbound-uids *", "'*' excludes everything"),
    Bad("render --exclude-outbound-uids 0-4294967294", "excludes everything"),
    Bad("status --timeout 1e10", "or more than a day"),
    Bad("render --include-inbound-ports *,80", "'*' is everything and stands alone"),
    Bad("render --include-inbound-ports 80;443", "'80;443' is no port"),
    Bad("render --exclude-outbound-cidrs 10.0.0.0/33", "'10.0.0.0/33' is no address"),
    Bad("render --exclude-outbound-cidrs 10.0.0.0/8,", "an empty item"),
    Bad("render --exclude-outbound-cidrs 10.1.2.3/8", "write 10.0.0.0/8 or 10.1.2.3"),
    Bad("render --exclude-outbound-cidrs fd00::1/8", "write fd00::/8 or fd00::1"),
    Bad("render --exclude-outbound-cidrs example.com", "'example.com' is no address"),
    Bad("render --exclude-outbound-cidrs 10.0.0.0/255.0.0.0", "in CIDR form"),
    Bad("render --exclude-outbound-cidrs 10.0.0.0/", "in CIDR form"),
    Bad("render --exclude-outbound-cidrs fe80::1%eth0", "has a zone"),
    Bad("render --exclude-outbound-cidrs 0.0.0.0/0,::/0", "excludes everything"),
    Bad("render --include-outbound-cidrs *,10.0.0.0/8", "stands alone"),
    Bad("render --loopback-cidr 10.0.0.0/8", "not one network within 127.0.0.0/8"),
    Bad("render --loopback-cidr 127.0.0.1,127.0.0.2/31", "not one network"),
    Bad("render --loopback-cidr ::1/128", "not one network"),
    Bad(
        "render --proxy-uid no_such_user",
        "error: --proxy-uid: no user named 'no_such_user'",
        "give the number",
    ),
    Bad("render --proxy-gid no_such_group", "--proxy-gid: no group named 'no_such_group'"),
    Bad("render --exclude-outbound-uids nobody,ghost", "-outbound-uids: no user named 'ghost'"),
    # A name is looked up as what its setting is about.
    Bad("render --proxy-uid ghost --proxy-gid ghost", "--proxy-uid: no user named 'ghost'"),
    Bad("render --proxy-uid 4294967295", "is not within 0..4294967294"),
    Bad("render --proxy-uid 1337x", "'1337x' is no id"),
    Bad("render --proxy-uid so,me;thing", "'me;thing' is no id and no account name"),
    Bad("render --proxy-uid *", "makes every process the proxy"),
    Bad(
        "render --proxy-uid= --proxy-gid=",
        "the proxy has no user, group, mark",
        "one of the three",
    ),
    Bad("render --exempt-mark 0x1FFFFFFFF", "no mark of 32 bits"),
    Bad("render --exempt-mark 0x100/0xff", "can never match"),
    Bad("render --exempt-mark mark", "'mark' is no mark"),
    Bad("render --exclude-interfaces eth0;reboot", "'eth0;reboot' is no interface name"),
    Bad("render --exclude-interfaces a-name-that-is-too-long", "is no interface name"),
    Bad("render --ip-families ipv5", "'ipv5' is none of auto, ipv4, ipv6, dual"),
    Bad("render --backend pf", "'pf' is none of auto, iptables, nftables"),
    Bad("render --output xml", "'xml' is none of human, json"),
    Bad("render --timeout 0", "'0' is no positive number of seconds"),
    Bad("render --timeout soon", "'soon' is no number of seconds"),
    Bad("render --timeout inf", "no positive number"),
    Bad("render --timeout nan", "no positive number"),
    Bad(
        "render --exempt-mark 0",
        "--exempt-mark: a mark of 0 is what every packet without a mark has",
        "as 0x539",
    ),
    Bad("render --exempt-mark 7,0x0/0xff", "a mark of 0"),
    Bad("render --inbound-port " + "1" * 5000, "'11111111111111111111'... is no port"),
    Bad("status --netns=", "--netns: a value is needed, not an empty one"),
    Bad("render --netns /run/netns/a\u200bb", "has characters that do not print"),
    Bad("render --config=", "--config: a path is needed, not an empty value", "- for stdin"),
    Bad("render --config a\u200bb", r"error: a\u200bb: cannot be read: No such file"),
]

_COMMAND_LINES = [
    Bad(
        "render --inbund-port 1",
        "interceptor render has no option --inbund-port",
        "did you mean --inbound-port?",
    ),
    Bad("render --frobnicate", "interceptor render has no option --frobn", "see interceptor rend"),
    Bad("install --family ip6", "has no option --family: it is one of render", "install --help"),
    Bad(
        "uninstall --inbound-port 3",
        "has no option --inbound-port: it is one of check, install, status, verify, explain, "
        "prove, diff, graph, render",
    ),
    Bad(
        "--netns /run/netns/x status",
        "interceptor itself has no option --netns",
        "write it after a command",
    ),
    Bad("--frobnicate", "interceptor itself has no option", "see interceptor --help"),
    Bad("instal", "there is no command 'instal'", "did you mean install?"),
    Bad("frobnicate", "there is no command 'frobnicate'", "commands are check, install, status"),
    Bad("config shw", "No such command 'shw'", "see interceptor config --help"),
    Bad("render --inbound-port", "requires an argument", "see interceptor render --help"),
    Bad("render more", "unexpected extra argument (more)", "see interceptor render --help"),
    Bad("render --backend iptables --family ip5", "'ip5' is not one of"),
    Bad("render --family ip", "nftables text is one for both", "add --backend iptables"),
    Bad("render --backend nftables --family ip6", "--family ip6 says nothing here"),
    Bad(
        "render --backend iptables --family ip6 --ip-families ipv4",
        "there are no rules for --family ip6",
        "--ip-families",
    ),
    Bad("render --backend iptables --family ip --ip-families ipv6", "no rules for --family ip:"),
]

_SOURCES = [
    Bad(
        "render",
        "INTERCEPTOR_INBOUND_PORT: 'x' is no port",
        environment=env(INTERCEPTOR_INBOUND_PORT="x"),
    ),
    Bad(
        "render",
        "environment: there is no setting 'INTERCEPTOR_INBUND_PORT'",
        "did you mean INTERCEPTOR_INBOUND_PORT?",
        environment=env(INTERCEPTOR_INBUND_PORT="1"),
    ),
    Bad(
        "render",
        "Kubernetes put 'tcp://10.0.0.1:80' there",
        "enableServiceLinks: false",
        environment=env(INTERCEPTOR_INBOUND_PORT="tcp://10.0.0.1:80"),
    ),
    Bad("render", "INTERCEPTOR_DEBUG: 'maybe'", environment=env(INTERCEPTOR_DEBUG="maybe")),
    Bad(
        "render --config FILE",
        "inbund_port",
        "did you mean inbound_port?",
        config="inbund_port = 1",
    ),
    Bad("render --config FILE", "inbound_port: 'x' is no port", config='inbound_port = "x"'),
    Bad("render --config FILE", "inbound_port: port 0", config="inbound_port = 0"),
    Bad("render --config FILE", "'80.5' is no port", config="inbound_port = 80.5"),
    Bad(
        "render --config FILE",
        "FILE: proxy_uid: no user named 'ghost' on this host",
        config='proxy_uid = "ghost"',
    ),
    Bad(
        "render",
        "INTERCEPTOR_PROXY_GID: no group named 'ghost' on this host",
        environment=env(INTERCEPTOR_PROXY_GID="ghost"),
    ),
    Bad(
        "status",
        "INTERCEPTOR_NETNS: a value is needed, not an empty one",
        environment=env(INTERCEPTOR_NETNS=""),
    ),
    Bad(
        "render",
        "INTERCEPTOR_CONFIG: a path is needed, not an empty value",
        environment=env(INTERCEPTOR_CONFIG=""),
    ),
    Bad(
        "render --config FILE",
        "inbound_port: a text, a number or a list of those is needed, not a table",
        config="[inbound_port]\na = 1",
    ),
    Bad(
        "render --config FILE",
        "not a list of other things",
        config="exclude_inbound_ports = [[1]]",
    ),
    Bad("render --config FILE", "needed, not a date", config="inbound_port = 2020-01-01"),
    Bad(
        "render --config FILE",
        "as TOML: Invalid value",
        "write key = value",
        config="inbound_port = ",
    ),
    Bad(
        "render --config -",
        "stdin: inbound_port: there is no value",
        'write inbound_port: "15006", or leave the key out',
        stdin="inbound_port:\n",
    ),
    Bad(
        "render --config -",
        "stdin: exclude_inbound_ports: there is no value",
        'write exclude_inbound_ports: "" for the empty list',
        stdin="exclude_inbound_ports: ~\n",
    ),
    Bad(
        "render --config -",
        "stdin: proxy_gid: there is no value",
        'write "proxy_gid": "" for the empty list',
        stdin='{"proxy_gid": null}',
    ),
    Bad("render --config -", "as YAML: it holds something else than keys", stdin="[1, 2]"),
    Bad(
        "render --config -",
        "as YAML: line 2: the key 'netns' is there",
        stdin="netns: a\nnetns: a",
    ),
    Bad("render --config -", "the key 'verify' is there twice", stdin='{"verify":1, "verify":1}'),
    Bad("render --config -", "as TOML: Cannot overwrite", stdin="verify = true\nverify = true"),
    Bad("render --config /no/such/file", "cannot be read: No such file or directory"),
    Bad("render --config /", "cannot be read: Is a directory"),
    Bad(
        "render --config FILE --inbound-port 1",
        "FILE: inbound_port: 'x'",
        config='inbound_port = "x"',
    ),
]

_SHEETS = [
    Bad("render --sheet sidcar", "there is no sheet 'sidcar'", "or ends in .toml"),
    Bad("render --sheet /no/such.toml", "cannot be read: No such file"),
    Bad("render --sheet=", "a value is needed, not an empty one"),
    Bad("sheets nothing", "there is no sheet 'nothing'"),
]

_PLACES = [
    Bad("status --netns /no/such/netns", "cannot be opened: No such file", "/run/netns/NAME"),
    Bad("status --netns /etc/passwd", "/etc/passwd is no network namespace", "/run/netns/NAME"),
    Bad("install --netns /", "/ is no network namespace"),
    Bad("verify --netns /proc/self/ns/mnt", "is no network namespace"),
]

CASES = [*_FLAGS, *_COMMAND_LINES, *_SOURCES, *_SHEETS, *_PLACES]


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 60


@pytest.mark.parametrize(
    "bad", CASES, ids=lambda bad: bad.argv + (f" {bad.config or bad.stdin or ''}")
)
def test_it_is_refused(
    bad: Bad,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    namespace_before = os.readlink("/proc/self/ns/net")
    for name, value in bad.environment:
        monkeypatch.setenv(name, value)
    file = tmp_path / "FILE"
    if bad.config is not None:
        file.write_text(bad.config)
    standard_input = tmp_path / "stdin"
    standard_input.write_text(bad.stdin or "")
    argv = [str(file) if word == "FILE" else word for word in bad.argv.split()]
    with standard_input.open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        code = run(argv)
    out, err = capsys.readouterr()
    lines = err.replace(str(tmp_path) + "/", "").splitlines()
    assert code == bad.code
    assert out == ""
    assert bad.says in "\n".join(lines)
    assert "Traceback" not in err
    assert len(lines) == 2, "one line what failed, one line what to do"
    assert lines[0].startswith("error: ")
    assert lines[1].startswith("hint: ")
    assert bad.hint in lines[1]
    assert os.readlink("/proc/self/ns/net") == namespace_before


def test_an_error_as_json_has_the_same_facts(capsys: pytest.CaptureFixture[str]) -> None:
    import json

    assert run(["render", "--inbound-port", "0", "--output", "json"]) == 2
    out, err = capsys.readouterr()
    error = json.loads(out)
    assert error["exit_code"] == 2
    assert f"error: {error['error']}" in err
    assert f"hint: {error['hint']}" in err


@pytest.mark.parametrize("by", ["flag", "environment"])
def test_debug_shows_where_an_error_comes_from(
    by: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["render", "--inbound-port", "0"]
    if by == "flag":
        argv.append("--debug")
    else:
        monkeypatch.setenv("INTERCEPTOR_DEBUG", "yes")
    assert run(argv) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert any("ConfigError: --inbound-port: port 0" in line for line in lines)
    assert lines[-2].startswith("error: --inbound-port: port 0")
    assert lines[-1].startswith("hint: ")


def test_service_links_of_kubernetes_are_no_settings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A Service called interceptor puts these into every pod of its namespace."""
    for name, value in {
        "INTERCEPTOR_SERVICE_HOST": "10.0.0.1",
        "INTERCEPTOR_SERVICE_PORT": "80",
        "INTERCEPTOR_SERVICE_PORT_HTTP": "80",
        "INTERCEPTOR_PORT": "tcp://10.0.0.1:80",
        "INTERCEPTOR_PORT_80_TCP": "tcp://10.0.0.1:80",
        "INTERCEPTOR_PORT_80_TCP_ADDR": "10.0.0.1",
        "INTERCEPTOR_WEB_SERVICE_HOST": "10.0.0.2",
    }.items():
        monkeypatch.setenv(name, value)
    assert run(["render"]) == 0
    assert "table inet interceptor" in capsys.readouterr().out
