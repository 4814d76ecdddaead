"""One packet on its way through chains, with one answer to each thing that cannot be known."""

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
from interceptor.analysis.place import FIRST_STATES, MOST_ORDERED, Place, bases
from interceptor.names import LOOPBACK_INTERFACE, ChainType, Family, Hook

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interceptor.analysis.changes import Changing
    from interceptor.analysis.place import BaseAt


class Visit(msgspec.Struct, frozen=True):
    """A rule that matched on the way; or, if that ``is_unsure``, may have."""

    table: str
    chain: str
    number: int
    rule: model.Rule
    hook: Hook = Hook.PREROUTING
    family: Family = Family.INET
    is_unsure: bool = False


class Stop(msgspec.Struct, frozen=True):
    """A base chain on the way, and the rules that matched in it and below it.

    It ``is_asked`` unless it translates and nothing is left to be translated; where no rule had
    the last word (``is_decided``), its policy has.
    """

    table: model.Table
    chain: model.Chain
    hook: Hook
    priority: int
    is_asked: bool
    is_decided: bool
    visits: tuple[Visit, ...]


class Run:
    """One way of a packet, with one answer to each thing that cannot be known.

    Args:
        packet: as it starts.
        answers: to the first questions; the others are answered with the first choice.
    """

    def __init__(self, packet: Packet, answers: tuple[int, ...]) -> None:
        self.packet = self._start = packet
        self.fate: Fate = Direct()
        self.path: list[Visit] = []
        self.stops: list[Stop] = []
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
                is_nat = chain.base is not None and chain.base.type is ChainType.NAT
                is_asked = not is_nat or self._asks(place)
                begun = len(self.path)
                is_decided = is_asked and _Chains(self, table, place).base(chain)
                met = tuple(self.path[begun:])
                self.stops.append(Stop(table, chain, hook, priority, is_asked, is_decided, met))

    def _ordered(self, same: list[BaseAt], hook: Hook, priority: int) -> Sequence[BaseAt]:
        if len(same) == 1:
            return same
        all_orders = len(same) <= MOST_ORDERED
        orders = [*permutations(same)] if all_orders else [tuple(same), tuple(same[::-1])]
        doubt = f"the order of the chains of priority {priority} at {hook} is not known"
        return orders[self._choose(len(orders), doubt)]

    def _asks(self, place: Place) -> bool:
        is_first = self.packet.state in FIRST_STATES
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

    def __init__(self, run: Run, table: model.Table, place: Place) -> None:
        self._run, self._table, self._place = run, table, place
        self._chains = {chain.name: chain for chain in table.chains}
        self._open: list[str] = []

    def base(self, chain: model.Chain) -> bool:
        """Go through a base chain; false if its policy has the last word."""
        is_decided = self._chain(chain)
        if not is_decided and chain.base and chain.base.policy == "drop":
            self._run.fate = Dropped()
        return is_decided

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
            case model.TranslateDestination(address, port):
                run.fate = Translated(address, port)
                if address is not None:
                    run.change(destination=address)
                if port is not None:
                    run.change(destination_port=port)
            case model.SetSource(address):
                run.change(source=address)
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
            case model.SetConnectionMark(value, mask):
                run.change(connection_mark=(packet.connection_mark & ~mask) ^ value)
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
