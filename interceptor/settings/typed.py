"""A value as a file has it, as the text a flag would have."""

from __future__ import annotations

from typing import Any


def text_of(value: Any) -> str:
    """Write a text, a number, true, false, a list of texts and numbers, or a table of those.

    Raises:
        TypeError: with what it is instead.
    """
    match value:
        case bool():
            return "true" if value else "false"
        case str() | int():
            return str(value)
        case list() if all(isinstance(v, str | int) and not isinstance(v, bool) for v in value):
            return ",".join(map(str, value))
        case _:
            raise TypeError(_KINDS.get(type(value).__name__, f"a {type(value).__name__}"))


def joined(table: dict[str, Any]) -> str:
    """Write a table as ``name=value;name=value``.

    Raises:
        TypeError: a value is none that ``text_of`` takes.
        ValueError: a value holds what joins them.
    """
    pieces = []
    for name, value in table.items():
        text = text_of(value)
        if ";" in text:
            raise ValueError(f"{name}: {text!r} has a ;")
        pieces.append(f"{name}={text}")
    return ";".join(pieces)


_KINDS = {"dict": "a table", "list": "a list of other things", "NoneType": "nothing"}
