"""Rules and chains that no packet comes to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor import model
from interceptor.analysis.diagram import NO
from interceptor.analysis.proof import Rules, Violation
from interceptor.analysis.properties import Property
from interceptor.analysis.reach import Reach, RuleAt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.analysis.space import Space


def tidy_violations(space: Space, rules: Rules) -> Iterator[Violation]:
    """Find chains nothing comes to, and in the others rules nothing matches."""
    ruleset = rules.policy or rules.ruleset
    families = dict.fromkeys(f for table in ruleset.tables for f in table.family.members)
    reaches = [Reach(space, ruleset, family, rules.language) for family in families]
    for table in ruleset.tables:
        own = [reach for reach in reaches if reach.family in table.family.members]
        for chain in table.chains:
            place = f"{table.family} {table.name} {chain.name}"
            if all(reach.arrivals.get((id(table), chain.name), NO) == NO for reach in own):
                if chain.base is None:
                    says = f"{place}: no packet comes to this chain"
                    yield Violation(Property.NO_UNREACHABLE_CHAIN, says)
                continue
            for number, rule in enumerate(chain.rules, 1):
                is_other = rules.language and rule.only not in ("", rules.language)
                if not (is_other or isinstance(rule.action, model.Continue)):
                    yield from _rule(own, table, chain, number)


def _rule(
    reaches: list[Reach], table: model.Table, chain: model.Chain, number: int
) -> Iterator[Violation]:
    at: RuleAt = id(table), chain.name, number
    if any(reach.matching.get(at, NO) != NO for reach in reaches):
        return
    rule = chain.rules[number - 1]
    said = rule.why or rule.text
    place = f"{table.family} {table.name} {chain.name} rule {number}"
    place += f' "{said}"' if said else ""
    takers = sorted({n for reach in reaches for n in _takers(reach, chain, at)})
    if takers:
        listed = ", ".join(map(str, takers))
        taking = f"rule {listed} takes" if len(takers) == 1 else f"rules {listed} take"
        says = f"{place}: {taking} all it could match before it"
        yield Violation(Property.NO_DEAD_RULE, says)
        yield Violation(Property.NO_SHADOWED_RULE, says)
    else:
        says = f"{place}: nothing that comes to its chain is what it asks for"
        yield Violation(Property.NO_DEAD_RULE, says)


def _takers(reach: Reach, chain: model.Chain, at: RuleAt) -> Iterator[int]:
    """Give the rules before one that take what it would match."""
    table, name, number = at
    wanted = reach.alone.get(at, NO)
    if wanted == NO:
        return
    for before in range(1, number):
        taken = reach.matching.get((table, name, before), NO)
        is_passing = isinstance(chain.rules[before - 1].action, model.PASSING)
        if not is_passing and reach.space.diagrams.both(taken, wanted) != NO:
            yield before
