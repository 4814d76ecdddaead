"""What becomes of every packet at once: hooks, base chains and rules as functions of packets.

A chain is worked out from its end: what becomes of a packet at a rule is what the rule does, where
it matches, and what becomes of it at the next rule, where it does not. So every function here is
"what becomes of a packet that is at this place", and what comes later is handed in.
"""

from __future__ import annotations

from itertools import groupby, permutations
from typing import TYPE_CHECKING, NamedTuple, cast

import msgspec

from interceptor import model
from interceptor.analysis.diagram import NO, Node
from interceptor.analysis.packet import (
    LOCALHOST,
    Direct,
    Dropped,
    Fate,
    Redirected,
    Translated,
    Transparent,
    Unknown,
)
from interceptor.analysis.place import BaseAt, Place, bases
from interceptor.analysis.space import DESTINATIONS, NO_SOCKET, SOURCES, Dimension
from interceptor.names import LOOPBACK_INTERFACE, ChainType, Family, Hook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from interceptor.analysis.changes import Changing
    from interceptor.analysis.space import Space

TRANSLATED_STATES = ("NEW", "RELATED")
"""States in which a packet is a connection's first (nf_nat_inet_fn in nf_nat_core.c)."""

_MOST_ORDERED = 3
"""Chains of one priority of which all orders are tried."""


_SOME_ZONE = -1
"""It is not known which zone, unless an earlier rule says so."""


class Outcome(msgspec.Struct, frozen=True):
    """What became of a packet, and the conntrack zone it was put into, if it was."""

    fate: Fate
    zone: int | None = None


class Ways(NamedTuple):
    """What becomes of a packet after some place, by what became of it so far.

    ``asked``: nat chains still are asked; ``here``: it goes to this host now; ``elsewhere``: its
    destination is another now.
    """

    asked: Node
    here: Node
    elsewhere: Node


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
        self._first = self.diagrams.box([(Dimension.STATE, space.states.mask(TRANSLATED_STATES))])

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
            return unknown if was.zone == _SOME_ZONE else was

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
            if len(same) <= _MOST_ORDERED:
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
            walker = _Chains(self, table, Place(hook, priority, again=again), ways)
            if chain.base is None or chain.base.type is not ChainType.NAT:
                ways = self._plain(walker, chain, ways)
            elif not again:
                asked = walker.base(chain, ways.asked)
                ways = ways._replace(asked=self.diagrams.pick(self._first, asked, ways.asked))
        return ways

    def _plain(self, walker: _Chains, chain: model.Chain, ways: Ways) -> Ways:
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
                return one if one == other else Outcome(one.fate, _SOME_ZONE)
            return Outcome(Unknown(because))

        return self.diagrams.joined(first, second, join)

    def forgotten(self, node: Node, level: Dimension, because: str) -> Node:
        """Give the outcome of a packet of which one thing is not known."""
        found: Node | None = None
        for atom in self.diagrams.atoms_asked(node, level):
            one = self.diagrams.given(node, {level: atom})
            found = one if found is None else self.same(found, one, because)
        return node if found is None else found


_ENDING = (
    model.Accept,
    model.Drop,
    model.Reject,
    model.Return,
    model.Goto,
    model.Redirect,
    model.TProxy,
)
"""Actions that are the same whatever rules come after."""


class _Group(NamedTuple):
    """Neighbouring rules that do the same, and differ in one dimension at most."""

    masks: dict[int, int]
    is_sure: bool
    action: model.Action
    because: str

    def joined(self, other: _Group) -> _Group | None:
        """Give the two as one, if they can be."""
        if not (self.is_sure and other.is_sure and self.action == other.action):
            return None
        if not isinstance(self.action, _ENDING) or self.masks.keys() != other.masks.keys():
            return None
        unlike = [k for k, mask in self.masks.items() if other.masks[k] != mask]
        if len(unlike) > 1:
            return None
        masks = {k: mask | other.masks[k] for k, mask in self.masks.items()}
        return self._replace(masks=masks)


