"""Whether rules do what a configuration wants, for every packet there can be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor import model
from interceptor.analysis.alike import family_violations, ids_violations
from interceptor.analysis.diagram import NO, Node
from interceptor.analysis.packet import Fate
from interceptor.analysis.proof import Ground, Rules, Violation
from interceptor.analysis.properties import Property
from interceptor.analysis.tidy import tidy_violations
from interceptor.analysis.witness import witness
from interceptor.names import FAMILY_NAMES, Family

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from interceptor.analysis.intent import Intent


def prove(
    rules: Rules, intent: Intent, check: Callable[[], object] | None = None
) -> tuple[Violation, ...]:
    """Give every violation of every property, a property's together.

    Args:
        rules: what is proven.
        intent: what is wanted.
        check: called now and then; it may raise, to end it.
    """
    ground = Ground(rules, intent, check)
    found = [
        *_intent_violations(ground),
        *ids_violations(ground),
        *family_violations(ground),
        *_route_violations(rules),
        *tidy_violations(ground.space, rules),
    ]
    return tuple(one for wanted in Property for one in found if one.property is wanted)


def _intent_violations(ground: Ground) -> Iterator[Violation]:
    """Find packets of which something else becomes than is wanted, case by case."""
    diagrams = ground.diagrams
    for (family, direction), fates in ground.fates.items():
        left = ground.domain[family, direction]
        for case in ground.cases(family, direction):
            here = diagrams.both(left, case.where)
            left = diagrams.without(left, case.where)
            for fate, bad in _others(ground, here, fates, case.fate):
                packet = witness(ground.space, bad, family)
                says = f"{case.why}: {case.fate} is wanted, and it is {fate}"
                yield ground.shown(case.property, says, direction, packet, case.fate)


def _others(ground: Ground, here: Node, fates: Node, wanted: Fate) -> Iterator[tuple[Fate, Node]]:
    """Give each other fate there is in a region, and where."""
    if here == NO:
        return
    diagrams = ground.diagrams
    inside = diagrams.pick(here, fates, diagrams.answer(wanted))
    others = [fate for fate in diagrams.answers(inside) if isinstance(fate, Fate)]
    for fate in sorted(others, key=str):
        if fate != wanted:
            yield fate, diagrams.joined(here, fates, _is_there(fate))


def _is_there(fate: Fate) -> Callable[[object, object], bool]:
    return lambda here, found: here is True and found == fate


def _route_violations(rules: Rules) -> Iterator[Violation]:
    """Find a mark that is to bring packets to a transparent listener, and does not."""
    if not rules.has_routing:
        return
    for family, mark in sorted(set(_handed_marks(rules))):
        made_from = rules.policy or rules.ruleset
        routing = [one for one in made_from.routing if one.family is family]
        tables = {
            r.table for r in routing if isinstance(r, model.MarkRule) and r.mark == mark & r.mask
        }
        if not tables & {r.table for r in routing if isinstance(r, model.LocalRoute)}:
            says = f"{FAMILY_NAMES[family]} packets of mark {mark:#x} have no route to this host"
            yield Violation(Property.ROUTES_THERE, says, family)


def _handed_marks(rules: Rules) -> Iterator[tuple[Family, int]]:
    for table in rules.ruleset.tables:
        for family in set(table.family.members) & set(rules.families):
            for chain in table.chains:
                for rule in chain.rules:
                    if isinstance(rule.action, model.TProxy):
                        yield family, rule.action.mark
