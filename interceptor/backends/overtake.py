"""Base chains of others that have a packet before ours do.

Pure. Chains at one hook run by priority; of those of equal priority the one that was registered
last comes first, and nobody can look up which that was, so an equal one may run first. All chains
of type nat run at one place, that of conntrack's translation, by priority among themselves. In
whatever chain, to accept a packet is to leave it to the next one; to drop it, to translate it, to
give it to a socket, or to keep it from conntrack takes it from ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from interceptor.backends import nft_statement
from interceptor.backends.drift import Finding, Kind
from interceptor.backends.outcome import Judge, Outcome
from interceptor.errors import RulesetError
from interceptor.model import (
    PROTOCOLS_WITH_PORTS,
    Redirect,
    RestoreMark,
    Ruleset,
    SetMark,
    Table,
    TProxy,
    reachable,
)
from interceptor.names import PRIORITIES, ChainType, Family
from interceptor.render.nftables import words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.backends.outcome import Outcomes
    from interceptor.model import Base, Chain, Rule

_INTERCEPTING = (Redirect, TProxy, SetMark, RestoreMark)
"""What our rules do to get a packet to the proxy."""

_Traffic = tuple[Family, str]
"""Packets of one family and protocol."""


def overtaking(target: Ruleset, others: Ruleset) -> Iterator[Finding]:
    """Find what takes packets from our base chains.

    Args:
        target: our rules, lowered.
        others: tables that are in force, of any language, without what in them is ours.
    """
    ours = [
        (chain.base, _intercepted(table, chain, chain.base))
        for table in target.tables
        for chain in table.chains
        if chain.base
    ]
    for table in others.tables:
        for chain in table.chains:
            if chain.base:
                kinds = [kinds for base, kinds in ours if _may_be_first(chain.base, base)]
                wanted = frozenset[_Traffic]().union(*kinds)
                common = {one for one in wanted if one[0] in table.family.members}
                yield from _taking(table, chain, chain.base, common)


def without_shared(others: Ruleset, target: Ruleset) -> Ruleset:
    """Leave out base chains that rules of ours are, or will be, in: ``shadow`` looks at those."""
    return Ruleset(tuple(_without_shared(table, target) for table in others.tables))


def _without_shared(table: Table, target: Ruleset) -> Table:
    ours = target.table(table.family, table.name) or Table(table.family, table.name)
    chains = tuple(c for c in table.chains if not (c.base and ours.chain(c.name)))
    return msgspec.structs.replace(table, chains=chains)


def _may_be_first(theirs: Base, ours: Base) -> bool:
    if theirs.hook is not ours.hook:
        return False
    if theirs.type is ours.type is ChainType.NAT:
        return theirs.priority <= ours.priority
    return _place(theirs) <= _place(ours)


def _place(base: Base) -> int:
    """Give the priority at which a chain really runs."""
    if base.type is ChainType.NAT:
        return PRIORITIES["nat"].get(base.hook, base.priority)
    return base.priority


def _intercepted(table: Table, chain: Chain, base: Base) -> frozenset[_Traffic]:
    """Give the traffic for which one of our base chains is there."""
    chains = {one.name: one for one in table.chains}
    found = set()
    for family in table.family.members:
        for protocol in PROTOCOLS_WITH_PORTS:
            judge = Judge(table, family, protocol, _place(base))

            def meets(rule: Rule, judge: Judge = judge) -> bool:
                return judge.meets(rule) is not False

            if any(
                isinstance(rule.action, _INTERCEPTING) and meets(rule)
                for called in reachable(chains, chain.name, meets)
                for rule in called.rules
            ):
                found.add((family, protocol))
    return frozenset(found)


class _Way:
    """How far the packets of one kind come in a base chain.

    Args:
        judge: says what its rules do to them.
        policy: of the chain.
        counts: whether losing all of them is losing everything.
    """

    def __init__(self, judge: Judge, policy: str, *, counts: bool) -> None:
        self._judge = judge
        self._drops = policy == "drop"
        self._counts = counts
        self._some_left = False
        self._some_come = True
        self._some_end = False

    def rule(self, rule: Rule) -> Kind | None:
        """Go on to the next rule, and say whether it takes all of them, or some."""
        if not self._some_come:
            return None
        done = self._judge.rule(rule)
        kind = self._kind(done)
        self._some_left |= Outcome.LET_GO in done or (Outcome.BACK in done and not self._drops)
        self._some_end |= Outcome.BACK in done
        self._some_come = Outcome.NEXT in done
        return kind

    def end(self) -> Kind | None:
        """Say the same of the policy."""
        if not (self._drops and (self._some_come or self._some_end)):
            return None
        return self._kind(frozenset({Outcome.TAKEN}))

    def _kind(self, done: Outcomes) -> Kind | None:
        if Outcome.TAKEN not in done:
            return None
        if self._counts and not self._some_left and len(done) == 1:
            return Kind.SHADOWED
        return Kind.FOREIGN_BEFORE


def _taking(table: Table, chain: Chain, base: Base, wanted: set[_Traffic]) -> Iterator[Finding]:
    """Find the rules of a base chain, or its policy, that take some of the wanted traffic."""
    ways = [
        _Way(
            Judge(table, family, protocol, _place(base)),
            base.policy,
            counts=protocol == "tcp" or (family, "tcp") not in wanted,
        )
        for family, protocol in sorted(wanted)
    ]
    where = f"{table.family} {table.name} {chain.name} rule"
    for number, rule in enumerate(chain.rules, 1):
        kinds = {way.rule(rule) for way in ways}
        yield from _named(kinds, f"{where} {number}", rule)
    yield from _named({way.end() for way in ways}, f"{where} 0", None)


def _named(kinds: set[Kind | None], where: str, rule: Rule | None) -> Iterator[Finding]:
    for kind in (Kind.SHADOWED, Kind.FOREIGN_BEFORE):
        if kind in kinds:
            yield Finding(kind, where, _say(rule) if rule else "policy drop")
            return


def _say(rule: Rule) -> str:
    """Give a rule in the words it was read from, or in nft's; without what it has counted."""
    if nft_statement.is_json(rule.text):
        return nft_statement.uncounted(rule.text)
    try:
        return rule.text or words(rule)
    except RulesetError:
        matches = ", ".join(type(match).__name__ for match in rule.matches)
        return f"{type(rule.action).__name__} if {matches}"
