"""Which meshes live rules are of: each sheet is laid upon them, and the nearest one is taken.

What one mesh explains is taken away, and the rest is looked at again, so that all of a stacked pod
are found. Names of chains only order candidates that are equally near.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from interceptor.analysis.compare import compare
from interceptor.analysis.cover import TooManyError
from interceptor.analysis.proof import Rules
from interceptor.backends.drift import Finding, Kind
from interceptor.backends.overtake import overtaking, without_shared
from interceptor.backends.shadow import decides_about_tcp, takes_all_tcp
from interceptor.detection.candidate import path_of
from interceptor.detection.found import Detected, Found, Layer, Unknown, Verdict
from interceptor.detection.handover import handovers, hands_over, unexplained
from interceptor.detection.pairing import families_of
from interceptor.detection.pattern import base_of
from interceptor.detection.search import Likeness, Search
from interceptor.layers import DEFAULTS
from interceptor.model import Ruleset, Table
from interceptor.record import Record, without_record
from interceptor.render import iptables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from interceptor.analysis.compare import Change
    from interceptor.detection.candidate import Candidate
    from interceptor.model import Routing
    from interceptor.names import Family
    from interceptor.sheets.sheet import Sheet

_ENOUGH = 0.6
"""Share of rules that have to be a sheet's before they are called drifted from it."""
_NAMED = 0.05
"""Share that the sheet's own names are worth, where rules alone do not tell."""
_NEAR = 3
"""Candidates that are looked at more closely."""
_MOST = 6
"""Meshes that are looked for in one place."""


def detect(
    layers: Iterable[Layer],
    sheets: Iterable[Sheet],
    routing: tuple[Routing, ...] = (),
    check: Callable[[], object] = lambda: None,
) -> Detected:
    """Say which meshes intercept, and what else hands connections over.

    Args:
        layers: what each kernel language holds, with records.
        sheets: dialects to look for.
        routing: routes, if they are known.
        check: called now and then; it may raise, to end it.
    """
    found: list[Found] = []
    unknown: list[Unknown] = []
    known, all_layers = tuple(sheets), tuple(layers)
    for layer in all_layers:
        record = Record.find(Ruleset(layer.tables))
        left = without_record(Ruleset(layer.tables)).tables
        for _ in range(_MOST):
            now = msgspec.structs.replace(layer, tables=left)
            likeness = _nearest(now, known, routing, record, check)
            if likeness is None:
                break
            left = _without(left, likeness.likeness)
            found.append(_told(layer, likeness, _beside(all_layers, layer, likeness), check))
            if likeness.recorded:
                record = None
        unknown += unexplained(left)
    return Detected(tuple(found), tuple(unknown))


class _Nearest(msgspec.Struct, frozen=True):
    """The sheet that comes nearest, others that come as near, and what was recorded of it."""

    likeness: Likeness
    also: tuple[str, ...]
    recorded: Record | None = None
    meant: Candidate | None = None


def _nearest(
    layer: Layer,
    sheets: tuple[Sheet, ...],
    routing: tuple[Routing, ...],
    record: Record | None,
    check: Callable[[], object],
) -> _Nearest | None:
    if not any(hands_over(table) for table in layer.tables):
        return None
    begun: list[tuple[Search, Likeness]] = []
    for sheet in sheets:
        check()
        search = Search(sheet, layer, check)
        likeness = search.begin(layer.tables, routing)
        if likeness is not None:
            begun.append((search, likeness))
    begun.sort(key=lambda pair: _rank(layer, pair[1], record))
    if begun and any(begun[0][1].best.distance):
        begun[:_NEAR] = [(search, search.improve(one)) for search, one in begun[:_NEAR]]
        begun.sort(key=lambda pair: _rank(layer, pair[1], record))
    if not begun or begun[0][1].explained < _ENOUGH:
        return None
    search, best = begun[0]
    best = search.plainest(best)
    also = tuple(
        one.sheet.name
        for _, one in begun[1:]
        if not one.best.differences and not best.best.differences
    )
    if record is None or not _is_of(record, best.sheet):
        return _Nearest(best, also)
    meant = search.recorded(best, record)
    if meant is not None and meant.differences <= best.best.differences:
        best = msgspec.structs.replace(best, best=meant)
    return _Nearest(best, also, record, meant)


def _is_of(record: Record, sheet: Sheet) -> bool:
    name = record.settings.get("sheet", DEFAULTS.values["sheet"])
    return name == (path_of(sheet) or sheet.name)


def _rank(layer: Layer, one: Likeness, record: Record | None) -> tuple[object, ...]:
    """Order candidates: whole ones first, then by the share of rules that are the sheet's."""
    is_recorded = record is not None and _is_of(record, one.sheet)
    whole = not one.best.differences
    return (
        not whole,
        one.best.left if whole else -_share(layer, one),
        not is_recorded,
        not one.is_named,
        len(one.fitting.given(one.best)),
        one.sheet.name,
    )


