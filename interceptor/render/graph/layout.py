"""Where boxes stand: in rows, callers above those they call, near one another.

Longest-path layers, cut into rows that fit; each row in the order of its neighbours' middles;
then places as near those as the row allows. After Sugiyama, Tagawa and Toda (1981).
"""

from __future__ import annotations

from collections import defaultdict
from statistics import fmean
from typing import TYPE_CHECKING

import msgspec

from interceptor.render.graph import layers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

LANE = 9.0
"""Between two parallel lines."""

STEM = 12.0
"""From a box's side to the first line beside it."""

_SWEEPS = 6
_STRAIGHT = 8
_NEARLY = 16.0
_FEW, _MANY = 300, 80
"""Up to how many items it takes no time to look again so often, till all is aligned."""


class Node(msgspec.Struct, frozen=True):
    """A box to be placed; what no line joins with a first one comes below all that is."""

    id: str
    width: float
    height: float
    is_first: bool = False


class Link(msgspec.Struct, frozen=True):
    """A line to be drawn, from ``at`` below a box's top at its right to the top of another."""

    source: str
    target: str
    at: float


class Item(msgspec.Struct, frozen=True, order=True):
    """What stands in a row: a box, or lines on their way down to one (``is_trunk``)."""

    id: str
    is_trunk: bool = False


Spot = tuple[int, Item]
"""An item in its row."""


class Rows(msgspec.Struct, frozen=True):
    """Items in rows, where each begins from the left, and how wide it is without its lines."""

    rows: tuple[tuple[Item, ...], ...]
    lefts: dict[Spot, float]
    of: dict[str, int]


def rows(
    nodes: Sequence[Node], links: Sequence[Link], room: float, *, stacked: bool = False
) -> Rows:
    """Place boxes so that every link leads down.

    Args:
        nodes: boxes in the order they should have where nothing else says so.
        links: none leads back to where it came from.
        room: how wide a row of boxes may be.
        stacked: one box a row, all at the left, lines at the right.
    """
    sizes = {node.id: node for node in nodes}
    takes = {n.id: n.width + margin(n.id, links) for n in nodes}
    cut = [
        row
        for part in layers.ways(nodes, links)
        for layer in (
            [[name] for name in layers.depth_first(part, links)]
            if stacked
            else layers.layered(part, links)
        )
        for row in layers.cut(layer, takes, room)
    ]
    made = [[Item(name) for name in row] for row in cut]
    of = {item.id: row for row, items in enumerate(made) for item in items}
    spans = _spans(links, of)
    for target, (first, last) in spans.items():
        for row in range(first + 1, last):
            made[row].append(Item(target, is_trunk=True))
    neighbours = _neighbours(links, of, spans)
    if stacked:
        lefts = _stack(made, spans, takes, of)
    else:
        made = _ordered(made, neighbours)
        lefts = _placed(made, neighbours, sizes, takes)
    return Rows(tuple(map(tuple, made)), lefts, of)


def margin(name: str, links: Iterable[Link]) -> float:
    """Give the room that lines going out of a box take beside it."""
    lanes = len({link.target for link in links if link.source == name})
    return STEM + lanes * LANE if lanes else 0.0


def _spans(links: Iterable[Link], of: dict[str, int]) -> dict[str, tuple[int, int]]:
    """Say of each target from which row lines come down to it, and its own."""
    first: dict[str, int] = {}
    for link in links:
        row = of[link.source]
        first[link.target] = min(first.get(link.target, row), row)
    return {target: (row, of[target]) for target, row in first.items()}


def _neighbours(
    links: Iterable[Link], of: dict[str, int], spans: dict[str, tuple[int, int]]
) -> dict[Spot, set[Spot]]:
    """Say which items lines join, in the row above or below."""
    found: dict[Spot, set[Spot]] = defaultdict(set)

    def join(one: Spot, other: Spot) -> None:
        found[one].add(other)
        found[other].add(one)

    for link in links:
        row, last = of[link.source], of[link.target]
        below = Item(link.target, is_trunk=row + 1 < last)
        join((row, Item(link.source)), (row + 1, below))
    for target, (first, last) in spans.items():
        for row in range(first + 1, last):
            join(
                (row, Item(target, is_trunk=True)),
                (row + 1, Item(target, is_trunk=row + 1 < last)),
            )
    return found


def _ordered(made: list[list[Item]], neighbours: dict[Spot, set[Spot]]) -> list[list[Item]]:
    """Sort each row by the middle of its neighbours, downwards and upwards in turn."""
    kept = [list(row) for row in made]
    for sweep in range(_SWEEPS):
        downwards = sweep % 2 == 0
        order = range(1, len(kept)) if downwards else range(len(kept) - 2, 0, -1)
        for at in order:
            beside = at - 1 if downwards else at + 1
            places = {item: n / max(1, len(kept[beside])) for n, item in enumerate(kept[beside])}
            size = max(1, len(kept[at]))
            middles = {
                item: fmean(
                    [places[o] for row, o in sorted(neighbours[at, item]) if row == beside]
                    or [n / size]
                )
                for n, item in enumerate(kept[at])
            }
            kept[at].sort(key=middles.__getitem__)
    return kept


