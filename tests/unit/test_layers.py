"""Imports point one way, and only the rooms that may touch Linux do."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import interceptor

_ROOT = Path(str(interceptor.__file__)).parent

_ORDER = [
    {"interceptor", "errors", "names", "files"},
    {"values", "documents"},
    {"config", "facts"},
    {"settings", "dialect"},
    {"layers"},
    {"model"},
    {"record", "parse"},
    {"sheets", "render", "analysis"},
    {"sources"},
    {"frontends"},
    {"system"},
    {"backends"},
    {"detection"},
    {"operations"},
    {"verify"},
    {"cni"},
    {"node"},
    {"cli"},
    {"__main__"},
]
"""A room may import from itself and from those above it."""

_LINUX = {"subprocess", "ctypes", "fcntl", "socket", "signal", "pyroute2", "iptc", "bcc"}
_MAY_TOUCH_LINUX = {"system", "backends", "verify"}
_PURE = {"os", "sys", "time", "random", "io", "pathlib", "tempfile", "shutil"} | _LINUX


def room(path: Path) -> str:
    """Give the first part of a module's name below the package."""
    first = path.relative_to(_ROOT).parts[0]
    return "interceptor" if first == "__init__.py" else first.removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Give all modules a file imports, late ones and those for types too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = str(node.module)
            inner = {f"{module}.{alias.name}" for alias in node.names}
            found |= inner if module == "interceptor" else {module}
    return found


_FILES = sorted(_ROOT.rglob("*.py"))
_RANKS = {name: rank for rank, names in enumerate(_ORDER) for name in names}


def test_every_room_has_its_place() -> None:
    assert {room(path) for path in _FILES} == set(_RANKS)


@pytest.mark.parametrize("path", _FILES, ids=lambda path: str(path.relative_to(_ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    mine = _RANKS[room(path)]
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != "interceptor":
            continue
        target = parts[1] if len(parts) > 1 else "interceptor"
        rank = _RANKS.get(target, 0)
        same = target == room(path)
        assert same or rank < mine, f"{path.name} must not import {name}"


@pytest.mark.parametrize("path", _FILES, ids=lambda path: str(path.relative_to(_ROOT)))
def test_only_some_rooms_touch_linux(path: Path) -> None:
    roots = {name.split(".")[0] for name in imports(path)}
    if room(path) not in _MAY_TOUCH_LINUX:
        assert not roots & _LINUX
    if room(path) in {"render", "analysis", "model", "parse", "detection"}:
        assert not roots & _PURE


@pytest.mark.parametrize(
    "path", [p for p in _FILES if room(p) == "frontends"], ids=lambda p: str(p.relative_to(_ROOT))
)
def test_no_front_end_knows_another(path: Path) -> None:
    """What they share knows none of them; each tool knows that, and itself."""
    rest = path.relative_to(_ROOT / "frontends").parts
    for name in imports(path):
        if name.startswith("interceptor.frontends."):
            target = name.split(".")[2]
            is_tool = (_ROOT / "frontends" / target).is_dir()
            assert not is_tool or target == rest[0], f"{path.name} must not import {name}"


def test_one_place_starts_processes() -> None:
    starters = {str(p.relative_to(_ROOT)) for p in _FILES if "subprocess" in imports(p)}
    assert starters == {"system/command.py"}


def test_no_file_outgrows_its_noun() -> None:
    long = {p.name: n for p in _FILES if (n := len(p.read_text().splitlines())) > 400}
    assert not long
