"""An option of a sheet: what it is called there, of which type it is, and its values.

The text of a value is read by its type, as a setting's is; ``ValueError`` says with half a
sentence what is wrong with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from interceptor.settings.parsers import parse_mark, parse_port, parse_switch, text_of
from interceptor.values import OPTION_NAME, Ids, Interfaces, Marks, Networks, Ports, split

if TYPE_CHECKING:
    from collections.abc import Callable

Type = Literal[
    "ports",
    "networks",
    "ids",
    "interfaces",
    "marks",
    "port",
    "mark",
    "switch",
    "word",
    "address",
    "records",
]


class Word(msgspec.Struct, frozen=True):
    """One of some words, which ``NAME is WORD`` in a condition can ask for."""

    text: str
    words: tuple[str, ...]


class Records(msgspec.Struct, frozen=True):
    """Rows of values of a type for each field; ``each`` goes through them.

    ``blank`` is a row as good as any, to check a sheet with where there is none.
    """

    rows: tuple[dict[str, Any], ...]
    blank: dict[str, Any]

    def __bool__(self) -> bool:
        return bool(self.rows)


class Option(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a sheet's ``[options.NAME]`` says.

    ``words`` are those an option of type word can be. ``fields`` are the parts of a record in
    order, each with a type: one of those above but mark, address and records, or words joined
    by ``|``.
    """

    type: Type
    help: str
    default: str | int | bool | list[str | int] | None = None
    words: list[str] = []
    fields: dict[str, str] = {}

    @property
    def default_text(self) -> str:
        """The default as a person would write it."""
        if self.default is not None:
            return text_of(self.default)
        return {"switch": "false", "word": self.words[0] if self.words else ""}.get(self.type, "")

    @property
    def form(self) -> str:
        """What a value looks like, for people."""
        match self.type:
            case "word":
                return "|".join(self.words)
            case "records":
                return ":".join(self.fields)
            case _:
                return self.type

    def read(self, text: str) -> Any:
        """Read a value."""
        match self.type:
            case "word":
                return _word(text, tuple(self.words))
            case "records":
                rows = tuple(self._record(item) for item in split(text))
                return Records(rows, {field: self._blank(field) for field in self.fields})
            case _:
                return _READERS[self.type](text)

    def _record(self, item: str) -> dict[str, Any]:
        """Read one record; the last field takes the rest, as addresses of IPv6 have colons."""
        parts = item.split(":", len(self.fields) - 1)
        if len(parts) != len(self.fields) or "" in parts:
            raise ValueError(f"{item!r} is not of the form {self.form}")
        return {
            name: self._field(name, part) for name, part in zip(self.fields, parts, strict=True)
        }

    def _field(self, name: str, text: str) -> Any:
        kind = self.fields[name]
        try:
            return _READERS[kind](text) if kind in _READERS else _word(text, _words(kind))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None

    def _blank(self, name: str) -> Any:
        """Give a value of a field's type: nothing, or the first of its words."""
        kind = self.fields[name]
        if kind in _READERS:
            return _READERS[kind]("false" if kind == "switch" else "")
        return Word(_words(kind)[0], _words(kind))

    def check(self, name: str) -> None:
        """Check what an option says of itself; ``ValueError`` if that makes no sense."""
        if not OPTION_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name: small letters, digits and underscores are")
        if bool(self.words) != (self.type == "word"):
            raise ValueError("words are for the type word, which needs some")
        if bool(self.fields) != (self.type == "records"):
            raise ValueError("fields are for the type records, which needs some")
        for field, kind in self.fields.items():
            if not OPTION_NAME.fullmatch(field):
                raise ValueError(f"{field!r} is no name of a field")
            if kind in ("address", "mark") or not (kind in _READERS or "|" in kind):
                known = ", ".join(k for k in _READERS if k not in ("address", "mark"))
                raise ValueError(
                    f"field {field}: {kind!r} is no type of a field; known are {known}, "
                    "or words joined by |"
                )
        try:
            self.read(self.default_text)
        except ValueError as error:
            raise ValueError(f"its default: {error}") from None


def _words(kind: str) -> tuple[str, ...]:
    return tuple(kind.split("|"))


def _word(text: str, words: tuple[str, ...]) -> Word:
    if text not in words:
        raise ValueError(f"{text!r} is none of {', '.join(words)}")
    return Word(text, words)


def _address(text: str) -> Networks:
    """Read one address, or one of each family."""
    found = Networks.parse(text)
    found.addresses()
    return found


def _or_none(parse: Callable[[str], int]) -> Callable[[str], int]:
    """Make a parser that takes an empty text as well, for 0."""
    return lambda text: parse(text) if text else 0


_READERS: dict[str, Callable[[str], Any]] = {
    "ports": Ports.parse,
    "networks": Networks.parse,
    "ids": Ids.parse,
    "interfaces": Interfaces.parse,
    "marks": Marks.parse,
    "port": _or_none(parse_port),
    "mark": _or_none(parse_mark),
    "switch": parse_switch,
    "address": _address,
}
