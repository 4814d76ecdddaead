"""Follow one packet through the chains at a hook, or on its whole way, in the kernel's order."""

from __future__ import annotations

from itertools import groupby, permutations
from typing import TYPE_CHECKING, assert_never

import msgspec

from interceptor import model
from interceptor.analysis.holds import holds_all
from interceptor.analysis.packet import (
    LOCALHOST,
    Direct,
    Dropped,
    Fate,
    Packet,
    Redirected,
    Translated,
    Transparent,
    Unknown,
)
from interceptor.analysis.place import BaseAt, Place, bases
from interceptor.names import LOOPBACK_INTERFACE, ChainType, Family, Hook

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from interceptor.analysis.changes import Changing

_FIRST_STATES = ("NEW", "RELATED")
"""States in which a packet is a connection's first (nf_nat_inet_fn in nf_nat_core.c)."""

_MOST_RUNS = 128
"""Ways tried, where it is not known which of several a packet takes."""

_MOST_ORDERED = 3
"""Chains of one priority of which all orders are tried."""


class Visit(msgspec.Struct, frozen=True):
    """A rule that matched on the way; or, if that ``is_unsure``, may have."""

    table: str
    chain: str
    number: int
    rule: model.Rule
    hook: Hook = Hook.PREROUTING
    family: Family = Family.INET
    is_unsure: bool = False


class Walk(msgspec.Struct, frozen=True):
    """What becomes of a packet, the rules that made it so, and what they changed in it.

    ``packet`` is as rules left it; its addresses are the old ones, whatever became of it.
    """

    fate: Fate
    path: tuple[Visit, ...]
    packet: Packet


def walk(ruleset: model.Ruleset, hook: Hook, packet: Packet, language: str = "") -> Walk:
    """Follow a packet through every base chain at a hook, lowest priority number first.

    Translation is done once, for a connection's first packet: after a redirect, or once a socket
    has it, no further nat chain is asked. Of rules that are for one language alone those for
    ``language`` are asked, or all of them.
    """
    return _tried(packet, lambda run: run.hook(ruleset, hook, language))


def walk_received(ruleset: model.Ruleset, packet: Packet, language: str = "") -> Walk:
    """Follow a packet that comes in from outside and is for this host."""

    def way(run: _Run) -> None:
        run.hook(ruleset, Hook.PREROUTING, language)
        run.hook(ruleset, Hook.INPUT, language)

    return _tried(packet, way)


def walk_sent(ruleset: model.Ruleset, packet: Packet, language: str = "") -> Walk:
    """Follow a packet that this host sends, and if it stays here, as it comes in again by ``lo``.

    There it meets no nat chain, and its sender is forgotten.
    """

    def way(run: _Run) -> None:
        run.hook(ruleset, Hook.OUTPUT, language)
        run.leave()
        run.hook(ruleset, Hook.POSTROUTING, language)
        if run.stays():
            run.return_by_loopback()
            run.hook(ruleset, Hook.PREROUTING, language, again=True)
            run.hook(ruleset, Hook.INPUT, language)

    return _tried(packet, way)


def _tried(packet: Packet, way: Callable[[_Run], None]) -> Walk:
    """Go a way with each answer to what cannot be known; give what is the same with all."""
    first: _Run | None = None
    pending: list[tuple[int, ...]] = [()]
    runs = 0
    while pending:
        run = _Run(packet, pending.pop())
        way(run)
        runs += 1
        pending += run.others()
        if first is None:
            first = run
        differs = (run.fate, run.packet.zone) != (first.fate, first.packet.zone)
        if (differs or runs > _MOST_RUNS) and not isinstance(first.fate, Unknown):
            return Walk(Unknown(first.doubt), tuple(first.path), first.left())
    if first is None:  # pragma: no cover - the first way is always gone
        raise AssertionError
    return Walk(first.fate, tuple(first.path), first.left())


