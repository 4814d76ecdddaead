"""A box of packets in words: ``tcp to 10.0.0.0/8 port 443 from uid 2000``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.analysis.partition import bits
from interceptor.analysis.space import (
    DESTINATIONS,
    SOURCES,
    Dimension,
    as_networks,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from interceptor.analysis.diagram import Box
    from interceptor.analysis.space import Space
    from interceptor.names import Family

_MOST_NAMED = 8
"""Values of one dimension that are listed."""


_KNOWN = {
    "127.0.0.1": "localhost",
    "::1": "localhost",
    "127.0.0.6": "127.0.0.6 or ::6",
    "::6": "127.0.0.6 or ::6",
}
"""Addresses that stand for the same in both families."""


def region_words(space: Space, box: Box, family: Family, possible: dict[int, int]) -> str:
    """Say which packets a box holds; of one that holds all, ``everything``.

    Args:
        space: the box's.
        box: the packets.
        family: theirs.
        possible: by dimension, the atoms there can be; where a box has them all, nothing is said.
    """
    full = dict(enumerate(space.diagrams.full)) | possible
    masks = {level: mask & full[level] for level, mask in box}
    masks = {level: mask for level, mask in masks.items() if mask != full[level]}
    told = _Region(space, masks, full)
    return told.words(family)


class _Region:
    def __init__(self, space: Space, masks: dict[int, int], full: dict[int, int]) -> None:
        self._space, self._masks, self._full = space, masks, full

    def words(self, family: Family) -> str:
        """Say it all."""
        space = self._space
        parts = [
            self._said(Dimension.PROTOCOL, "", space.protocols.named),
            self._addresses(SOURCES[family], family, "from"),
            self._ports(Dimension.SOURCE_PORT, "from port"),
            self._addresses(DESTINATIONS[family], family, "to"),
            self._ports(Dimension.DESTINATION_PORT, "port"),
            self._ids(Dimension.UID, "from uid"),
            self._ids(Dimension.GID, "from gid"),
            self._said(Dimension.IN_INTERFACE, "in by", space.interfaces.words),
            self._said(Dimension.OUT_INTERFACE, "out by", space.interfaces.words),
            self._said(Dimension.MARK, "mark", self._marks),
            self._said(Dimension.CONNECTION_MARK, "connection mark", self._marks),
            self._states(),
        ]
        return " ".join(filter(None, parts)) or "everything"

    def _said(self, level: Dimension, word: str, names: Callable[[int], list[str]]) -> str:
        """List values, or all but which, whichever is shorter."""
        mask = self._masks.get(level)
        if mask is None:
            return ""
        values, others = names(mask), names(self._full[level] & ~mask)
        is_not = len(others) < len(values) or _OTHERS.intersection(values)
        listed = f"not {_listed(others)}" if is_not else _listed(values)
        return f"{word} {listed}".strip()

    def _addresses(self, level: Dimension, family: Family, word: str) -> str:
        part = self._space.addresses[level]

        def names(mask: int) -> list[str]:
            return [_KNOWN.get(one, one) for one in as_networks(part.ranges(mask), family)]

        return self._said(level, word, names)

    def _ports(self, level: Dimension, word: str) -> str:
        part = self._space.ports[level]
        return self._said(level, word, lambda mask: [_range(*pair) for pair in part.ranges(mask)])

    def _ids(self, level: Dimension, word: str) -> str:
        part = self._space.ids[level]
        return self._said(level, word, lambda mask: [_range(*pair) for pair in part.ranges(mask)])

    def _marks(self, mask: int) -> list[str]:
        return [self._space.marks.word(atom) for atom in bits(mask)]

    def _states(self) -> str:
        mask = self._masks.get(Dimension.STATE)
        states = [] if mask is None else self._space.states.named(mask)
        # A connection's first packet is new, if nothing else is said.
        return "" if mask is None or "NEW" in states else f"that conntrack calls {_listed(states)}"


_OTHERS = {"any other", "other"}


def _listed(values: list[str]) -> str:
    if len(values) <= _MOST_NAMED:
        return ", ".join(values)
    shown = ", ".join(values[:_MOST_NAMED])
    return f"{shown} and {len(values) - _MOST_NAMED:,} more"


def _range(low: int, high: int) -> str:
    return f"{low}" if low == high else f"{low}-{high}"
