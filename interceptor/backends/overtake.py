"""Base chains of others, in tables of their own, that have a packet before ours do.

Pure. Chains at one hook run by priority, those of equal priority as they were registered, which
nobody can look up: so an equal one may run first. In a chain of type nat only a translation or a
drop takes the packet from the next one; accepting is leaving it as it is. In any other chain to
drop takes it, and to take it out of conntrack keeps it from every chain of type nat.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.backends.drift import Finding, Kind
from interceptor.errors import RulesetError
from interceptor.model import (
    PASSING,
    Accept,
    Drop,
    Goto,
    Jump,
    Protocol,
    Redirect,
    Return,
    TProxy,
    UnreadableAction,
    reachable,
)
from interceptor.names import ChainType
from interceptor.render.nftables import words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.model import Base, Chain, Rule, Ruleset, Table

_GOING_ON = frozenset({"counter", "log", "limit", "mangle", "ct helper", "meter", "set", "quota"})
"""nft statements after which the next one is looked at (nft(8), "STATEMENTS")."""
_UNTRACKED = ("notrack", "NOTRACK", "CT --notrack")


def overtaking(target: Ruleset, others: Ruleset) -> Iterator[Finding]:
    """Find what takes packets from our base chains.

    Args:
        target: our rules, lowered.
        others: tables that are not ours, of every language.
    """
    protocols = tuple(dict.fromkeys(_protocols(target)))
    ours = [(table, chain.base) for table in target.tables for chain in table.chains if chain.base]
    for table in others.tables:
        if table.flags:
            # It is switched off; see ``drift.flagged`` for ours.
            continue
        for chain in table.chains:
            if any(_runs_first(table, chain.base, theirs, base) for theirs, base in ours):
                yield from _taking(table, chain, protocols)


def _runs_first(table: Table, base: Base | None, own: Table, ours: Base) -> bool:
    """Whether a base chain may have a packet that ours is there for, before ours does."""
    return (
        base is not None
        and base.hook is ours.hook
        and base.priority <= ours.priority
        and not set(table.family.members).isdisjoint(own.family.members)
        and (base.type is not ChainType.NAT or ours.type is ChainType.NAT)
    )


def _protocols(target: Ruleset) -> Iterator[str]:
    """Give the protocols of what we hand to the proxy."""
    for table in target.tables:
        for chain in table.chains:
            for rule in chain.rules:
                if isinstance(rule.action, Redirect | TProxy):
                    yield from (m.protocol for m in rule.matches if isinstance(m, Protocol))


def _taking(table: Table, chain: Chain, protocols: tuple[str, ...]) -> Iterator[Finding]:
    """Find the rules of a base chain, or its policy, that take a packet."""
    where = f"{table.family} {table.name} {chain.name}"
    for number, rule in enumerate(chain.rules, 1):
        at = f"{where} rule {number}"
        if any(_takes(rule, table, chain, protocol, all_of_it=True) for protocol in protocols):
            yield Finding(Kind.SHADOWED, at, _say(rule))
        elif any(_takes(rule, table, chain, protocol) for protocol in protocols):
            yield Finding(Kind.FOREIGN_BEFORE, at, _say(rule))
    if chain.base and chain.base.policy == "drop":
        passes = any(not isinstance(rule.action, Drop) for rule in chain.rules)
        kind = Kind.FOREIGN_BEFORE if passes else Kind.SHADOWED
        yield Finding(kind, f"{where} rule 0", "policy drop")


def _say(rule: Rule) -> str:
    """Give a rule in nft's words, or in those it was read from."""
    try:
        return rule.text or words(rule)
    except RulesetError:
        return rule.why


def _takes(
    rule: Rule, table: Table, base: Chain, protocol: str, *, all_of_it: bool = False
) -> bool:
    """Whether a rule, or what it calls, takes packets of a protocol, or every one of them."""

    def meets(one: Rule) -> bool:
        if all_of_it:
            return all(isinstance(m, Protocol) and _is(m, protocol) for m in one.matches)
        return all(_is(m, protocol) for m in one.matches if isinstance(m, Protocol))

    if not meets(rule):
        return False
    if not isinstance(rule.action, Jump | Goto):
        return _is_end(rule, base)
    chains = {chain.name: chain for chain in table.chains}
    return any(
        meets(inner) and _is_end(inner, base)
        for chain in reachable(chains, rule.action.chain, meets)
        for inner in chain.rules
    )


def _is(match: Protocol, protocol: str) -> bool:
    return (match.protocol == protocol) != match.negated


def _is_end(rule: Rule, base: Chain) -> bool:
    """Whether what a rule does, by itself, takes the packet from later chains."""
    if isinstance(rule.action, PASSING):
        return False
    is_nat = base.base is not None and base.base.type is ChainType.NAT
    match rule.action:
        case Accept() | Return() | Jump() | Goto():
            return False
        case UnreadableAction(said):
            return _may_end(said, is_nat=is_nat)
        case Redirect():
            return is_nat
        case _:
            return True


def _may_end(said: str, *, is_nat: bool) -> bool:
    """Judge an action nobody here reads, in nft's JSON or in iptables' words."""
    if not said.startswith(("[", "{")):
        from interceptor.backends.shadow import PASSING_TARGETS

        if said.startswith(_UNTRACKED):
            return True
        return said.partition(" ")[0] not in PASSING_TARGETS
    import msgspec

    statements = msgspec.json.decode(said)
    kinds = {kind for one in statements for kind in (one if isinstance(one, dict) else {one: 0})}
    if is_nat:
        # What a nat chain accepts goes on to the next.
        kinds.discard("accept")
    return bool(kinds - _GOING_ON - {"match", "jump", "goto", "return", "accept"})