class _Run:
    """One way of a packet, with one answer to each thing that cannot be known.

    Args:
        packet: as it starts.
        answers: to the first questions; the others are answered with the first choice.
    """

    def __init__(self, packet: Packet, answers: tuple[int, ...]) -> None:
        self.packet = self._start = packet
        self.fate: Fate = Direct()
        self.path: list[Visit] = []
        self.doubt = ""
        self._answers = answers
        self._asked: list[int] = []
        self._unknown: set[str] = set()
        self._language = ""

    def others(self) -> list[tuple[int, ...]]:
        """Give the answers to try that this run, and those it came from, left out."""
        given = self._answers + (0,) * (len(self._asked) - len(self._answers))
        return [
            (*given[:number], other)
            for number in range(len(self._answers), len(self._asked))
            for other in range(1, self._asked[number])
        ]

    def left(self) -> Packet:
        """Give the packet as rules left it, where it was sent."""
        return msgspec.structs.replace(
            self._start,
            mark=self.packet.mark,
            connection_mark=self.packet.connection_mark,
            zone=self.packet.zone,
            state=self.packet.state,
        )

    def _choose(self, choices: int, doubt: str) -> int:
        number = len(self._asked)
        self._asked.append(choices)
        self.doubt = self.doubt or doubt
        return self._answers[number] if number < len(self._answers) else 0

    def hook(
        self, ruleset: model.Ruleset, hook: Hook, language: str, *, again: bool = False
    ) -> None:
        """Go through the base chains at a hook."""
        self._language = language
        found = bases(ruleset, hook, self.packet.family)
        for priority, group in groupby(found, key=lambda base: base[2]):
            for table, chain, _ in self._ordered([*group], hook, priority):
                if isinstance(self.fate, Dropped | Unknown):
                    return
                is_translated = not isinstance(self.fate, Direct)
                place = Place(hook, priority, again=again, translated=is_translated)
                if chain.base and chain.base.type is ChainType.NAT and not self._asks(place):
                    continue
                _Chains(self, table, place).base(chain)

    def _ordered(self, same: list[BaseAt], hook: Hook, priority: int) -> Sequence[BaseAt]:
        if len(same) == 1:
            return same
        all_orders = len(same) <= _MOST_ORDERED
        orders = [*permutations(same)] if all_orders else [tuple(same), tuple(same[::-1])]
        doubt = f"the order of the chains of priority {priority} at {hook} is not known"
        return orders[self._choose(len(orders), doubt)]

    def _asks(self, place: Place) -> bool:
        is_first = self.packet.state in _FIRST_STATES
        return is_first and not place.again and not place.translated

    def leave(self) -> None:
        """Go where it is sent now."""
        match self.fate:
            case Redirected():
                self.change(out_interface=LOOPBACK_INTERFACE)
            case Translated():
                self._unknown.add("out_interface")

    def stays(self) -> bool:
        """Whether it is for this host."""
        if isinstance(self.fate, Dropped | Unknown):
            return False
        if "out_interface" in self._unknown:
            return self._choose(2, "where it leaves is not known") == 1
        return self.packet.out_interface == LOOPBACK_INTERFACE

    def return_by_loopback(self) -> None:
        """Come in again; its sender is forgotten."""
        self.change(uid=None, gid=None, in_interface=LOOPBACK_INTERFACE, out_interface="")
        self._unknown.discard("out_interface")

    def change(self, **fields: object) -> None:
        """Change the packet."""
        self.packet = msgspec.structs.replace(self.packet, **fields)

    def forget(self, *fields: str) -> None:
        """Know no longer what these are."""
        self._unknown.update(fields)

    def learn(self, field: str) -> None:
        """Know again what this is."""
        self._unknown.discard(field)

    def holds(self, rule: model.Rule, place: Place, because: str) -> tuple[bool, bool]:
        """Say whether a rule matches, and whether that is sure."""
        if self._language and rule.only not in ("", self._language):
            return False, True
        held = holds_all(rule.matches, self.packet, place, self._unknown)
        if held is not None:
            return held, True
        return self._choose(2, because) == 1, False


