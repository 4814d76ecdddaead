"""Rules of others, in chains we share with them, that decide before ours are asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.backends.drift import Finding, Kind
from interceptor.backends.ownership import OwnRules
from interceptor.model import PASSING, Foreign, Goto, Jump, Protocol, Return, reachable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from interceptor.dialect import Ownership
    from interceptor.model import Chain, Rule, Ruleset, Table

PASSING_TARGETS = frozenset(
    [
        "AUDIT",
        "CHECKSUM",
        "CLASSIFY",
        "CONNMARK",
        "CONNSECMARK",
        "CT",
        "DSCP",
        "ECN",
        "HL",
        "HMARK",
        "IDLETIMER",
        "LED",
        "LOG",
        "MARK",
        "NFLOG",
        "NOTRACK",
        "RATEEST",
        "SECMARK",
        "SET",
        "SYNPROXY",
        "TCPMSS",
        "TCPOPTSTRIP",
        "TEE",
        "TOS",
        "TRACE",
        "TTL",
        "ULOG",
    ]
)
"""iptables targets after which the next rule is looked at (iptables-extensions(8))."""


def shadowing(target: Ruleset, observed: Ruleset, ownership: Ownership) -> Iterator[Finding]:
    """Find rules that may end a TCP packet's way before the last of ours in its base chain.

    Args:
        target: what is or will be there of ours; new rules of ours come after others', but for
            those that are ``first``.
        observed: all that is there.
        ownership: tells our chains from others'.
    """
    for wanted in target.tables:
        table = observed.table(wanted.family, wanted.name)
        for base in wanted.chains if table else ():
            chain = table.chain(base.name) if table and base.base else None
            if table and chain:
                where = f"{table.family} {table.name} {chain.name}"
                yield from _before_ours(where, chain, base, table, ownership)


def _before_ours(
    where: str, chain: Chain, wanted: Chain, table: Table, ownership: Ownership
) -> Iterator[Finding]:
    owned = OwnRules(table, ownership).of(chain.name)
    if not any(owned) and all(rule.first for rule in wanted.rules):
        return
    last = max((number for number, is_ours in enumerate(owned) if is_ours), default=len(owned))
    for number, (rule, is_ours) in enumerate(zip(chain.rules[:last], owned, strict=False), 1):
        if is_ours:
            continue
        at = f"{where} rule {number}"
        if takes_all_tcp(rule, table):
            yield Finding(Kind.SHADOWED, at, rule.text)
        elif decides_about_tcp(rule, table):
            yield Finding(Kind.FOREIGN_BEFORE, at, rule.text)


def decides_about_tcp(rule: Rule, table: Table) -> bool:
    """Whether a base chain's rule may end a TCP packet's way through it, as far as it is legible.

    It follows calls: a chain that only returns or counts decides nothing.
    """
    return _ends(rule, table, _may_meet_tcp)


def takes_all_tcp(rule: Rule, table: Table) -> bool:
    """Whether it ends every TCP packet's way, so that nothing after it is ever asked."""
    return _ends(rule, table, _meets_all_tcp)


def _ends(rule: Rule, table: Table, meets: Callable[[Rule], bool]) -> bool:
    """Whether a base chain's rule ends a packet's way, itself or by what it calls.

    Whoever is root in a pod can make chains that call each other in more ways than can be gone,
    so each is looked at once.
    """
    if not meets(rule):
        return False
    match rule.action:
        case Return() | Goto():
            # The base chain's policy decides, after a goto where its chain ends.
            return True
        case Jump(name):
            chains = {chain.name: chain for chain in table.chains}
            return any(
                meets(inner) and _is_verdict(inner)
                for chain in reachable(chains, name, meets)
                for inner in chain.rules
            )
        case _:
            return _is_verdict(rule)


def _is_verdict(rule: Rule) -> bool:
    if isinstance(rule.action, PASSING):
        return False
    match rule.action:
        case Return() | Jump() | Goto():
            return False
        case Foreign(words):
            return words.partition(" ")[0] not in PASSING_TARGETS
        case _:
            return True


def _may_meet_tcp(rule: Rule) -> bool:
    return all(_is_tcp(match) for match in rule.matches if isinstance(match, Protocol))


def _meets_all_tcp(rule: Rule) -> bool:
    return all(isinstance(match, Protocol) and _is_tcp(match) for match in rule.matches)


def _is_tcp(match: Protocol) -> bool:
    return (match.protocol == "tcp") != match.negated


def fingerprint(finding: Finding) -> str:
    """Give a short name to a rule in its chain, by which it is known again at another place."""
    import zlib

    chain = finding.where.rpartition(" rule ")[0]
    return f"{zlib.crc32(f'{chain} {finding.what}'.encode()):08x}"
