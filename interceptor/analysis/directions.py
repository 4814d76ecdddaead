"""The two directions of a pod's connections, and the first packets each can have."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from interceptor.analysis.space import DESTINATIONS, LOOPBACK_RANGES, NO_SOCKET, SOURCES, Dimension
from interceptor.names import LOOPBACK_INTERFACE, Family

if TYPE_CHECKING:
    from interceptor.analysis.diagram import Node
    from interceptor.analysis.space import Space


class Direction(StrEnum):
    """Who begins a connection, seen from the pod."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


DIRECTIONS = tuple(Direction)


def first_packets(space: Space, family: Family, direction: Direction) -> Node:
    """Give all packets that can begin a connection in a direction.

    What this host sends has a socket. A loopback address is met on ``lo`` alone, and what comes
    from outside carries no mark.
    """
    diagrams, names = space.diagrams, space.interfaces
    none, loopback = (1 << names.atom(name) for name in ("", LOOPBACK_INTERFACE))
    sockets = [(level, 1 << space.ids[level].atom(NO_SOCKET)) for level in space.ids]
    levels = SOURCES[family], DESTINATIONS[family]
    inside = diagrams.any_of(
        diagrams.box([(level, space.addresses[level].mask(LOOPBACK_RANGES[family]))])
        for level in levels
    )
    if direction is Direction.INBOUND:
        names_in = diagrams.full[Dimension.IN_INTERFACE] & ~none & ~loopback
        box = [(Dimension.IN_INTERFACE, names_in), (Dimension.OUT_INTERFACE, none), *sockets]
        box.append((Dimension.MARK, 1 << space.marks.atom(0)))
        return diagrams.without(diagrams.box(box), inside)
    full = diagrams.full
    box = [(Dimension.IN_INTERFACE, none), *((lv, full[lv] & ~mask) for lv, mask in sockets)]
    by_lo = diagrams.box([(Dimension.OUT_INTERFACE, loopback)])
    out = diagrams.box([(Dimension.OUT_INTERFACE, full[Dimension.OUT_INTERFACE] & ~none)])
    return diagrams.both(diagrams.both(diagrams.box(box), out), diagrams.pick(inside, by_lo, out))
