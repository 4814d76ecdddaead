"""Which packets come to each rule: the sets that walk down the chains from the hooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor import model
from interceptor.analysis.chains import condition_of
from interceptor.analysis.diagram import NO, Node
from interceptor.analysis.place import FIRST_STATES, Place, bases
from interceptor.analysis.space import NO_SOCKET, Dimension
from interceptor.names import ChainType, Family, Hook

if TYPE_CHECKING:
    from interceptor.analysis.changes import Changing
    from interceptor.analysis.place import BaseAt
    from interceptor.analysis.space import Space

RuleAt = tuple[int, str, int]
"""A table's ``id``, as two languages may have tables of one name, a chain, a number from 1."""


class Reach:
    """What comes to each chain and each rule of one family, of any packet at any hook.

    A hook starts with all packets there can be, whatever was done at others; what this finds
    unreachable is so for certain.

    Args:
        space: cut for this ruleset.
        ruleset: the rules.
        family: whose packets.
        language: leaves out rules that are for another language alone.
    """

    def __init__(
        self, space: Space, ruleset: model.Ruleset, family: Family, language: str = ""
    ) -> None:
        self._space, self._diagrams = space, space.diagrams
        self._family, self._language = family, language
        self.arrivals: dict[tuple[int, str], Node] = {}
        """What comes to each chain, by its table's ``id`` and its name."""
        self.asked: dict[RuleAt, Node] = {}
        """What comes to each rule."""
        self.matching: dict[RuleAt, Node] = {}
        """What each rule matches of it."""
        self.alone: dict[RuleAt, Node] = {}
        """What each rule would match of what comes to its chain, were it the first."""
        for hook in Hook:
            for base in bases(ruleset, hook, family):
                self._base(base, hook)

    def _base(self, base: BaseAt, hook: Hook) -> None:
        table, chain, priority = base
        walker = _Walker(self._space, table, self, Place(hook, priority))
        packets = self._at(hook)
        if chain.base and chain.base.type is ChainType.NAT:
            states = self._space.states.mask(FIRST_STATES)
            first = self._diagrams.box([(Dimension.STATE, states)])
            packets = self._diagrams.both(packets, first)
        walker.chain(chain.name, packets)

    def _at(self, hook: Hook) -> Node:
        """Give all packets there can be at a hook."""
        diagrams, space = self._diagrams, self._space
        none = 1 << space.interfaces.atom("")
        box: list[tuple[int, int]] = []
        for level, hooks in (
            (Dimension.IN_INTERFACE, (Hook.PREROUTING, Hook.INPUT, Hook.FORWARD)),
            (Dimension.OUT_INTERFACE, (Hook.OUTPUT, Hook.POSTROUTING, Hook.FORWARD)),
        ):
            if hook in hooks:
                box.append((level, diagrams.full[level] & ~none))
            elif hook is not Hook.POSTROUTING:
                box.append((level, none))
        if hook not in (Hook.OUTPUT, Hook.POSTROUTING):
            box += [(level, 1 << space.ids[level].atom(NO_SOCKET)) for level in space.ids]
        return diagrams.box(box)

    @property
    def space(self) -> Space:
        """What its sets are sets in."""
        return self._space

    @property
    def family(self) -> Family:
        """Whose packets."""
        return self._family

    @property
    def language(self) -> str:
        """The language of the rules that are looked at."""
        return self._language


