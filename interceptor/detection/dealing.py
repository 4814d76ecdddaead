"""Rules dealt out to rows in the order of both, so that as much as can be is explained."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from interceptor.detection.pattern import Fit, Pattern, Shape


def deal(
    rows: tuple[Pattern, ...],
    shapes: tuple[Shape, ...],
    fits: list[dict[int, Fit]],
    repeating: Mapping[int, bool],
) -> Iterator[tuple[int, int]]:
    """Deal rules out to rows in order, so that the sum of what they are worth is highest.

    Rows that are repeated together come in turns: to begin again costs a little, and the same
    row twice of several costs more.

    Args:
        rows: of a sheet's chain.
        shapes: the live rules.
        fits: for each live rule the rows it goes with, by number.
        repeating: by a row's ``id``, whether it may have many rules.

    Returns:
        Numbers of live rules, and the row each is given to, in order.
    """
    size = max((row.group for row in rows), default=0) + 1
    members = Counter(row.group for row in rows)
    nothing = (0.0, None)
    best: list[tuple[float, _Chosen | None]] = [nothing] * len(rows)
    for number, found in enumerate(fits):
        if not found:
            continue
        before = _earlier(rows, best, size)
        added: dict[int, tuple[float, _Chosen | None]] = {}
        for at, one in found.items():
            row = rows[at]
            ways = [before[row.group]]
            for other, (worth, chosen) in enumerate(best):
                if rows[other].group != row.group or chosen is None:
                    continue
                if other < at:
                    ways.append((worth, chosen))
                elif repeating[id(row)] or (
                    # An address is of one family, so that nft has a rule for each.
                    other == at and shapes[number].family != shapes[chosen.number].family
                ):
                    alone = members[row.group] == 1
                    price = 0 if alone else (0.3 if other == at else 0.1)
                    ways.append((worth - price, chosen))
            worth, chosen = max(ways, key=lambda way: way[0])
            extra = 0 if repeating[id(row)] else 0.05
            new = worth + one.weight + extra
            if new > best[at][0]:
                added[at] = new, _Chosen(number, at, chosen)
        for at, value in added.items():
            best[at] = value
    _, last = max(best, key=lambda way: way[0], default=nothing)
    dealt: list[tuple[int, int]] = []
    while last is not None:
        dealt.append((last.number, last.row))
        last = last.before
    yield from reversed(dealt)


class _Chosen:
    """A rule given to a row, after others were."""

    __slots__ = ("before", "number", "row")

    def __init__(self, number: int, row: int, before: _Chosen | None) -> None:
        self.number = number
        self.row = row
        self.before = before


def _earlier(
    rows: tuple[Pattern, ...], best: list[tuple[float, _Chosen | None]], size: int
) -> list[tuple[float, _Chosen | None]]:
    """Give for each group the best way that ends in one before it."""
    tops: list[tuple[float, _Chosen | None]] = [(0.0, None)] * (size + 1)
    for row, way in zip(rows, best, strict=True):
        if way[0] > tops[row.group + 1][0]:
            tops[row.group + 1] = way
    for group in range(1, size + 1):
        if tops[group - 1][0] > tops[group][0]:
            tops[group] = tops[group - 1]
    return tops