class _Chains:
    """The chains of one table, called from one base chain."""

    def __init__(self, run: _Run, table: model.Table, place: Place) -> None:
        self._run, self._table, self._place = run, table, place
        self._chains = {chain.name: chain for chain in table.chains}
        self._open: list[str] = []

    def base(self, chain: model.Chain) -> None:
        """Go through a base chain."""
        is_decided = self._chain(chain)
        if not is_decided and chain.base and chain.base.policy == "drop":
            self._run.fate = Dropped()

    def _chain(self, chain: model.Chain) -> bool:
        """Go through a chain; false when its end or a return is reached without a verdict."""
        if chain.name in self._open:
            return self._unknown(f"{self._table.name}: chain {chain.name} calls itself")
        self._open.append(chain.name)
        decided = self._rules(chain)
        self._open.pop()
        return decided

    def _rules(self, chain: model.Chain) -> bool:
        for number, rule in enumerate(chain.rules, 1):
            because = f"{self._table.name} {chain.name} rule {number}: {rule.text}"
            held, is_sure = self._run.holds(rule, self._place, because)
            if not held:
                continue
            hook, family = self._place.hook, self._table.family
            visit = Visit(self._table.name, chain.name, number, rule, hook, family, not is_sure)
            self._run.path.append(visit)
            match rule.action:
                case model.Return():
                    return False
                case model.Jump(target):
                    if self._called(target):
                        return True
                case model.Goto(target):
                    return self._called(target)
                case _:
                    if self._done(rule.action, because):
                        return True
        return False

    def _called(self, target: str) -> bool:
        chain = self._chains.get(target)
        if chain is None:
            return self._unknown(f"{self._table.name}: there is no chain {target}")
        return self._chain(chain)

    def _unknown(self, because: str) -> bool:
        self._run.fate = Unknown(because)
        return True

    def _done(self, action: model.Action, because: str) -> bool:
        """Do what a rule says; true if nothing after it in this base chain is asked."""
        run = self._run
        match action:
            case model.Continue() | model.Note():
                return False
            case model.Accept():
                return True
            case model.Drop() | model.Reject():
                run.fate = Dropped()
            case model.Redirect(port):
                run.fate = Redirected(port)
                if self._place.hook is Hook.OUTPUT:
                    run.change(destination=LOCALHOST[run.packet.family])
                run.change(destination_port=port)
            case model.TProxy(port, mark):
                run.fate = Transparent(port)
                run.change(mark=mark)
                run.learn("mark")
            case model.TranslateDestination(_, address, port):
                run.fate = Translated(address, port)
                if address is not None:
                    run.change(destination=address)
                if port is not None:
                    run.change(destination_port=port)
            case model.TranslateSource():
                run.forget("source")
            case model.UnreadableAction():
                return self._unknown(because)
            case model.Return() | model.Jump() | model.Goto():
                raise AssertionError(action)
            case _:
                self._change(action)
                return False
        return True

    def _change(
        self,
        action: Changing,
    ) -> None:
        """Do what goes on with the next rule."""
        run, packet = self._run, self._run.packet
        match action:
            case model.SetMark(mark):
                run.change(mark=mark)
                run.learn("mark")
            case model.SetMarkBits(_, value, mask):
                run.change(mark=(packet.mark & ~mask) ^ value)
            case model.SaveMark():
                run.change(connection_mark=packet.mark)
            case model.RestoreMark():
                run.change(mark=packet.connection_mark)
            case model.MixMarks():
                run.forget("mark", "connection_mark")
            case model.SetZone(zone):
                if packet.zone is None and not self._place.is_tracked:
                    run.change(zone=zone)
            case model.NoTrack():
                if not self._place.is_tracked:
                    run.change(state="UNTRACKED")
            case _:
                assert_never(action)
