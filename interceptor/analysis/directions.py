"""The two directions of a pod's connections, and the first packets each can have."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from interceptor.analysis.diagram import YES
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
    levels = SOURCES[family], DESTINATIONS[family]
    inside = diagrams.any_of(
        diagrams.box([(level, space.addresses[level].mask(LOOPBACK_RANGES[family]))])
        for level in levels
    )
    all_of_them = diagrams.box(possible(space, direction).items())
    if direction is Direction.INBOUND:
        return diagrams.without(all_of_them, inside)
    by_lo = diagrams.box([(Dimension.OUT_INTERFACE, 1 << names.atom(LOOPBACK_INTERFACE))])
    return diagrams.both(all_of_them, diagrams.pick(inside, by_lo, YES))


def possible(space: Space, direction: Direction) -> dict[int, int]:
    """Give, by dimension, the atoms that first packets of a direction can have."""
    full, names = space.diagrams.full, space.interfaces
    none, loopback = (1 << names.atom(name) for name in ("", LOOPBACK_INTERFACE))
    sockets = {int(level): 1 << space.ids[level].atom(NO_SOCKET) for level in space.ids}
    if direction is Direction.INBOUND:
        by = full[Dimension.IN_INTERFACE] & ~none & ~loopback
        mark = 1 << space.marks.atom(0)
        return {
            Dimension.IN_INTERFACE: by,
            Dimension.OUT_INTERFACE: none,
            Dimension.MARK: mark,
            **sockets,
        }
    return {
        Dimension.IN_INTERFACE: none,
        Dimension.OUT_INTERFACE: full[Dimension.OUT_INTERFACE] & ~none,
        **{level: full[level] & ~mask for level, mask in sockets.items()},
    }
