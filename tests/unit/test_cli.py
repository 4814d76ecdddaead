"""The command line: help, the two forms of output, pipes, and text that kernel tools take."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from interceptor import __version__
from interceptor.cli.exits import MEANINGS
from interceptor.cli.main import COMMANDS, run
from interceptor.settings import SETTINGS, Scope
from tests.lab.netns import namespaces
from tests.lab.paths import PROGRAM, interceptor


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_the_settings_all_have(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [command, "show", "--help"] if command == "config" else [command, "--help"]
    assert run(argv) == 0
    out = capsys.readouterr().out
    for name, row in SETTINGS.items():
        if row.scope is Scope.RUN:
            assert f"--{name.replace('_', '-')}" in out
    assert "--config" in out


def test_the_group_lists_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(name in out and text.split(",")[0] in out for name, text in COMMANDS.items())


def test_no_command_is_a_usage_error() -> None:
    done = interceptor()
    assert done.code == 2
    assert "Commands:" in done.stderr


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"interceptor {__version__}\n"


def test_exit_codes_have_meanings() -> None:
    assert sorted(MEANINGS) == [0, 1, 2, 3, 4, 126]


@pytest.mark.parametrize("flags", [(), ("--output", "json")], ids=["human", "json"])
@pytest.mark.parametrize(
    "argv", [("sheets",), ("sheets", "sidecar"), ("config", "show", "--origin"), ("render",)]
)
def test_stdout_is_data_and_stderr_is_empty(
    argv: tuple[str, ...], flags: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*argv, *flags]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "\x1b" not in out, "no colour without a terminal"
    if flags:
        json.loads(out)


def test_json_and_people_get_the_same_facts(capsys: pytest.CaptureFixture[str]) -> None:
    run(["sheets", "sidecar", "--output", "json"])
    facts = json.loads(capsys.readouterr().out)
    run(["sheets", "sidecar"])
    out = capsys.readouterr().out
    assert len(out.splitlines()) == len(facts["rows"]) + 1
    assert all(row["why"] in out for row in facts["rows"])
    run(["render", "--output", "json"])
    text = json.loads(capsys.readouterr().out)["text"]
    run(["render"])
    assert capsys.readouterr().out == text


def test_a_terminal_gets_colour_unless_it_wants_none() -> None:
    for environment, coloured in (
        ({}, True),
        ({"NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
    ):
        out = _on_a_terminal("config", "show", environment=environment)
        assert "inbound_port" in out
        assert ("\x1b[" in out) is coloured


def _on_a_terminal(*argv: str, environment: dict[str, str]) -> str:
    import pty

    ours, theirs = pty.openpty()
    base = {"TERM": "xterm-256color", "PATH": os.environ["PATH"], "COLUMNS": "120"}
    process = subprocess.Popen(
        [PROGRAM, *argv], stdout=theirs, stderr=theirs, env={**base, **environment}
    )
    os.close(theirs)
    out = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:
            break
        if not part:
            break
        out += part
    process.wait()
    os.close(ours)
    return out.decode()


def test_a_reader_that_leaves_early_is_no_error_to_talk_about() -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f"{PROGRAM} render --exclude-outbound-cidrs {_MANY} | head -n 1"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("table inet")
    assert done.stderr == ""


_MANY = ",".join(f"10.{n >> 8}.{n & 255}.0/24" for n in range(0, 8000, 2))


@pytest.mark.root
@pytest.mark.parametrize(
    ("flags", "tool"),
    [
        (("--backend", "nftables"), ("nft", "-c", "-f", "-")),
        (("--backend", "iptables", "--family", "ip"), ("iptables-restore",)),
        (("--backend", "iptables", "--family", "ip"), ("iptables-legacy-restore",)),
        (("--backend", "iptables", "--family", "ip6"), ("ip6tables-restore",)),
    ],
    ids=lambda value: "-".join(value).replace("--", "") if isinstance(value, tuple) else "",
)
def test_what_it_renders_loads_as_it_is(flags: tuple[str, ...], tool: tuple[str, ...]) -> None:
    text = interceptor("render", *flags).stdout
    with namespaces("render") as (namespace,):
        namespace.run(*tool, stdin=text)
        if tool[0] != "nft":
            assert "15006" in namespace.run(tool[0].replace("restore", "save"))


def test_it_says_that_there_are_rules_for_the_other_family_too() -> None:
    done = interceptor("render", "--backend", "iptables", "--ip-families", "dual")
    assert "--family ip6 prints those for IPv6" in done.stderr
    done = interceptor("render", "--backend", "iptables", "--ip-families", "ipv4")
    assert done.stderr == ""


@pytest.mark.root
def test_render_means_the_namespace_it_is_given() -> None:
    """With auto, IPv6 rules are for a namespace that has IPv6."""
    with namespaces("render") as (namespace,):
        assert "nfproto ipv4" in interceptor("render", namespace=namespace).stdout
        namespace.run("ip", "link", "add", "v0", "type", "veth")
        namespace.address("v0", "fd00::1/64")
        assert "nfproto" not in interceptor("render", namespace=namespace).stdout


def test_a_fault_of_the_program_is_one_line_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fault(*_: object) -> None:
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr("interceptor.cli.session.read_settings", fault)
    assert run(["render"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "error: a fault of this program: ZeroDivisionError: on purpose"
    assert "--debug" in lines[1]
    with pytest.raises(ZeroDivisionError):
        run(["render", "--debug"])


def test_the_cni_plugin_says_what_it_is_not_yet() -> None:
    done = subprocess.run(
        [PROGRAM + "-cni"], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    error = json.loads(done.stdout)
    assert done.returncode == 1
    assert error["code"] == 50
    assert "not built yet" in error["msg"]
