"""What Linkerd's and Consul's pages show is what the program prints, and their settings exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from interceptor.settings import SETTINGS
from interceptor.sheets.loader import load
from tests.lab.paths import interceptor
from tests.lab.readme import sessions

_PAGES = Path(__file__).parent.parent.parent / "docs" / "meshes"


@pytest.mark.parametrize("name", ["linkerd", "consul"])
def test_the_sessions_are_true(name: str) -> None:
    shown = sessions((_PAGES / f"{name}.md").read_text())
    assert shown
    for line, wanted in shown:
        done = interceptor(*shlex.split(line)[1:])
        assert (done.stdout + done.stderr).splitlines() == wanted, line


@pytest.mark.parametrize("name", ["linkerd", "consul"])
def test_settings_and_options_that_a_page_names_are_there(name: str) -> None:
    text = (_PAGES / f"{name}.md").read_text()
    cells = re.findall(r"^\|[^|]+\| (.*) \|$", text, re.MULTILINE)
    flags = {flag for cell in cells for flag in re.findall(r"`(--[a-z-]+)", cell)}
    known = {row.flag for row in SETTINGS.values()} | {"--option", "--iptables-variant"}
    assert flags
    assert flags <= known
    assert set(re.findall(r"--option (\w+)=", text)) == set(load(name).options)
