"""Readers of options: text put plainly, or ``ValueError`` with half a sentence.

A list with a wrong item is refused as a whole: without the item, rules would do what nobody asked
for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.frontends import gotext
from interceptor.settings.parsers import parse_port
from interceptor.values import EVERYTHING, Ids, Networks, Ports, parse_network, split

if TYPE_CHECKING:
    from collections.abc import Callable


def text_as_it_is(text: str) -> str:
    """Take any text that can be shown."""
    if text and not text.isprintable():
        raise ValueError(f"{text!r} has characters that do not print")
    return text


def switch(text: str) -> str:
    """Read what Go takes for true or false."""
    return "true" if gotext.parse_bool(text) else "false"


def number(text: str) -> str:
    """Read a whole number as Go does, with prefixes of other bases and a sign."""
    return str(gotext.parse_int(text))


def count(text: str) -> str:
    """Read a whole number that is not negative."""
    found = gotext.parse_int(text)
    if found < 0:
        raise ValueError(f"{text} is less than nothing")
    return str(found)


def port(text: str) -> str:
    """Read one port, written as Go reads a number."""
    return str(parse_port(number(text)))


def ports_one_by_one(text: str) -> str:
    """Read a list of ports without ranges, each written as Go reads a number."""
    return ",".join(port(item.strip()) for item in text.split(","))


def decimal_port(text: str) -> str:
    """Read one port, in decimal digits."""
    return str(parse_port(text.strip()))


def decimal_ports(text: str) -> str:
    """Read a list of ports without ranges, in decimal digits; gaps in it are nothing."""
    return ",".join(decimal_port(item) for item in text.split(",") if item.strip())


def ports(separator: str) -> Callable[[str], str]:
    """Make a reader of a list of ports and of ranges, whose ends a sign separates."""

    def read(text: str) -> str:
        for item in split(text):
            if item == EVERYTHING:
                raise ValueError("'*' is no port")
            if separator not in item and not item.isdigit():
                raise ValueError(f"{item!r} is no port, and no range as 80{separator}90")
            Ports.parse_range(item.replace(separator, "-", 1))
        return ",".join(item.replace(separator, "-", 1) for item in split(text))

    return read


def network(text: str) -> str:
    """Read one address or network; bits beyond its length are nothing, as in the kernel."""
    return str(gotext.parse_prefix(text)[0] if "/" in text else parse_network(text))


def address(text: str) -> str:
    """Read one address."""
    if text:
        Networks.parse(text).addresses()
    if "," in text:
        raise ValueError(f"{text!r} is more than one address")
    return text


def networks(text: str) -> str:
    """Read a list of addresses and networks."""
    return ",".join(network(item) for item in split(text))


def cidrs(text: str) -> str:
    """Read a list of networks, each with its length."""
    return ",".join(str(gotext.parse_prefix(item)[0]) for item in split(text))


def user(text: str) -> str:
    """Read the id of one user, a number."""
    return str(Ids.parse_number(text))


def duration(text: str) -> str:
    """Read a duration as Go does."""
    return f"{gotext.parse_duration(text):g}"


def one_of(*words: str) -> Callable[[str], str]:
    """Make a reader of one of some words."""

    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"{text!r} is none of {', '.join(words)}")
        return text

    return read
