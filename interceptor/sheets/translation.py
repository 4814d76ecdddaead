"""Rows that change addresses: an address is of one family, so each family has its own rule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.names import Family
from interceptor.parse.words import Kind, read_literal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from ipaddress import IPv4Address, IPv6Address

    from interceptor.sheets.vocabulary import Vocabulary
    from interceptor.values import Networks

_OPTIONS = ("--to-destination", "--to-source")
_NOWHERE = "192.0.2.1"
"""An address nobody has (RFC 5737): what a row is checked with that has none."""


def for_families(
    words: list[str], vocabulary: Vocabulary
) -> Iterator[tuple[list[str], str, bool]]:
    """Give an action's words for each family it names an address of, and whether it is wanted.

    One whose option has no address is to be checked all the same, and left out. A port whose
    option has none is no port.

    Raises:
        ValueError: it names something else than an address and a port.
    """
    at = next((n for n, word in enumerate(words[:-1], 1) if word in _OPTIONS), 0)
    if not at:
        raise ValueError("a word is missing at its end")
    text = words[at]

    def worded(address: str, port: str) -> list[str]:
        shown = f"[{address}]" if ":" in address and port else address
        return [*words[:at], f"{shown}:{port}" if port else shown, *words[at + 1 :]]

    address, port = _parts(text)
    if port.startswith("{"):
        port = str(vocabulary.read(Kind.PORT, port) or "")
    if not address.startswith("{"):
        # Brackets are put round it again, if it needs them.
        given = read_literal(Kind.PLACE, address)[0] if address else None
        bare = str(given) if given else ""
        yield worded(bare, port), _family(given) if given else "", True
        return
    networks: Networks = vocabulary.read(Kind.NETWORKS, address)
    found = networks.addresses()
    for one in found:
        yield worded(str(one), port), _family(one), True
    if not found:
        yield worded(_NOWHERE, port), "", False


def _parts(text: str) -> tuple[str, str]:
    """Split into an address and a port, either of which may be missing or be a ``{name}``."""
    if text.startswith("["):
        address, _, port = text[1:].partition("]")
        return address, port.removeprefix(":")
    if text.startswith("{"):
        address, _, port = text.partition("}")
        return f"{address}}}", port.removeprefix(":")
    if text.count(":") == 1:
        address, _, port = text.partition(":")
        return address, port
    return text, ""


def _family(address: IPv4Address | IPv6Address) -> str:
    return Family.IP if address.version == 4 else Family.IP6  # noqa: PLR2004 - of IP
