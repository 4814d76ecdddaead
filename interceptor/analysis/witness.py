"""One packet for a whole region: the plainest there is in it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from itertools import islice
from typing import TYPE_CHECKING

from interceptor.analysis.packet import Packet
from interceptor.analysis.space import DESTINATIONS, NO_SOCKET, SOURCES, Dimension
from interceptor.names import Family

if TYPE_CHECKING:
    from interceptor.analysis.diagram import Box, Node
    from interceptor.analysis.packet import Address
    from interceptor.analysis.space import Space

_MOST_BOXES = 64
"""Boxes of a region that are looked at for the plainest packet."""

_NUMBERS = {
    Dimension.UID: (1000, 0),
    Dimension.GID: (1000, 0),
    Dimension.SOURCE_PORT: (40000,),
    Dimension.DESTINATION_PORT: (80, 8080, 443),
}
_ADDRESSES: dict[Dimension, tuple[str, ...]] = {
    Dimension.SOURCE_IP: ("192.0.2.1", "10.0.0.1", "127.0.0.1"),
    Dimension.DESTINATION_IP: ("203.0.113.1", "10.0.0.1", "127.0.0.1"),
    Dimension.SOURCE_IP6: ("2001:db8::1", "fd00::1", "::1"),
    Dimension.DESTINATION_IP6: ("2001:db8:1::1", "fd00::1", "::1"),
}
"""Of the networks for documentation (RFC 5737, RFC 3849) first."""


def witness(space: Space, region: Node, family: Family) -> Packet:
    """Give a packet of a region, as plain as there is one; ``ValueError`` if it is empty."""
    boxes = [*islice(space.diagrams.boxes(region), _MOST_BOXES)]
    if not boxes:
        raise ValueError("there is no packet in it")
    made = [_Choice(space, box, family) for box in boxes]
    return max(made, key=lambda choice: choice.plainness).packet()


class _Choice:
    """A packet of one box, and how much of it is just as anybody would have it."""

    def __init__(self, space: Space, box: Box, family: Family) -> None:
        self._space, self._family = space, family
        self._masks = dict(box)
        self.plainness = 0
        self._values = {level: self._number(level) for level in _NUMBERS}
        self._source = self._address(SOURCES[family])
        self._destination = self._address(DESTINATIONS[family])
        self._protocol = self._word(Dimension.PROTOCOL, "tcp")
        self._in = self._interface(Dimension.IN_INTERFACE)
        self._out = self._interface(Dimension.OUT_INTERFACE)
        self._state = self._word(Dimension.STATE, "NEW")

    def _mask(self, level: Dimension) -> int:
        return self._masks.get(level, self._space.diagrams.full[level])

    def _number(self, level: Dimension) -> int | None:
        space, mask = self._space, self._mask(level)
        part = space.ids[level] if level in space.ids else space.ports[level]
        for liked in _NUMBERS[level]:
            if mask >> part.atom(liked) & 1:
                self.plainness += 1
                return liked
        value = part.witness(mask, lambda one: one > 0)
        return None if value == NO_SOCKET else value

    def _address(self, level: Dimension) -> Address:
        part, mask = self._space.addresses[level], self._mask(level)
        kind = IPv4Address if self._family is Family.IP else IPv6Address
        for text in _ADDRESSES[level]:
            liked = kind(text)
            if mask >> part.atom(int(liked)) & 1:
                self.plainness += 1
                return liked
        return kind(part.witness(mask))

    def _word(self, level: Dimension, liked: str) -> str:
        words = self._space.protocols if level is Dimension.PROTOCOL else self._space.states
        mask = self._mask(level)
        if mask >> words.atom(liked) & 1:
            self.plainness += 1
            return liked
        return words.witness(mask)

    def _interface(self, level: Dimension) -> str:
        names, mask = self._space.interfaces, self._mask(level)
        for liked in ("", "eth0", "lo"):
            try:
                atom = names.atom(liked)
            except KeyError:
                continue
            if mask >> atom & 1:
                self.plainness += 1
                return liked
        return names.witness(mask)

    def packet(self) -> Packet:
        """Make it."""
        marks = self._space.marks
        return Packet(
            protocol=self._protocol,
            source=self._source,
            destination=self._destination,
            source_port=self._values[Dimension.SOURCE_PORT] or 0,
            destination_port=self._values[Dimension.DESTINATION_PORT] or 0,
            uid=self._values[Dimension.UID],
            gid=self._values[Dimension.GID],
            mark=marks.witness(self._mask(Dimension.MARK)),
            connection_mark=marks.witness(self._mask(Dimension.CONNECTION_MARK)),
            in_interface=self._in,
            out_interface=self._out,
            state=self._state,
        )
