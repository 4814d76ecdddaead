"""The chains of one table as functions of all packets, folded from their ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from interceptor import model
from interceptor.analysis.diagram import NO, Node
from interceptor.analysis.outcome import Outcome, Ways, in_zone, instead
from interceptor.analysis.packet import (
    LOCALHOST,
    Dropped,
    Fate,
    Redirected,
    Translated,
    Transparent,
    Unknown,
)
from interceptor.analysis.space import DESTINATIONS, SOURCES, Dimension, family_of
from interceptor.names import Family, Hook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.analysis.changes import Changing
    from interceptor.analysis.flow import Flow
    from interceptor.analysis.place import Place
    from interceptor.analysis.space import Space

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


class Chains:
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

    def translated(self) -> Chains:
        """Give the same for a packet whose destination has become another."""
        return Chains(self._flow, self._table, self._place._replace(translated=True), self._ways)

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
                return self._diagrams.mapped(marked, instead(Transparent(port)))
            case model.SetSource(address):
                level = SOURCES[family_of(address)]
                atom = self._space.addresses[level].atom(int(address))
                return self._diagrams.given(self._accepted, {level: atom})
            case model.TranslateSource():
                source = SOURCES[self._flow.family]
                return self._flow.forgotten(self._accepted, source, because)
            case model.TranslateDestination(address, port):
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
            case model.SetConnectionMark(value, mask):
                image = space.marks.image(lambda one: (one & ~mask) ^ value)
                return diagrams.moved(rest, Dimension.CONNECTION_MARK, image)
            case model.MixMarks():
                for level in (Dimension.MARK, Dimension.CONNECTION_MARK):
                    rest = self._flow.forgotten(rest, level, because)
                return rest
            case model.SetZone() | model.NoTrack() if self._place.is_tracked:
                return rest
            case model.SetZone(zone):
                return diagrams.mapped(rest, in_zone(zone))
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
        return self._diagrams.mapped(moved, instead(Redirected(port)))

    def _elsewhere(self, fate: Translated) -> Node:
        atoms: dict[int, int] = {}
        if fate.port is not None:
            atoms[Dimension.DESTINATION_PORT] = self._port(fate.port)
        if fate.address is not None:
            level = DESTINATIONS[self._flow.family]
            atoms[level] = self._space.addresses[level].atom(int(fate.address))
        moved = self._diagrams.given(self._ways.elsewhere, atoms)
        return self._diagrams.mapped(moved, instead(fate))

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
