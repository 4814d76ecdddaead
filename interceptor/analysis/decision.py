"""What was decided about one connection, and why: the same from every kernel language.

Pure. Where nf_tables decides, it is read from the way of a connection's first packet; where
programs at sockets do, they tell it themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from interceptor import model
from interceptor.analysis.packet import (
    Address,
    Direct,
    Dropped,
    Fate,
    Redirected,
    Translated,
    Transparent,
)
from interceptor.analysis.run import Visit
from interceptor.analysis.telling import reason
from interceptor.analysis.traced import Kind
from interceptor.dialect import OURS
from interceptor.names import Family, Hook

if TYPE_CHECKING:
    from collections.abc import Callable

    from interceptor.analysis.traced import Event, Way

GONE = "a rule that is gone by now"
NO_RULE = "no rule of ours matches it"


class Sender(msgspec.Struct, frozen=True):
    """Who sent something; ``gid``, ``pid`` and ``command`` as far as they are known."""

    uid: int
    gid: int | None = None
    pid: int | None = None
    command: str = ""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One connection or query, and what became of it.

    Args:
        at: seconds since the epoch.
        inbound: whether it arrived from outside; then nobody is known to have sent it.
        source: ``None`` where it was decided before one was chosen; then its port is 0 too. A port
            of 0 beside an address is one not chosen yet.
        destination: where it was sent, whatever became of it.
        why: of the rule that decided; if that is not of ours (``is_others``), the rule.
        is_lost: it was decided so, but the packet was not seen to go on: what is not traced, as
            iptables-legacy or a route, has it.
        sender: ``None`` if nobody knows.
        has_rules: whether what decided has rules at all, which could be met.
        path: the rules it met, if the kernel tells of each.
    """

    at: float
    inbound: bool
    protocol: str
    source: Address | None
    source_port: int
    destination: Address
    destination_port: int
    fate: Fate
    why: str
    is_others: bool = False
    is_lost: bool = False
    sender: Sender | None = None
    has_rules: bool = True
    path: tuple[Visit, ...] = ()


class Listing:
    """Rules that are, or were, in force, by the numbers the kernel gave them."""

    def __init__(self, ruleset: model.Ruleset) -> None:
        self._rules: dict[tuple[Family, str, int], list[tuple[int, model.Rule]]] = {}
        self._hooks: dict[tuple[Family, str, str], Hook] = {}
        for table in ruleset.tables:
            for chain in table.chains:
                if chain.base:
                    self._hooks[table.family, table.name, chain.name] = chain.base.hook
                for number, rule in enumerate(chain.rules, 1):
                    key = (table.family, table.name, rule.handle)
                    self._rules.setdefault(key, []).append((number, rule))
        self.captures_udp = any(
            is_ours(table.family, table.name, chain.name, rule)
            and model.Protocol("udp") in rule.matches
            for table in ruleset.tables
            for chain in table.chains
            for rule in chain.rules
        )

    def hook(self, event: Event) -> Hook | None:
        """Give the hook of an event's chain, if it is a base chain."""
        return self._hooks.get((event.family, event.table, event.chain))

    def rule(self, event: Event) -> tuple[int, model.Rule] | None:
        """Give an event's rule and its number in its chain.

        What is one rule to the kernel may be several here; it is the one that does what was done.
        """
        found = self._rules.get((event.family, event.table, event.handle), [])
        fitting = [one for one in found if _does(one[1].action, event.verdict)]
        if len(found) > 1 and len({rule.action for _, rule in fitting}) != 1:
            number, rule = found[0]
            return number, model.Rule(rule.matches, _done(event), rule.why, rule.text)
        return next(iter(fitting or found), None)


def is_ours(family: Family, table: str, chain: str, rule: model.Rule) -> bool:
    """Whether a rule is one of ours, or calls ours."""
    if family is Family.INET:
        return OURS.owns_table(table)
    called = OURS.owns_chain(chain) or OURS.owns_chain(rule.target or "")
    return called or OURS.owns_comment(rule.why)