class _Chains:
    """The chains of one table, called from one base chain's place."""

    def __init__(
        self,
        flow: Flow,
        table: model.Table,
        place: Place,
        ways: Ways,
    ) -> None:
        self._flow = flow
        self._space, self._diagrams = flow.space, flow.diagrams
        self._table, self._place, self._ways = table, place, ways
        self._chains = {chain.name: chain for chain in table.chains}
        self._accepted: Node = ways.asked
        self._known: dict[tuple[str, Node], Node] = {}
        self._open: list[str] = []

    @property
    def translates(self) -> bool:
        """Whether destinations change at this hook, before this chain or in it."""
        return self._place.hook in (Hook.PREROUTING, Hook.OUTPUT)

    def translated(self) -> _Chains:
        """Give the same for a packet whose destination has become another."""
        return _Chains(self._flow, self._table, self._place._replace(translated=True), self._ways)

    def base(self, chain: model.Chain, accepted: Node) -> Node:
        """Give the outcome at a base chain, and after it if it lets a packet pass."""
        self._accepted = accepted
        self._known.clear()
        is_dropping = chain.base is not None and chain.base.policy == "drop"
        return self._chain(chain.name, self._fate(Dropped()) if is_dropping else accepted)

    def _fate(self, fate: Fate) -> Node:
        return self._diagrams.answer(Outcome(fate))

    def _chain(self, name: str, after: Node) -> Node:
        """Give the outcome at a chain's first rule; ``after`` is what comes when it returns."""
        chain = self._chains.get(name)
        if chain is None:
            return self._fate(Unknown(f"{self._table.name}: there is no chain {name}"))
        if name in self._open:
            return self._fate(Unknown(f"{self._table.name}: chain {name} calls itself"))
        found = self._known.get((name, after))
        if found is None:
            self._open.append(name)
            found = after
            for group in self._groups(chain):
                found = self._group(group, found, after)
            self._open.pop()
            self._known[name, after] = found
        return found

    def _groups(self, chain: model.Chain) -> Iterator[_Group]:
        """Give the rules from the last to the first, neighbours that are one together.

        A set of ten thousand networks is ten thousand rules in iptables.
        """
        last: _Group | None = None
        for number in range(len(chain.rules), 0, -1):
            rule = chain.rules[number - 1]
            if self._flow.language and rule.only not in ("", self._flow.language):
                continue
            masks, is_sure = masks_of(self._space, rule, self._flow.family, self._place)
            if masks is None:
                continue
            because = f"{self._table.name} {chain.name} rule {number}: {rule.text}"
            group = _Group(masks, is_sure, rule.action, because)
            joined = last.joined(group) if last is not None else None
            if joined is None and last is not None:
                yield last
            last = joined or group
        if last is not None:
            yield last

    def _group(self, group: _Group, rest: Node, after: Node) -> Node:
        done = self._done(group.action, rest, after, group.because)
        if not group.is_sure:
            done = self._flow.same(done, rest, group.because)
        return self._diagrams.pick(self._diagrams.box(group.masks.items()), done, rest)

    def _done(self, action: model.Action, rest: Node, after: Node, because: str) -> Node:
        match action:
            case model.Continue() | model.Note():
                return rest
            case model.Accept():
                return self._accepted
            case model.Drop() | model.Reject():
                return self._fate(Dropped())
            case model.Return():
                return after
            case model.Jump(target):
                return self._chain(target, rest)
            case model.Goto(target):
                return self._chain(target, after)
            case model.Redirect(port):
                return self._redirected(port)
            case model.TProxy(port, mark):
                atom = self._space.marks.atom(mark)
                marked = self._diagrams.given(self._ways.here, {Dimension.MARK: atom})
                return self._diagrams.mapped(marked, _instead(Transparent(port)))
            case model.TranslateSource():
                source = SOURCES[self._flow.family]
                return self._flow.forgotten(self._accepted, source, because)
            case model.TranslateDestination(_, address, port):
                return self._elsewhere(Translated(address, port))
            case model.UnreadableAction():
                return self._fate(Unknown(because))
            case _:
                return self._changed(action, rest, because)

    def _changed(self, action: Changing, rest: Node, because: str) -> Node:
        """Give what becomes of a packet that goes on with the next rule, changed."""
        diagrams, space = self._diagrams, self._space
        match action:
            case model.SetMark(mark):
                return diagrams.given(rest, {Dimension.MARK: space.marks.atom(mark)})
            case model.SetMarkBits(_, value, mask):
                image = space.marks.image(lambda one: (one & ~mask) ^ value)
                return diagrams.moved(rest, Dimension.MARK, image)
            case model.SaveMark():
                return self._copied(rest, Dimension.MARK, Dimension.CONNECTION_MARK)
            case model.RestoreMark():
                return self._copied(rest, Dimension.CONNECTION_MARK, Dimension.MARK)
            case model.MixMarks():
                for level in (Dimension.MARK, Dimension.CONNECTION_MARK):
                    rest = self._flow.forgotten(rest, level, because)
                return rest
            case model.SetZone() | model.NoTrack() if self._place.is_tracked:
                return rest
            case model.SetZone(zone):
                return diagrams.mapped(rest, _in_zone(zone))
            case model.NoTrack():
                untracked = space.states.atom("UNTRACKED")
                return diagrams.given(rest, {Dimension.STATE: untracked})

    def _redirected(self, port: int) -> Node:
        space, family = self._space, self._flow.family
        to = {Dimension.DESTINATION_PORT: self._port(port)}
        if self._place.hook is Hook.OUTPUT:
            level = DESTINATIONS[family]
            to[level] = space.addresses[level].atom(int(LOCALHOST[family]))
        moved = self._diagrams.given(self._ways.here, {int(k): v for k, v in to.items()})
        return self._diagrams.mapped(moved, _instead(Redirected(port)))

    def _elsewhere(self, fate: Translated) -> Node:
        atoms: dict[int, int] = {}
        if fate.port is not None:
            atoms[Dimension.DESTINATION_PORT] = self._port(fate.port)
        if fate.address is not None:
            level = DESTINATIONS[self._flow.family]
            atoms[level] = self._space.addresses[level].atom(int(fate.address))
        moved = self._diagrams.given(self._ways.elsewhere, atoms)
        return self._diagrams.mapped(moved, _instead(fate))

    def _port(self, port: int) -> int:
        return self._space.ports[Dimension.DESTINATION_PORT].atom(port)

    def _copied(self, rest: Node, source: Dimension, target: Dimension) -> Node:
        """Give the outcome of a packet one of whose marks became the other."""
        found = rest
        for atom in range(self._space.marks.size):
            here = self._diagrams.box([(source, 1 << atom)])
            found = self._diagrams.pick(here, self._diagrams.given(rest, {target: atom}), found)
        return found


