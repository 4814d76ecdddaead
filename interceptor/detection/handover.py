"""Rules that send connections to a proxy, whoever made them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.detection.found import Unknown
from interceptor.detection.pattern import intercepts
from interceptor.errors import RulesetError
from interceptor.model import reachable
from interceptor.names import Family
from interceptor.render import iptables, nftables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.model import Chain, Rule, Table


def hands_over(table: Table) -> bool:
    """Whether a rule of a table sends connections to a proxy."""
    return any(intercepts(rule.action) for chain in table.chains for rule in chain.rules)


def unexplained(tables: tuple[Table, ...]) -> Iterator[Unknown]:
    """Find rules that hand connections over and that a packet can come to."""
    for table, chain, rule in handovers(tables):
        where = f"{table.family} {table.name} {chain.name}"
        yield Unknown(where, _say(table, rule))


def handovers(tables: tuple[Table, ...]) -> Iterator[tuple[Table, Chain, Rule]]:
    """Give what does so and can be come to, with where it is."""
    for table in tables:
        if not hands_over(table):
            continue
        chains = {chain.name: chain for chain in table.chains}
        met = {
            chain.name: chain
            for base in table.chains
            if base.base
            for chain in reachable(chains, base.name)
        }
        for chain in met.values():
            yield from ((table, chain, rule) for rule in chain.rules if intercepts(rule.action))


def _say(table: Table, rule: Rule) -> str:
    """Give a rule in the words of the tool that prints its table."""
    try:
        if table.family is Family.INET:
            return nftables.words(rule)
        return rule.text or iptables.words(rule, table.family)
    except RulesetError:
        return rule.text
