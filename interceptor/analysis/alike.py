"""Whether users, groups and families are treated alike that should be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from interceptor.analysis.diagram import NO, Node
from interceptor.analysis.directions import DIRECTIONS, Direction
from interceptor.analysis.packet import Translated
from interceptor.analysis.properties import Property
from interceptor.analysis.space import DESTINATIONS, SOURCES, Dimension
from interceptor.analysis.witness import witness
from interceptor.names import FAMILY_NAMES, Family

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.analysis.proof import Ground, Violation

_ADDRESSES: dict[Family, dict[str, int]] = {
    Family.IP: {"handover": 0x7F000006, "localhost": 0x7F000001},
    Family.IP6: {"handover": 6, "localhost": 1},
}
"""127.0.0.6 and ::6, 127.0.0.1 and ::1: one for the other."""


def ids_violations(ground: Ground) -> Iterator[Violation]:
    """Find a user, or group, of the proxy whose packets fare otherwise than another's."""
    config = ground.intent.config
    accounts = (
        (Dimension.UID, "uid", config.proxy_uid.ids, ("proxy gid", "proxy mark")),
        (Dimension.GID, "gid", config.proxy_gid.ids, ("proxy uid", "proxy mark")),
    )
    for level, kind, ids, others in accounts:
        part = ground.space.ids[level]
        _, mask = ground.space.id(level, ids)
        first, *rest = [atom for atom in range(part.size) if mask >> atom & 1] or [0]
        for family in ground.rules.families:
            for member in rest:
                where = _treated_otherwise(ground, family, level, (first, member), others)
                if where != NO:
                    here, there = (part.witness(1 << atom) for atom in (first, member))
                    packet = witness(ground.space, where, family)
                    packet = msgspec.structs.replace(packet, **{kind: there})
                    says = f"{kind} {there} is treated otherwise than {kind} {here}"
                    yield ground.shown(Property.IDS_ALIKE, says, Direction.OUTBOUND, packet)


def _treated_otherwise(
    ground: Ground,
    family: Family,
    level: Dimension,
    members: tuple[int, int],
    others: tuple[str, ...],
) -> Node:
    """Give where packets of two members differ that nothing else makes the proxy's."""
    diagrams, way = ground.diagrams, (family, Direction.OUTBOUND)
    one, other = (diagrams.given(ground.fates[way], {level: member}) for member in members)
    by_others = ground.wanted[family].any_of(*others)
    alone = diagrams.given(diagrams.without(ground.domain[way], by_others), {level: members[1]})
    return diagrams.both(diagrams.joined(one, other, lambda a, b: a != b), alone)


def family_violations(ground: Ground) -> Iterator[Violation]:
    """Find packets that fare otherwise over IPv6, where the same is wanted over both.

    Addresses are compared by what they stand for: any address, localhost, the proxy's own.
    """
    if len(ground.rules.families) < len(FAMILY_NAMES):
        return
    for direction in DIRECTIONS:
        inner = ("", "handover"), ("", "localhost")
        sources, destinations = inner if direction is Direction.OUTBOUND else (("",), ("",))
        found = (
            _unlike(ground, direction, source, destination)
            for source in sources
            for destination in destinations
        )
        yield from [one for one in found if one is not None][:1]


def _unlike(
    ground: Ground, direction: Direction, source: str, destination: str
) -> Violation | None:
    diagrams = ground.diagrams
    given = {f: _atoms(ground, f, source, destination) for f in ground.rules.families}
    one, other = (
        diagrams.given(ground.fates[family, direction], atoms) for family, atoms in given.items()
    )
    meant, meant_too = (
        diagrams.given(_intent(ground, family, direction), atoms)
        for family, atoms in given.items()
    )
    where = diagrams.all_of(
        [
            diagrams.joined(one, other, lambda a, b: _stripped(a) != _stripped(b)),
            diagrams.joined(meant, meant_too, lambda a, b: a == b),
            *(diagrams.given(ground.domain[f, direction], atoms) for f, atoms in given.items()),
        ]
    )
    if where == NO:
        return None
    there = diagrams.box([(level, 1 << atom) for level, atom in given[Family.IP6].items()])
    packet = witness(ground.space, diagrams.both(where, there), Family.IP6)
    fate = diagrams.at(one, ground.space.atoms(packet))
    says = f"over IPv6 it is otherwise than over IPv4, where it is {fate}"
    return ground.shown(Property.FAMILIES_ALIKE, says, direction, packet)


def _stripped(fate: object) -> object:
    """Give a fate without its address, which is of one family: the port remains."""
    if not isinstance(fate, Translated) or fate.address is None:
        return fate
    return Translated.__name__, fate.port


def _atoms(ground: Ground, family: Family, source: str, destination: str) -> dict[int, int]:
    """Give the atoms of a source and a destination, by what they stand for."""
    found: dict[int, int] = {}
    for level, name in ((SOURCES[family], source), (DESTINATIONS[family], destination)):
        part = ground.space.addresses[level]
        found[level] = part.atom(_ADDRESSES[family][name]) if name else part.plainest()
    return found


def _intent(ground: Ground, family: Family, direction: Direction) -> Node:
    """Give what is wanted as one function."""
    node = ground.diagrams.answer(None)
    for case in reversed(ground.cases(family, direction)):
        node = ground.diagrams.pick(case.where, ground.diagrams.answer(case.fate), node)
    return node
