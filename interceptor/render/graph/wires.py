"""Lines between boxes that stand in rows: beside boxes and between rows, never through one."""

from __future__ import annotations

from collections import defaultdict
from statistics import fmean
from typing import TYPE_CHECKING

import msgspec

from interceptor.render.graph.layout import LANE, STEM, Item, Link, Node, Rows, rows

if TYPE_CHECKING:
    from collections.abc import Sequence

Point = tuple[float, float]

_ABOVE, _BELOW = 16.0, 26.0
"""Free above the first line between two rows, and below the last, where arrow heads are."""

_NEAR = 5.0
_INSET = 26.0
_STRAIGHT = 0.06
"""Places are rounded to tenths."""


class Plan(msgspec.Struct, frozen=True):
    """Where all is: each box's left and top, and the corners of each link, in their order."""

    width: float
    height: float
    spots: dict[str, Point]
    wires: tuple[tuple[Point, ...], ...]


class _Net(msgspec.Struct):
    """Lines between two rows that end at one item: where they come from, where they go in."""

    exits: list[float]
    entry: float
    track: int = -1

    @property
    def low(self) -> float:
        return min(*self.exits, self.entry)

    @property
    def high(self) -> float:
        return max(*self.exits, self.entry)


def plan(
    nodes: Sequence[Node], links: Sequence[Link], room: float, *, stacked: bool = False
) -> Plan:
    """Place boxes and lead lines; ``layout.rows`` says how."""
    placed = rows(nodes, links, room, stacked=stacked)
    router = _Router({node.id: node for node in nodes}, links, placed)
    return router.plan()


class _Router:
    def __init__(self, sizes: dict[str, Node], links: Sequence[Link], placed: Rows) -> None:
        self._sizes = sizes
        self._links = links
        self._placed = placed
        self._lanes = self._out()
        self._nets = self._between()
        self._tops: list[float] = []
        self._ends: list[float] = []

    def plan(self) -> Plan:
        y = 0.0
        for row, items in enumerate(self._placed.rows):
            self._tops.append(y)
            y += max((self._sizes[i.id].height for i in items if not i.is_trunk), default=0.0)
            self._ends.append(y)
            nets = self._nets[row].values()
            if row + 1 < len(self._placed.rows):
                y += _ABOVE + _BELOW + LANE * max((net.track + 1 for net in nets), default=0)
        spots = {
            name: (self._placed.lefts[row, Item(name)], self._tops[row])
            for name, row in self._placed.of.items()
        }
        wires = tuple(self._wire(link, spots) for link in self._links)
        edges = [spots[n][0] + self._sizes[n].width for n in spots]
        edges += [x for wire in wires for x, _ in wire]
        return Plan(max(edges, default=0.0), y, spots, wires)

    def _out(self) -> dict[tuple[str, str], float]:
        """Give each box's targets a lane at its right, the first outermost, so none cross."""
        firsts: dict[tuple[str, str], float] = {}
        for link in self._links:
            key = link.source, link.target
            firsts[key] = min(link.at, firsts.get(key, link.at))
        by_source: dict[str, list[tuple[float, str]]] = defaultdict(list)
        for (source, target), at in firsts.items():
            by_source[source].append((-at, target))
        lanes: dict[tuple[str, str], float] = {}
        for source, targets in by_source.items():
            left = self._placed.lefts[self._placed.of[source], Item(source)]
            for number, (_, target) in enumerate(sorted(targets)):
                lanes[source, target] = left + self._sizes[source].width + STEM + number * LANE
        return lanes

    def _between(self) -> list[dict[Item, _Net]]:
        """Give for each row the lines that lead from it to the next, each in its track."""
        lefts = self._placed.lefts
        exits: list[dict[Item, list[float]]] = [defaultdict(list) for _ in self._placed.rows]
        for (source, target), x in self._lanes.items():
            row = self._placed.of[source]
            exits[row][self._next(row, target)].append(x)
        for row, items in enumerate(self._placed.rows):
            for item in items:
                if item.is_trunk:
                    exits[row][self._next(row, item.id)].append(lefts[row, item] + LANE / 2)
        made: list[dict[Item, _Net]] = []
        for row, found in enumerate(exits):
            nets: dict[Item, _Net] = {}
            for item in sorted(found):
                left = lefts[row + 1, item]
                if item.is_trunk:
                    entry = left + LANE / 2
                else:
                    right = left + self._sizes[item.id].width - _INSET
                    entry = min(max(fmean(found[item]), left + _INSET), right)
                nets[item] = _Net(sorted(found[item]), round(entry, 1))
            _assign(list(nets.values()))
            made.append(nets)
        return made

    def _next(self, row: int, target: str) -> Item:
        return Item(target, is_trunk=row + 1 < self._placed.of[target])

    def _wire(self, link: Link, spots: dict[str, Point]) -> tuple[Point, ...]:
        left, top = spots[link.source]
        x = self._lanes[link.source, link.target]
        points = [(left + self._sizes[link.source].width, top + link.at), (x, top + link.at)]
        for row in range(self._placed.of[link.source], self._placed.of[link.target]):
            net = self._nets[row][self._next(row, link.target)]
            if abs(net.entry - x) > _STRAIGHT:
                y = self._ends[row] + _ABOVE + net.track * LANE
                points += [(x, y), (net.entry, y)]
                x = net.entry
        points.append((x, spots[link.target][1]))
        return tuple(points)


def _assign(nets: list[_Net]) -> None:
    """Give each net the highest track that is free for it.

    Where one goes down at the place at which another comes in, it has to turn off above that one.
    """
    waiting = sorted(
        (net for net in nets if net.high - net.low > _STRAIGHT),
        key=lambda net: (net.low, net.high),
    )
    tracks: list[list[_Net]] = []
    while waiting:
        net = next((n for n in waiting if not _held(n, waiting)), waiting[0])
        waiting.remove(net)
        above = [o.track for o in nets if o.track >= 0 and _meets(o, net)]
        track = max(above, default=-1) + 1
        while track < len(tracks) and any(_overlap(net, other) for other in tracks[track]):
            track += 1
        while len(tracks) <= track:
            tracks.append([])
        tracks[track].append(net)
        net.track = track


def _held(net: _Net, waiting: list[_Net]) -> bool:
    return any(other is not net and _meets(other, net) for other in waiting)


def _meets(upper: _Net, lower: _Net) -> bool:
    """Whether a line comes down where another goes in."""
    return upper is not lower and any(abs(x - lower.entry) < _NEAR for x in upper.exits)


def _overlap(one: _Net, other: _Net) -> bool:
    return one.low - _NEAR < other.high and other.low - _NEAR < one.high
