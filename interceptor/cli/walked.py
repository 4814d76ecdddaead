"""The rules a packet met, as lines for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.analysis.telling import action_words
from interceptor.render.words import rule_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.analysis.run import Visit


def path_lines(path: tuple[Visit, ...]) -> Iterator[str]:
    """Give a line for each rule: where it is, why it is there or what it asks, what it does."""
    if not path:
        yield "  no rule matches it"
    rows = [_cells(visit) for visit in path]
    widths = [max(len(row[n]) for row in rows) for n in range(3)] if rows else []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        yield f"  {'  '.join(cells)}  {row[3]}"


def _cells(visit: Visit) -> tuple[str, str, str, str]:
    does = action_words(visit.rule.action)
    return (
        str(visit.hook),
        f"{visit.table} {visit.chain} {visit.number}",
        visit.rule.why or visit.rule.text or rule_words(visit.rule, visit.family, visit.table),
        f"{does}, if it matches" if visit.is_unsure else does,
    )