def _share(layer: Layer, one: Likeness) -> float:
    """Give the share of rules that are alike, less for hand-overs it leaves to others."""
    left = sum(1 for _ in handovers(_without(layer.tables, one)))
    there = one.fitting.held_for(one.best).counts[1] + one.best.target.counts[1] + left
    named = _NAMED if one.is_named else 0
    return 1 - (one.best.differences + left) / max(there, 1) + named


def _told(layer: Layer, nearest: _Nearest, others: Ruleset, check: Callable[[], object]) -> Found:
    likeness, fitting = nearest.likeness, nearest.likeness.fitting
    best = nearest.likeness.best
    meant = nearest.meant or best
    findings = [*fitting.findings(meant)]
    before = [*_before(layer, likeness), *overtaking(best.target, others)]
    findings += [one for one in before if one.kind is Kind.SHADOWED]
    families = families_of(likeness.placed)
    changes, are_told = (
        _changes(layer, likeness, meant, families, check) if meant.differences else ((), True)
    )
    verdict = Verdict.ALIKE if findings and are_told and not changes else Verdict.SAME
    if changes or not are_told or any(one.kind is Kind.SHADOWED for one in findings):
        verdict = Verdict.DRIFTED
    settings = fitting.given(best)
    recorded = fitting.given(meant) if nearest.meant is not None else settings
    return Found(
        sheet=likeness.sheet.name,
        summary=likeness.sheet.summary,
        verdict=verdict,
        backend=layer.name,
        families=families,
        settings=settings,
        findings=tuple(findings),
        noted=tuple(one for one in before if one.kind is not Kind.SHADOWED),
        changes=changes,
        renamed=_renamed(likeness),
        also=nearest.also,
        recorded=nearest.recorded.version if nearest.recorded else "",
        record=recorded if recorded != settings else {},
        rules=fitting.held_for(best).counts[1],
        routing=best.target.routing,
        path=path_of(likeness.sheet),
    )


def _changes(
    layer: Layer,
    likeness: Likeness,
    meant: Candidate,
    families: tuple[Family, ...],
    check: Callable[[], object],
) -> tuple[tuple[Change, ...], bool]:
    """Give traffic that fares otherwise than it should, and whether that could be told."""
    should, does = (
        Rules(ruleset, families, layer.language, has_routing=False)
        for ruleset in (meant.target, likeness.fitting.held_for(meant))
    )
    try:
        return tuple(compare(should, does, check)), True
    except TooManyError:
        return (), False


def _renamed(likeness: Likeness) -> dict[str, str]:
    return {
        name: one.held.name
        for one in likeness.placed
        if base_of(one.table, one.chain) is None
        and (name := likeness.fitting.name_of(one.table, one.chain)) != one.held.name
    }


def _before(layer: Layer, likeness: Likeness) -> Iterator[Finding]:
    """Find rules in built-in chains of iptables that decide before the mesh's first one."""
    if layer.language != iptables.LANGUAGE:
        return
    for one in likeness.placed:
        # What another mesh explains is no longer in the table that was looked at.
        table = Ruleset(layer.tables).table(one.live.family, one.live.name)
        chain = table.chain(one.held.name) if table else None
        if table is None or chain is None or chain.base is None:
            continue
        first = one.held.rules[min(pair.number for pair in one.laid.pairs)]
        for number, rule in enumerate(chain.rules, 1):
            if rule is first:
                break
            where = f"{table.family} {table.name} {chain.name} rule {number}"
            if takes_all_tcp(rule, table):
                yield Finding(Kind.SHADOWED, where, rule.text)
            elif decides_about_tcp(rule, table):
                yield Finding(Kind.FOREIGN_BEFORE, where, rule.text)


def _beside(layers: tuple[Layer, ...], own: Layer, nearest: _Nearest) -> Ruleset:
    """Give what others have in base chains of their own."""
    rest = Ruleset(_without(without_record(Ruleset(own.tables)).tables, nearest.likeness))
    if own.language == iptables.LANGUAGE:
        rest = without_shared(rest, nearest.likeness.best.target)
    others = [
        table
        for layer in layers
        if layer is not own
        for table in without_record(Ruleset(layer.tables)).tables
    ]
    return Ruleset(tuple(t for t in (*rest.tables, *others) if "dormant" not in t.flags))


def _without(tables: tuple[Table, ...], likeness: Likeness) -> tuple[Table, ...]:
    """Take away what a sheet explains: its chains, and its rules in built-in ones."""
    whole: set[tuple[str, str, str]] = set()
    mine = likeness.fitting.explained(likeness.best)
    for one in likeness.placed:
        if one.held.base is None:
            whole.add((one.live.family, one.live.name, one.held.name))
    return tuple(
        msgspec.structs.replace(
            table,
            chains=tuple(
                msgspec.structs.replace(
                    chain, rules=tuple(rule for rule in chain.rules if id(rule) not in mine)
                )
                for chain in table.chains
                if (table.family, table.name, chain.name) not in whole
            ),
        )
        for table in tables
    )
