"""The command line: help, the two forms of output, pipes, and text that kernel tools take."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from interceptor import __version__
from interceptor.cli.exits import MEANINGS
from interceptor.cli.main import COMMANDS, run
from interceptor.settings import SETTINGS, Scope
from interceptor.sheets.loader import load
from tests.lab.everything import SHEET
from tests.lab.netns import namespaces
from tests.lab.paths import PROGRAM, interceptor

if TYPE_CHECKING:
    from pathlib import Path


_STAND_INS = {
    "istio-iptables",
    "linkerd-proxy-init",
    "kuma-transparent-proxy",
    "consul-redirect-traffic",
}
"""They take other tools' flags, and no settings."""


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in _STAND_INS])
def test_every_command_has_help_and_the_settings_all_have(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    below = {"config": ["show"], "cni": ["install"]}
    argv = [command, *below.get(command, []), "--help"]
    assert run(argv) == 0
    out = capsys.readouterr().out
    for name, row in SETTINGS.items():
        if row.scope is Scope.RUN:
            assert f"--{name.replace('_', '-')}" in out
    assert "--config" in out


def test_the_group_lists_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert all(f"{name} {text}" in out for name, text in COMMANDS.items())


@pytest.mark.parametrize("argv", [(), ("config",), ("cni",)], ids=["interceptor", "config", "cni"])
def test_no_command_is_a_usage_error(argv: tuple[str, ...]) -> None:
    done = interceptor(*argv)
    assert done.code == 2
    assert "Commands:" in done.stderr
    assert done.stdout == ""


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"interceptor {__version__}\n"


def test_exit_codes_have_meanings() -> None:
    assert sorted(MEANINGS) == [0, 1, 2, 3, 4, 126, 130]


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


def test_a_sheets_options_and_what_it_lacks_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    run(["sheets", SHEET])
    out = capsys.readouterr().out
    run(["sheets", SHEET, "--output", "json"])
    facts = json.loads(capsys.readouterr().out)
    assert len(facts["options"]) == len(load(SHEET).options)
    for option in facts["options"]:
        assert all(option[key] in out for key in ("name", "form", "default", "help"))
    assert "--capture-dns" in out
    assert all(why in out for why in facts["lacks"].values())


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


def _in_shell(line: str) -> tuple[int, str]:
    """Run a line of bash, where ``interceptor`` is the program, and give its code and stderr."""
    done = subprocess.run(
        ["/bin/bash", "-c", line.replace("interceptor", PROGRAM, 1)],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        ("render", 0),
        ("config show", 0),
        ("render --output json", 0),
        ("--help", 0),
        ("render --inbound-port 0", 2),
        ("render --inbound-port 0 --output json", 2),
    ],
)
@pytest.mark.parametrize("streams", ["", "2>&1"])
def test_a_closed_pipe_leaves_a_command_its_exit_code(argv: str, code: int, streams: str) -> None:
    # The reader is gone before anything is written.
    line = f"(sleep 0.2; exec interceptor {argv} {streams}) | exec 0<&-; exit ${{PIPESTATUS[0]}}"
    returned, err = _in_shell(line)
    assert returned == code
    assert "Traceback" not in err
    assert "Broken pipe" not in err


@pytest.mark.parametrize(
    ("where", "why"), [(">/dev/full", "No space left on device"), (">&-", "it is closed")]
)
@pytest.mark.parametrize("argv", ["render", "config show", "sheets --output json", "--help"])
def test_output_that_is_lost_is_told(argv: str, where: str, why: str) -> None:
    code, err = _in_shell(f"interceptor {argv} {where}")
    lines = err.splitlines()
    assert code == 1
    assert lines[0] == f"error: the command itself went through, but its output did not: {why}"
    assert lines[1].startswith("hint: ")
    assert len(lines) == 2


@pytest.mark.parametrize("where", ["2>/dev/full", "2>&-", ">&- 2>&-", "<&- >/dev/full 2>&-"])
def test_talk_that_is_lost_is_no_fault(where: str) -> None:
    assert _in_shell(f"interceptor render --inbound-port 0 {where}") == (2, "")


