"""A packet's way in the order a kernel takes it: hooks, base chains, rules, verdicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.analysis.telling import action_words, packet_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.analysis.journey import Leg
    from interceptor.analysis.run import Visit


def trace(leg: Leg) -> Iterator[str]:
    """Give one line for each base chain it comes to, and below it for each rule that matched."""
    yield f"packet {packet_words(leg.packet)}"
    for stop in leg.walk.stops:
        place = f"{stop.table.family} {stop.table.name} {stop.chain.name}"
        left_out = "" if stop.is_asked else ", not asked again"
        yield f"{stop.hook} priority {stop.priority}: {place}{left_out}"
        yield from (f"  {_line(visit)}" for visit in stop.visits)
        if stop.is_asked and not stop.is_decided and stop.chain.base is not None:
            yield f"  policy {stop.chain.base.policy}"
    yield f"fate {leg.walk.fate}"


def _line(visit: Visit) -> str:
    doubt = " (if it matches: it cannot be read)" if visit.is_unsure else ""
    why = f'  "{visit.rule.why}"' if visit.rule.why else ""
    return f"{visit.chain} rule {visit.number}: {action_words(visit.rule.action)}{doubt}{why}"