def decide(
    way: Way,
    listing_of: Callable[[Event], Listing],
    say: Callable[[model.Rule, Family, str], str],
) -> Decision:
    """Say what was decided about a packet by the way it went.

    Args:
        way: all that happened to it.
        listing_of: gives the rules that were in force at an event.
        say: writes a rule, of the family and table, in the words of its tool.
    """
    visits = tuple(_visits(way, listing_of))
    deciding = next((v for v in reversed(visits) if _decides(v.rule.action)), None)
    ours = tuple(v for v in visits if is_ours(v.family, v.table, v.chain, v.rule))
    if deciding and deciding not in ours:
        why, is_others = _of_others(deciding, say), True
    else:
        why, is_others = reason(ours) or _last(ours, say), False
    header = way.header
    return Decision(
        at=way.begun.at,
        inbound=way.is_inbound,
        protocol=way.protocol,
        source=header.source,
        source_port=header.source_port,
        destination=header.destination,
        destination_port=header.destination_port,
        fate=_fate(way, visits),
        why=why,
        is_others=is_others,
        is_lost=way.is_lost,
        path=visits,
    )


def _visits(way: Way, listing_of: Callable[[Event], Listing]) -> list[Visit]:
    hook = Hook.PREROUTING if way.is_inbound else Hook.OUTPUT
    visits = []
    for event in way.met:
        listing = listing_of(event)
        hook = listing.hook(event) or hook
        if event.kind is Kind.RULE:
            number, rule = listing.rule(event) or (0, model.Rule(action=_done(event), text=GONE))
        elif event.kind is Kind.POLICY and event.verdict == "drop":
            number, rule = 0, model.Rule(action=model.Drop(), text="policy drop")
        else:
            continue
        visits.append(Visit(event.table, event.chain, number, rule, hook, event.family))
    return visits


def _fate(way: Way, visits: tuple[Visit, ...]) -> Fate:
    """Say where it went; what no rule here tells, the packet itself does."""
    if way.met and way.met[-1].verdict == "drop":
        return Dropped()
    for visit in reversed(visits):
        match visit.rule.action:
            case model.Redirect(port):
                return Redirected(port)
            case model.TProxy(port):
                return Transparent(port)
            case model.TranslateDestination(address, port):
                return Translated(address, port)
    before, after = way.header, way.last
    if (before.destination, before.destination_port) != (
        after.destination,
        after.destination_port,
    ):
        return Translated(after.destination, after.destination_port)
    return Direct()


def _decides(action: model.Action) -> bool:
    return isinstance(action, _DECIDING)


_DECIDING = (
    model.Drop,
    model.Reject,
    model.Redirect,
    model.TProxy,
    model.TranslateDestination,
    model.NoTrack,
)


def _of_others(visit: Visit, say: Callable[[model.Rule, Family, str], str]) -> str:
    words = visit.rule.text or say(visit.rule, visit.family, visit.table)
    return f"others' rule in {visit.family} {visit.table} {visit.chain}: {words}"


def _last(ours: tuple[Visit, ...], say: Callable[[model.Rule, Family, str], str]) -> str:
    """Give the last rule of ours in words; rules in the place of Istio's have no why."""
    for visit in reversed(ours):
        return visit.rule.text or say(visit.rule, visit.family, visit.table)
    return NO_RULE


def _does(action: model.Action, verdict: str) -> bool:
    match verdict:
        case "drop":
            return isinstance(action, model.Drop | model.Reject | model.TProxy)
        case "jump":
            return isinstance(action, model.Jump)
        case "goto":
            return isinstance(action, model.Goto)
        case "return":
            return isinstance(action, model.Return)
        case "accept":
            return not isinstance(
                action, model.Drop | model.Reject | model.Jump | model.Goto | model.Return
            )
    return isinstance(action, model.PASSING)


def _done(event: Event) -> model.Action:
    """Make an action of what was done."""
    match event.verdict:
        case "drop":
            return model.Drop()
        case "accept":
            return model.Accept()
        case "return":
            return model.Return()
        case "continue":
            return model.Continue()
    return model.UnreadableAction(event.verdict)