class _Walker:
    """Sends sets of packets through the chains of one table."""

    def __init__(self, space: Space, table: model.Table, reach: Reach, place: Place) -> None:
        self._space, self._diagrams = space, space.diagrams
        self._table, self._reach, self._place = table, reach, place
        self._chains = {chain.name: chain for chain in table.chains}
        self._open: list[str] = []
        self._known: dict[tuple[str, Node], Node] = {}

    def chain(self, name: str, packets: Node) -> Node:
        """Send packets into a chain; give those that come back."""
        chain = self._chains.get(name)
        if chain is None or name in self._open or packets == NO:
            return packets
        if (name, packets) not in self._known:
            self._open.append(name)
            self._known[name, packets] = self._rules(chain, packets)
            self._open.pop()
        return self._known[name, packets]

    def _rules(self, chain: model.Chain, packets: Node) -> Node:
        diagrams, reach = self._diagrams, self._reach
        key = id(self._table), chain.name
        reach.arrivals[key] = diagrams.either(reach.arrivals.get(key, NO), packets)
        back, rest = NO, packets
        for number, rule in enumerate(chain.rules, 1):
            if reach.language and rule.only not in ("", reach.language):
                continue
            condition, is_sure = condition_of(self._space, rule, reach.family, self._place)
            matching = diagrams.both(rest, condition)
            at = (*key, number)
            reach.asked[at] = diagrams.either(reach.asked.get(at, NO), rest)
            reach.matching[at] = diagrams.either(reach.matching.get(at, NO), matching)
            alone = diagrams.both(packets, condition)
            reach.alone[at] = diagrams.either(reach.alone.get(at, NO), alone)
            passed = diagrams.without(rest, matching) if is_sure else rest
            match rule.action:
                case model.Return():
                    back = diagrams.either(back, matching)
                case model.Goto(target):
                    back = diagrams.either(back, self.chain(target, matching))
                case _:
                    passed = diagrams.either(passed, self._gone_on(rule.action, matching))
            rest = passed
        return diagrams.either(back, rest)

    def _gone_on(self, action: model.Action, packets: Node) -> Node:
        """Give what comes to the next rule of what a rule matches."""
        match action:
            case model.Continue() | model.Note() | model.UnreadableAction():
                return packets
            case model.Jump(target):
                return self.chain(target, packets)
            case model.TProxy():
                # Where nobody listens so, iptables throws it away, and nft goes on.
                return NO if self._reach.language == "iptables" else packets
            case (
                model.SetMark()
                | model.SetMarkBits()
                | model.SaveMark()
                | model.RestoreMark()
                | model.SetConnectionMark()
                | model.MixMarks()
                | model.SetZone()
                | model.NoTrack()
            ):
                return self._changed(action, packets)
            case _:
                return NO

    def _changed(self, action: Changing, packets: Node) -> Node:
        """Give what packets become that an action changes."""
        diagrams, space = self._diagrams, self._space
        mark, connection = Dimension.MARK, Dimension.CONNECTION_MARK
        match action:
            case model.SetMark(value):
                return self._with(packets, mark, space.marks.atom(value))
            case model.SetMarkBits(_, value, mask):
                image = space.marks.image(lambda one: (one & ~mask) ^ value)
                return self._mapped(packets, mark, mark, image)
            case model.SaveMark():
                return self._mapped(packets, mark, connection, [*range(space.marks.size)])
            case model.RestoreMark():
                return self._mapped(packets, connection, mark, [*range(space.marks.size)])
            case model.SetConnectionMark(value, mask):
                image = space.marks.image(lambda one: (one & ~mask) ^ value)
                return self._mapped(packets, connection, connection, image)
            case model.MixMarks():
                return diagrams.anywhere(packets, (mark, connection))
            case model.SetZone():
                return packets
            case model.NoTrack() if self._place.is_tracked:
                return packets
            case model.NoTrack():
                return self._with(packets, Dimension.STATE, space.states.atom("UNTRACKED"))

    def _with(self, packets: Node, level: Dimension, atom: int) -> Node:
        any_value = self._diagrams.anywhere(packets, (level,))
        return self._diagrams.both(any_value, self._diagrams.box([(level, 1 << atom)]))

    def _mapped(
        self, packets: Node, source: Dimension, target: Dimension, image: list[int]
    ) -> Node:
        found = NO
        for atom, to in enumerate(image):
            here = self._diagrams.both(packets, self._diagrams.box([(source, 1 << atom)]))
            found = self._diagrams.either(found, self._with(here, target, to))
        return found
