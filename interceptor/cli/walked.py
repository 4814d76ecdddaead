"""The rules a packet met, as lines for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.analysis.telling import action_words
from interceptor.errors import RulesetError
from interceptor.names import PRIORITIES
from interceptor.render import iptables, nftables

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
        visit.rule.why or visit.rule.text or _words(visit),
        f"{does}, if it matches" if visit.is_unsure else does,
    )


def _words(visit: Visit) -> str:
    """Write a rule without a why as the tool of its table would, if that has words for it."""
    try:
        if visit.table in PRIORITIES:
            return iptables.words(visit.rule, visit.family)
        return nftables.words(visit.rule).replace("counter ", "")
    except RulesetError:
        return ""