@pytest.mark.root
@pytest.mark.parametrize(("where", "code"), [("| exec 0<&-", 0), (">/dev/full", 1), (">&-", 1)])
def test_a_command_does_its_work_though_nobody_reads_of_it(where: str, code: int) -> None:
    with namespaces("deaf") as (namespace,):
        for command in ("install", "uninstall"):
            returned, err = _in_shell(
                f"(sleep 0.2; exec interceptor {command} --netns {namespace.path}) {where}; "
                "exit ${PIPESTATUS[0]}"
            )
            assert returned == code, err
            there = "interceptor-inbound" in namespace.run("nft", "list", "ruleset")
            assert there is (command == "install")


@pytest.mark.root
@pytest.mark.parametrize(("where", "lines"), [("| exec 0<&-", 0), (">/dev/full", 2)])
def test_what_a_command_found_is_its_exit_code_though_nobody_reads_of_it(
    where: str, lines: int
) -> None:
    with namespaces("deaf") as (namespace,):
        code, err = _in_shell(
            f"(sleep 0.2; exec interceptor status --netns {namespace.path}) {where}; "
            "exit ${PIPESTATUS[0]}"
        )
    assert code == 3
    assert len(err.splitlines()) == lines


def test_standard_streams_that_were_closed_are_not_taken_by_files() -> None:
    """Else the lock, a namespace or a pipe to a tool gets what somebody writes to stdout."""
    code = (
        "import os; from interceptor.cli import entry, main;"
        "main.run = lambda _: sum(os.readlink(f'/proc/self/fd/{n}') == '/dev/null'"
        " for n in range(3));"
        "entry.main()"
    )
    line = f'{sys.executable} -c "{code}" <&- >&- 2>&-'
    assert subprocess.run(["/bin/bash", "-c", line], check=False).returncode == 3


def test_letters_a_terminal_lacks_are_spelled_out() -> None:
    done = interceptor(
        "sheets", "/no/é\udcff.toml", environment={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    )
    assert done.code == 2
    assert r"/no/\xe9\udcff.toml" in done.stderr
    done = interceptor(
        *("config", "show", "--sheet", "sidecar", "--netns", "/é"),
        environment={"PYTHONIOENCODING": "ascii"},
    )
    assert done.code == 0
    assert r"/\xe9" in done.stdout


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


@pytest.mark.parametrize(
    ("flags", "family", "first"),
    [
        (("--ip-families", "ipv6"), "ip6", "! -d ::1/128"),
        (("--ip-families", "ipv4"), "ip", "! -d 127.0.0.1/32"),
        (("--ip-families", "dual"), "ip", "! -d 127.0.0.1/32"),
        (("--ip-families", "dual", "--family", "ip6"), "ip6", "! -d ::1/128"),
    ],
)
def test_iptables_text_is_for_a_family_that_is_intercepted(
    flags: tuple[str, ...], family: str, first: str
) -> None:
    facts = interceptor("render", "--backend", "iptables", "--output", "json", *flags).json
    assert facts["family"] == family
    assert first in facts["text"]


_NO_NAT = """\
format = 1
name = "mine"
summary = "no nat"
prefix = "INTERCEPTOR_MINE"

[chains.{table}]
OUTPUT = [ {{ action = "-j INTERCEPTOR_MINE", why = "look" }} ]
INTERCEPTOR_MINE = [ {{ match = "-p tcp --dport 23", action = "-j DROP", why = "old" }} ]
"""


@pytest.mark.root
@pytest.mark.parametrize("table", ["raw", "mangle", "filter", "security"])
def test_a_sheet_without_nat_loads_too(table: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(_NO_NAT.format(table=table))
    with namespaces("render") as (namespace,):
        flags = ("--sheet", str(path), "--ip-families", "dual")
        namespace.run("nft", "-f", "-", stdin=interceptor("render", *flags).stdout)
        assert "interceptor-mine" in namespace.run("nft", "list", "table", "inet", "interceptor")
        for family, tool in (("ip", "iptables"), ("ip6", "ip6tables")):
            lines = interceptor("render", *flags, "--backend", "iptables", "--family", family)
            for variant in ("nft", "legacy"):
                namespace.run(f"{tool}-{variant}-restore", stdin=lines.stdout)
                saved = namespace.run(f"{tool}-{variant}-save", "-t", table)
                assert "-j DROP" in saved


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
    assert len(lines) == 2
    assert run(["render", "--debug"]) == 1
    more = capsys.readouterr().err.splitlines()
    assert more[0] == "Traceback (most recent call last):"
    assert more[-2:] == lines
