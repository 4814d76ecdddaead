"""The page about other tools' command lines, held to what the program says and has."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from interceptor.cli.main import run
from interceptor.frontends.consul.options import TABLE as CONSUL
from interceptor.frontends.kuma.options import TABLE as KUMA
from interceptor.frontends.linkerd.options import TABLE as LINKERD

if TYPE_CHECKING:
    from interceptor.frontends.option import Option
    from interceptor.frontends.row import Table

_PAGE = (Path(__file__).parent.parent.parent / "docs/meshes/frontends.md").read_text()
_SESSIONS = re.findall(r"^\$ interceptor (.*)\n((?:(?!\$|```).*\n)+)", _PAGE, re.MULTILINE)


def test_there_are_sessions() -> None:
    assert len(_SESSIONS) == 2


@pytest.mark.parametrize(("words", "shown"), _SESSIONS)
def test_sessions_are_what_the_program_prints(
    words: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(shlex.split(words)) == 1
    assert capsys.readouterr().err == shown


@pytest.mark.parametrize("table", [LINKERD, CONSUL], ids=lambda table: table.command)
def test_every_flag_is_told_of(table: Table[Option]) -> None:
    of_a_kind = {"ca-file", "ca-path", "client-cert", "client-key", "token-file", "namespace"}
    of_a_kind |= {"tls-server-name", "partition", "help"}
    for key, row in table.rows.items():
        if not (row.ours or key in of_a_kind):
            assert f"{table.dashes}{key}" in _PAGE or f"`-{row.short}`" in _PAGE, key


@pytest.mark.parametrize("row", [row for row in KUMA.rows.values() if row.lacks and row.path])
def test_what_is_refused_of_kumas_is_told_of(row: Option) -> None:
    if not row.path.startswith("iptablesExecutables."):
        assert (f"--{row.key}" if row.is_flag else row.path) in _PAGE