def condition_of(
    space: Space, rule: model.Rule, family: Family, place: Place
) -> tuple[Node, bool]:
    """Give where a rule matches, and whether that is sure: all of its matches can be read."""
    masks, is_sure = masks_of(space, rule, family, place)
    return (NO if masks is None else space.diagrams.box(masks.items())), is_sure


def masks_of(
    space: Space, rule: model.Rule, family: Family, place: Place
) -> tuple[dict[int, int] | None, bool]:
    """Give where a rule matches by dimension; ``None`` is nowhere."""
    masks: dict[int, int] = {}
    is_sure = True
    for match in rule.matches:
        asked = place.mask(space, match, family)
        if asked is None:
            is_sure = False
        elif asked is False:
            return None, True
        elif asked is not True:
            level, mask = asked
            masks[level] = masks.get(level, space.diagrams.full[level]) & mask
            if not masks[level]:
                return None, True
    return masks, is_sure


def _instead(fate: Fate) -> Callable[[object], Outcome]:
    """Say what became of what would otherwise just have gone on."""

    def change(outcome: object) -> Outcome:
        was = cast("Outcome", outcome)
        return Outcome(fate, was.zone) if isinstance(was.fate, Direct) else was

    return change


def _in_zone(zone: int) -> Callable[[object], Outcome]:
    """Put all into a zone, also what would later be put into another."""

    def change(outcome: object) -> Outcome:
        was = cast("Outcome", outcome)
        return was if isinstance(was.fate, Unknown) else Outcome(was.fate, zone)

    return change
