"""What becomes of every packet at once: hooks, base chains and rules as functions of packets.

A chain is worked out from its end: what becomes of a packet at a rule is what the rule does, where
it matches, and what becomes of it at the next rule, where it does not. So every function here is
"what becomes of a packet that is at this place", and what comes later is handed in.
"""

from __future__ import annotations

from itertools import groupby, permutations
from typing import TYPE_CHECKING, cast

from interceptor.analysis.chains import Chains
from interceptor.analysis.outcome import SOME_ZONE, Outcome, Ways
from interceptor.analysis.packet import (
    Direct,
    Unknown,
)
from interceptor.analysis.place import FIRST_STATES, MOST_ORDERED, BaseAt, Place, bases
from interceptor.analysis.space import NO_SOCKET, Dimension
from interceptor.names import LOOPBACK_INTERFACE, ChainType, Family, Hook

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from interceptor import model
    from interceptor.analysis.diagram import Node
    from interceptor.analysis.space import Space


class Flow:
    """The functions of one family of a ruleset.

    Args:
        space: cut for this ruleset.
        ruleset: the rules.
        family: whose packets.
        language: leaves out rules that are for another language alone.
    """

    def __init__(
        self, space: Space, ruleset: model.Ruleset, family: Family, language: str = ""
    ) -> None:
        self.space = space
        self.diagrams = space.diagrams
        self._ruleset = ruleset
        self.family = family
        self.language = language
        self._stays = self.diagrams.box(
            [(Dimension.OUT_INTERFACE, 1 << space.interfaces.atom(LOOPBACK_INTERFACE))]
        )
        self._first = self.diagrams.box([(Dimension.STATE, space.states.mask(FIRST_STATES))])

    def received(self) -> Node:
        """Give the outcome of what comes in from outside and is for this host."""
        end = self.diagrams.answer(Outcome(Direct()))
        inside = self._hook(Hook.INPUT, Ways(end, end, end))
        return self._settled(self._hook(Hook.PREROUTING, Ways(inside, inside, inside)))

    def sent(self) -> Node:
        """Give the outcome of what this host sends; what stays here comes in again by ``lo``."""
        diagrams = self.diagrams
        end = diagrams.answer(Outcome(Direct()))
        inside = self._hook(Hook.INPUT, Ways(end, end, end))
        again = self._hook(Hook.PREROUTING, Ways(inside, inside, inside), again=True)
        again = diagrams.given(again, self._by_loopback())
        left = self._hook(Hook.POSTROUTING, Ways(*[diagrams.pick(self._stays, again, end)] * 3))
        loopback = self.space.interfaces.atom(LOOPBACK_INTERFACE)
        here = diagrams.given(left, {Dimension.OUT_INTERFACE: loopback})
        elsewhere = self.forgotten(left, Dimension.OUT_INTERFACE, "where it leaves is not known")
        return self._settled(self._hook(Hook.OUTPUT, Ways(left, here, elsewhere)))

    def _settled(self, node: Node) -> Node:
        """Say that nothing is known of what comes into an unknown zone."""

        def settle(outcome: object) -> Outcome:
            was = cast("Outcome", outcome)
            unknown = Outcome(Unknown("it is not known which conntrack zone it is put into"))
            return unknown if was.zone == SOME_ZONE else was

        return self.diagrams.mapped(node, settle)

    def _by_loopback(self) -> dict[int, int]:
        names, ids = self.space.interfaces, self.space.ids
        return {
            Dimension.IN_INTERFACE: names.atom(LOOPBACK_INTERFACE),
            Dimension.OUT_INTERFACE: names.atom(""),
            Dimension.UID: ids[Dimension.UID].atom(NO_SOCKET),
            Dimension.GID: ids[Dimension.GID].atom(NO_SOCKET),
        }

    def _hook(self, hook: Hook, after: Ways, *, again: bool = False) -> Node:
        """Fold the base chains at a hook, the last first.

        With ``again`` a packet has been through another hook already, and no nat chain is asked.
        """
        found = [*bases(self._ruleset, hook, self.family)]
        ways = after
        for priority, group in groupby(reversed(found), key=lambda pair: pair[2]):
            same = [*group]
            if len(same) <= MOST_ORDERED:
                orders: Iterable[Sequence[BaseAt]] = permutations(same)
            else:
                orders = (same, same[::-1])
            results = [self._ordered(order, hook, ways, again=again) for order in orders]
            ways = results[0]
            for other in results[1:]:
                because = f"the order of the chains of priority {priority} at {hook} is not known"
                ways = Ways(*(self.same(*pair, because) for pair in zip(ways, other, strict=True)))
        return ways.here if again else ways.asked

    def _ordered(
        self,
        chains: Sequence[BaseAt],
        hook: Hook,
        ways: Ways,
        *,
        again: bool,
    ) -> Ways:
        for table, chain, priority in chains:
            walker = Chains(self, table, Place(hook, priority, again=again), ways)
            if chain.base is None or chain.base.type is not ChainType.NAT:
                ways = self._plain(walker, chain, ways)
            elif not again:
                asked = walker.base(chain, ways.asked)
                ways = ways._replace(asked=self.diagrams.pick(self._first, asked, ways.asked))
        return ways

    def _plain(self, walker: Chains, chain: model.Chain, ways: Ways) -> Ways:
        asked = walker.base(chain, ways.asked)
        if ways.asked == ways.here == ways.elsewhere and not walker.translates:
            return Ways(asked, asked, asked)
        moved = walker.translated()
        here = moved.base(chain, ways.here)
        return Ways(asked, here, moved.base(chain, ways.elsewhere))

    def same(self, first: Node, second: Node, because: str) -> Node:
        """Give the outcome where two are the same, and say that it is not known elsewhere."""
        if first == second:
            return first

        def join(a: object, b: object) -> Outcome:
            one, other = cast("Outcome", a), cast("Outcome", b)
            for outcome in (one, other):
                if isinstance(outcome.fate, Unknown):
                    return outcome
            if one.fate == other.fate:
                return one if one == other else Outcome(one.fate, SOME_ZONE)
            return Outcome(Unknown(because))

        return self.diagrams.joined(first, second, join)

    def forgotten(self, node: Node, level: Dimension, because: str) -> Node:
        """Give the outcome of a packet of which one thing is not known."""
        found: Node | None = None
        for atom in self.diagrams.atoms_asked(node, level):
            one = self.diagrams.given(node, {level: atom})
            found = one if found is None else self.same(found, one, because)
        return node if found is None else found
