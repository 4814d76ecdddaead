"""What is wrong with a sheet's keys, in a sheet's words instead of msgspec's."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from interceptor.sheets.option import Option
from interceptor.sheets.sheet import AddressRow, Refusal, RouteRow, Row, Sets, Sheet

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import msgspec

_KINDS = {
    "str": "a text",
    "int": "a number",
    "float": "a fraction",
    "bool": "true or false",
    "object": "a table",
    "array": "a list",
}

ROW_KEYS = {"": [name for name in Row.__struct_fields__ if name != "place"]}
"""Keys that may stand in a row."""

OPTION_KEYS = {"": [*Option.__struct_fields__]}
"""Keys that may stand in an option."""

SHEET_KEYS = {
    "": ["format", *(k for k in Sheet.__struct_fields__ if k not in ("file", "places"))],
    "sets": [*Sets.__struct_fields__],
    "refuse": [*Refusal.__struct_fields__],
    "addresses": [*AddressRow.__struct_fields__],
    "routes": [*RouteRow.__struct_fields__],
}
"""Keys that may stand in a sheet, and in its tables."""


def explain(error: msgspec.ValidationError, known: Mapping[str, Iterable[str]]) -> tuple[str, str]:
    """Give the key an error is about, as ``refuse[0].why``, and what is wrong with it."""
    text, _, at = str(error).partition(" - at `$")
    path = at.rstrip("`").replace("[...]", "").removeprefix(".")
    if found := re.fullmatch(r"Object missing required field `(.*)`", text):
        return path, f"{_table(path) or 'it'} lacks the key {found[1]!r}"
    if found := re.fullmatch(r"Object contains unknown field `(.*)`", text):
        return f"{path}.{found[1]}".strip("."), no_key(found[1], known, path)
    if found := re.fullmatch(r"Expected `(.*)`, got `(.*)`", text):
        wanted, given = (
            " or ".join(_KINDS.get(kind, kind) for kind in kinds.split(" | "))
            for kinds in found.groups()
        )
        return path, f"{path} is {given}, not {wanted}"
    return path, text


def no_key(key: str, known: Mapping[str, Iterable[str]], path: str = "") -> str:
    """Say that a key is none, and which there are."""
    table = _table(path)
    where = f" in {table}" if table else ""
    return f"there is no key {key!r}{where}; known are {', '.join(known[table.strip('[]')])}"


def _table(path: str) -> str:
    """Write a path as the header of its table."""
    name = re.sub(r"\[\d+\]", "", path)
    return f"[{name}]" if name else ""