def _stack(
    made: list[list[Item]],
    spans: dict[str, tuple[int, int]],
    takes: dict[str, float],
    of: dict[str, int],
) -> dict[Spot, float]:
    """Put boxes one below the other, and lines to each in a lane of its own beside all."""
    edge = max(takes.values(), default=0.0) + LANE
    free: list[int] = []
    lanes: dict[str, int] = {}
    for target, (first, last) in sorted(spans.items(), key=lambda one: (one[1], one[0])):
        if last - first > 1:
            lane = next((n for n, until in enumerate(free) if until <= first), len(free))
            free[lane : lane + 1] = [last]
            lanes[target] = lane
    lefts = {(row, Item(name)): 0.0 for name, row in of.items()}
    for row, items in enumerate(made):
        for item in items:
            if item.is_trunk:
                lefts[row, item] = edge + lanes[item.id] * LANE
    return lefts


def _placed(
    made: list[list[Item]],
    neighbours: dict[Spot, set[Spot]],
    sizes: dict[str, Node],
    takes: dict[str, float],
) -> dict[Spot, float]:
    """Move items to the middle of their neighbours as far as their row lets them."""
    widths = [_widths(items, takes) for items in made]
    lefts: dict[Spot, float] = {}
    for row, items in enumerate(made):
        for at, item in enumerate(items):
            lefts[row, item] = sum(widths[row][:at])

    def middle(item: Item) -> float:
        return LANE / 2 if item.is_trunk else sizes[item.id].width / 2

    sweeps = _MANY if len(lefts) < _FEW else 2 * _SWEEPS
    for sweep in range(sweeps + 1):
        for row in range(len(made)) if sweep % 2 == 0 else range(len(made) - 1, -1, -1):
            wanted, weights = [], []
            for item in made[row]:
                # A line goes on as it comes; only what is in the middle of it looks both ways.
                beside = [
                    (lefts[other] + middle(other[1]), _weight(item, other[1]))
                    for other in sorted(neighbours[row, item])
                    if not item.is_trunk or (other[0] < row) == (sweep % 2 == 0)
                ]
                weight = sum(one for _, one in beside)
                wanted.append(
                    sum(x * one for x, one in beside) / weight - middle(item)
                    if beside
                    else lefts[row, item]
                )
                weights.append(weight or 1)
            for item, left in zip(made[row], spread(wanted, widths[row], weights), strict=True):
                lefts[row, item] = left
    _align(made, lefts, widths, neighbours, middle)
    _straighten(made, lefts, widths)
    start = min(lefts.values(), default=0.0)
    return {spot: round(left - start, 1) for spot, left in lefts.items()}


def _align(
    made: list[list[Item]],
    lefts: dict[Spot, float],
    widths: list[list[float]],
    neighbours: dict[Spot, set[Spot]],
    middle: Callable[[Item], float],
) -> None:
    """Move boxes that are nearly below one that leads to them right below it."""
    for row, items in enumerate(made):
        wanted = []
        for item in items:
            left = lefts[row, item]
            above = [
                lefts[other] + middle(other[1]) - middle(item)
                for other in sorted(neighbours[row, item])
                if other[0] < row and not (item.is_trunk or other[1].is_trunk)
            ]
            nearest = min(above, key=lambda x, left=left: abs(x - left), default=left)  # type: ignore[misc]
            wanted.append(nearest if abs(nearest - left) < _NEARLY else left)
        weights = [_weight(item, item) for item in items]
        for item, left in zip(items, spread(wanted, widths[row], weights), strict=True):
            lefts[row, item] = left


def _straighten(
    made: list[list[Item]], lefts: dict[Spot, float], widths: list[list[float]]
) -> None:
    """Move lines over their ends where nothing is in the way, from below."""
    for row in range(len(made) - 2, -1, -1):
        wanted = [
            lefts.get((row + 1, item), lefts[row, item]) if item.is_trunk else lefts[row, item]
            for item in made[row]
        ]
        weights = [_weight(item, item) for item in made[row]]
        for item, left in zip(made[row], spread(wanted, widths[row], weights), strict=True):
            lefts[row, item] = left


def _widths(items: Sequence[Item], takes: dict[str, float]) -> list[float]:
    """Give the room each item takes, with what is free at its right."""
    return [
        takes[item.id] + layers.SPACE
        if not item.is_trunk
        else LANE * (3 if after is not None and not after.is_trunk else 1)
        for item, after in zip(items, [*items[1:], None], strict=True)
    ]


def _weight(one: Item, other: Item) -> int:
    """Say how much two items want to be below one another: lines are to be straight."""
    return _STRAIGHT if one.is_trunk and other.is_trunk else 1


def spread(
    wanted: Sequence[float], widths: Sequence[float], weights: Sequence[float]
) -> list[float]:
    """Give places nearest to those wanted, in the same order, at which nothing overlaps."""
    offsets = [sum(widths[:n]) for n in range(len(widths))]
    pools: list[tuple[float, float, int]] = []
    for want, offset, weight in zip(wanted, offsets, weights, strict=True):
        total, heavy, size = (want - offset) * weight, weight, 1
        while pools and pools[-1][0] / pools[-1][1] > total / heavy:
            before, more, many = pools.pop()
            total, heavy, size = total + before, heavy + more, size + many
        pools.append((total, heavy, size))
    even = [total / heavy for total, heavy, size in pools for _ in range(size)]
    return [place + offset for place, offset in zip(even, offsets, strict=True)]
