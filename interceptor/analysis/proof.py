"""What is proven, what is found, and the functions that all proofs start from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from interceptor.analysis.directions import DIRECTIONS, Direction, first_packets
from interceptor.analysis.flow import Flow
from interceptor.analysis.intent import Intent, Wanted
from interceptor.analysis.outcome import Outcome
from interceptor.analysis.packet import Fate, Packet, Unknown
from interceptor.analysis.space import Asked, Dimension, Space
from interceptor.analysis.walk import walk_received, walk_sent

if TYPE_CHECKING:
    from collections.abc import Callable

    from interceptor import model
    from interceptor.analysis.diagram import Node
    from interceptor.analysis.intent import Case
    from interceptor.analysis.properties import Property
    from interceptor.analysis.run import Visit
    from interceptor.names import Family


class Violation(msgspec.Struct, frozen=True):
    """One way in which a property does not hold.

    ``packet`` is a counterexample, with the fate it ``found`` and the rules it met; ``is_unknown``
    is that the rules could not be read there.
    """

    property: Property
    says: str
    family: Family | None = None
    direction: Direction | None = None
    packet: Packet | None = None
    wanted: Fate | None = None
    found: Fate | None = None
    path: tuple[Visit, ...] = ()
    is_unknown: bool = False


class Rules(msgspec.Struct, frozen=True):
    """Rules to be proven.

    ``families`` are those intercepted; ``language`` leaves out rules that are for another kernel
    language; without ``has_routing`` nobody knows the routes. ``policy`` is what the rules were
    made from, if they were: a set of it may be many rules, of which some say the same.
    """

    ruleset: model.Ruleset
    families: tuple[Family, ...]
    language: str = ""
    has_routing: bool = True
    policy: model.Ruleset | None = None


class Ground:
    """Rules and an intent as functions over one space, of the first packets of connections."""

    def __init__(
        self, rules: Rules, intent: Intent, check: Callable[[], object] | None = None
    ) -> None:
        self.rules, self.intent = rules, intent
        asked = Asked()
        asked.ruleset(rules.ruleset)
        if rules.policy is not None:
            asked.ruleset(rules.policy)
        sets = intent.sets()
        for match in sets.values():
            asked.match(match)
        self.space = Space(asked, check)
        self.diagrams = self.space.diagrams
        self.wanted = {
            family: Wanted(intent, sets, self.space, family) for family in rules.families
        }
        ways = [(family, direction) for family in rules.families for direction in DIRECTIONS]
        self.fates = {way: self._fates(*way) for way in ways}
        """What becomes of packets, by family and direction."""
        self.domain = {way: first_packets(self.space, *way) for way in ways}
        """The packets there can be."""

    def _fates(self, family: Family, direction: Direction) -> Node:
        flow = Flow(self.space, self.rules.ruleset, family, self.rules.language)
        node = flow.sent() if direction is Direction.OUTBOUND else flow.received()
        return self.diagrams.given(
            self.diagrams.mapped(node, _fate),
            {
                Dimension.STATE: self.space.states.atom("NEW"),
                Dimension.FLAGS: self.space.flags.first,
                Dimension.SOCKET: 0,
                Dimension.CONNECTION_MARK: self.space.marks.atom(0),
            },
        )

    def cases(self, family: Family, direction: Direction) -> list[Case]:
        """Give what is wanted, case by case."""
        wanted = self.wanted[family]
        return wanted.sent() if direction is Direction.OUTBOUND else wanted.received()

    def shown(
        self,
        violated: Property,
        says: str,
        direction: Direction,
        packet: Packet,
        wanted: Fate | None = None,
    ) -> Violation:
        """Follow a counterexample."""
        follow = walk_sent if direction is Direction.OUTBOUND else walk_received
        walked = follow(self.rules.ruleset, packet, self.rules.language)
        is_unknown = isinstance(walked.fate, Unknown)
        return Violation(
            *(violated, says, packet.family, direction, packet, wanted),
            *(walked.fate, walked.path, is_unknown),
        )


def _fate(outcome: object) -> Fate:
    if not isinstance(outcome, Outcome):
        raise TypeError(outcome)
    return outcome.fate
