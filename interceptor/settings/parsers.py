"""From a setting's text to its value, ``ValueError`` with half a sentence for what is none.

And from a value as a file has it to the text a flag would have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from interceptor.values import Accounts, Mark, Networks, Ports

if TYPE_CHECKING:
    from collections.abc import Callable
    from enum import StrEnum
    from ipaddress import IPv4Network

E_ = TypeVar("E_", bound="StrEnum")


def one_of(choice: type[E_]) -> Callable[[str], E_]:
    """Make a parser for one of an enumeration's words."""

    def parse(text: str) -> E_:
        try:
            return choice(text)
        except ValueError:
            raise ValueError(f"{text!r} is none of {', '.join(choice)}") from None

    return parse


def parse_port(text: str) -> int:
    """Read one port."""
    if not text:
        raise ValueError("a port is needed, not an empty value")
    return Ports.parse_number(text)


def parse_mark(text: str) -> int:
    """Read one mark of 32 bits that is not 0, which is what every packet without one has."""
    mark = Mark.parse(text)
    if "/" in text or not mark.value:
        raise ValueError(f"{text!r} is no mark that sets a packet apart: write 1337 or 0x539")
    return mark.value


_MOST_TABLE = 2**32 - 1
_KERNEL_TABLES = {253: "default", 254: "main", 255: "local"}


def parse_table(text: str) -> int:
    """Read the number of a routing table that is not one of the kernel's own."""
    if not (text.isascii() and text.isdigit() and 0 < int(text[:20]) <= _MOST_TABLE):
        raise ValueError(f"{text!r} is no number of a routing table")
    if own := _KERNEL_TABLES.get(int(text)):
        raise ValueError(f"{text} is the kernel's own routing table {own!r}")
    return int(text)


def parse_switch(text: str) -> bool:
    """Read yes or no."""
    match text.lower():
        case "true" | "yes" | "on" | "1":
            return True
        case "false" | "no" | "off" | "0":
            return False
        case _:
            raise ValueError(f"{text!r} is neither true nor false")


_LONGEST_S = 86_400.0


def parse_seconds(text: str) -> float:
    """Read a positive number of seconds, at most a day."""
    try:
        seconds = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is no number of seconds") from None
    if not 0 < seconds <= _LONGEST_S:
        raise ValueError(f"{text!r} is no positive number of seconds, or more than a day")
    return seconds


def parse_text(text: str) -> str:
    """Read a text that may not be empty and can be shown on one line."""
    if not text.strip():
        raise ValueError("a value is needed, not an empty one")
    if not text.isprintable():
        raise ValueError(f"{text!r} has characters that do not print")
    return text


def parse_loopback(text: str) -> IPv4Network:
    """Read an IPv4 network inside 127.0.0.0/8."""
    networks = Networks.parse(text)
    if len(networks.ip) != 1 or networks.ip6 or not networks.ip[0].is_loopback:
        raise ValueError(f"{text!r} is not one network within 127.0.0.0/8")
    return networks.ip[0]


S = TypeVar("S", Ports, Networks, Accounts)


def some(parse: Callable[[str], S]) -> Callable[[str], S]:
    """Make a parser for an exclusion, where everything is surely a mistake."""

    def parse_some(text: str) -> S:
        value = parse(text)
        if value.is_everything:
            raise ValueError(f"{text!r} excludes everything: empty the include list instead")
        return value

    return parse_some


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
