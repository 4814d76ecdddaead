"""Which packets fare otherwise under other rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import msgspec

from interceptor.analysis.cover import cover
from interceptor.analysis.diagram import NO, Node
from interceptor.analysis.directions import DIRECTIONS, Direction, first_packets, possible
from interceptor.analysis.flow import Flow
from interceptor.analysis.region import region_words
from interceptor.analysis.space import Asked, Dimension, Space
from interceptor.analysis.witness import witness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from interceptor.analysis.outcome import Outcome
    from interceptor.analysis.packet import Packet
    from interceptor.analysis.proof import Rules
    from interceptor.names import Family


_STATES = ("NEW", "INVALID")
"""What a connection's first packet is, and what looks like one and belongs to none."""


class Change(msgspec.Struct, frozen=True):
    """Packets of one direction that fare otherwise: in words, how, and one of them.

    ``families`` are those of which it is true.
    """

    direction: Direction
    families: tuple[Family, ...]
    where: str
    before: str
    after: str
    example: Packet


def compare(
    before: Rules, after: Rules, check: Callable[[], object] | None = None
) -> list[Change]:
    """Give all changes, those that both families share once.

    Args:
        before: rules.
        after: other rules.
        check: called now and then; it may raise, to end it.

    Raises:
        TooManyError: the two have so little in common that nobody could read the answer.
    """
    found = [*_Comparison(before, after, check).changes()]
    merged: dict[tuple[Direction, str, str, str], Change] = {}
    for change in found:
        key = change.direction, change.where, change.before, change.after
        known = merged.setdefault(key, change)
        if known is not change:
            families = (*known.families, *change.families)
            merged[key] = msgspec.structs.replace(known, families=families)
    return [*merged.values()]


class _Comparison:
    """Two rulesets as functions over one space."""

    def __init__(self, before: Rules, after: Rules, check: Callable[[], object] | None) -> None:
        asked = Asked()
        for rules in (before, after):
            asked.ruleset(rules.ruleset)
        self._space = Space(asked, check)
        self._diagrams = self._space.diagrams
        self._before, self._after = before, after

    def changes(self) -> Iterator[Change]:
        families = dict.fromkeys((*self._before.families, *self._after.families))
        for direction in DIRECTIONS:
            for family in families:
                yield from self._changes(family, direction)

    def _changes(self, family: Family, direction: Direction) -> Iterator[Change]:
        diagrams = self._diagrams
        one, other = (
            self._outcomes(rules, family, direction) for rules in (self._before, self._after)
        )
        if one == other:
            return
        states = self._space.states.mask(_STATES)
        domain = diagrams.both(
            diagrams.given(first_packets(self._space, family, direction), self._first()),
            diagrams.box([(Dimension.STATE, states)]),
        )
        differs = diagrams.joined(one, other, lambda a, b: (a, b) if a != b else None)
        pairs = sorted(diagrams.answers(differs) - {None}, key=str)
        for pair in pairs:
            here = diagrams.both(domain, diagrams.where(differs, _is(pair)))
            if here != NO:
                yield from self._told(family, direction, pair, here, domain)

    def _told(
        self, family: Family, direction: Direction, pair: object, here: Node, domain: Node
    ) -> Iterator[Change]:
        there = possible(self._space, direction)
        there[Dimension.STATE] = self._space.states.mask(_STATES)
        before, after = cast("tuple[Outcome, Outcome]", pair)
        for box in cover(self._diagrams, here, domain):
            packet = witness(
                self._space, self._diagrams.both(here, self._diagrams.box(box)), family
            )
            words = region_words(self._space, box, family, there)
            yield Change(direction, (family,), words, _told(before), _told(after), packet)

    def _outcomes(self, rules: Rules, family: Family, direction: Direction) -> Node:
        flow = Flow(self._space, rules.ruleset, family, rules.language)
        node = flow.sent() if direction is Direction.OUTBOUND else flow.received()
        return self._diagrams.given(node, self._first())

    def _first(self) -> dict[int, int]:
        """Give what all first packets of connections have in common."""
        return {
            Dimension.FLAGS: self._space.flags.first,
            Dimension.SOCKET: 0,
            Dimension.CONNECTION_MARK: self._space.marks.atom(0),
        }


def _is(pair: object) -> Callable[[object], bool]:
    return lambda found: found == pair


def _told(outcome: Outcome) -> str:
    zone = "" if outcome.zone is None else f" in conntrack zone {outcome.zone}"
    return f"{outcome.fate}{zone}"
