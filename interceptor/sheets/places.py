"""Lines of a sheet: where its keys and its rows stand, for whoever has to mend one.

TOML's reader gives values without places, so the text is looked through once more, by lines. A
place is ``file:line``. What is written in an unusual way may be missed: its error then names the
nearest key above it, or the file alone.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"')
_HEADER = re.compile(r"\s*(\[\[?)\s*([\w.\" -]+?)\s*\]\]?\s*(?:#.*)?$")
_ASSIGNMENT = re.compile(r"\s*([\w.\"-]+)\s*=")
_CHAINS_HEADER = re.compile(r'\s*\[\s*chains\s*\.\s*"?(\w+)"?\s*\]')
_CHAIN = re.compile(r'\s*"?([\w-]+)"?\s*=\s*\[')


def key_places(text: str, label: str) -> dict[str, str]:
    """Find all keys and headers: ``name``, ``sets.ports``, ``sets.ports.own``, ``refuse[0]``."""
    places: dict[str, str] = {}
    lists: dict[str, int] = {}
    header = ""
    for number, line in enumerate(text.splitlines(), 1):
        key = ""
        if found := _HEADER.match(line):
            header = re.sub(r'["\s]', "", found[2])
            if found[1] == "[[":
                lists[header] = lists.get(header, -1) + 1
                header += f"[{lists[header]}]"
            key = header
        elif found := _ASSIGNMENT.match(line):
            name = found[1].replace('"', "")
            key = f"{header}.{name}" if header else name
        if key:
            places.setdefault(key, f"{label}:{number}")
    return places


def nearest(places: Mapping[str, str], key: str, label: str) -> str:
    """Give the place of a key, else of what it is part of, else the file."""
    while key and key not in places:
        key = re.sub(r"(?:^|\.)[^.\[]*$|\[\d+\]$", "", key)
    return places.get(key, label)


def row_places(text: str, label: str) -> dict[tuple[str, str, int], str]:
    """Find every row: braces outside strings, below ``[chains.TABLE]`` and a chain's name."""
    places: dict[tuple[str, str, int], str] = {}
    table = chain = ""
    number = 0
    for line_number, raw in enumerate(text.splitlines(), 1):
        if header := _CHAINS_HEADER.match(raw):
            table, chain = header[1], ""
            continue
        line = _STRINGS.sub('""', raw).partition("#")[0]
        if re.match(r"\s*\[[^\[\]]*\]\s*$", line):
            table = ""
        elif assignment := _CHAIN.match(raw):
            chain, number = assignment[1], 0
        for _ in range(line.count("{")):
            places[table, chain, number] = f"{label}:{line_number}"
            number += 1
    return places
