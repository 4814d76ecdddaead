"""Tools that came with this program, to be used before the host's own."""

from __future__ import annotations

_directories: list[str] = []


def bring(directory: str) -> None:
    """Have tools looked for in a directory first; it is a whole path."""
    _directories.insert(0, directory)


def brought() -> tuple[str, ...]:
    """Give the directories."""
    return tuple(_directories)
