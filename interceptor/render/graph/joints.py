"""Arrows and end points of a drawing, table by table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.render.graph import short
from interceptor.render.graph.drawing import Arrow, End, Group, many

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interceptor import model
    from interceptor.render.graph.drawing import Box, Limits
    from interceptor.render.graph.twins import Drawn


class Joints:
    """Counts through all tables, so that ids are of one drawing."""

    def __init__(self, limits: Limits) -> None:
        self._called: list[str] = []
        self._left = 0
        self._limits = limits
        self._routed = 0
        self._ends = 0
        self._groups = 0

    @property
    def notes(self) -> list[str]:
        """What is not drawn."""
        if not self._left:
            return self._called
        said = f"{many(self._left, 'arrow')} of chains that call many others left out"
        return [*self._called, f"{said}: rules name them"]

    def group(self, drawn: Drawn, chains: Sequence[model.Chain], boxes: Sequence[Box]) -> Group:
        """Give a table with its boxes, in which arrows lead from each line that sends away."""
        ids: dict[str, str] = {}
        for chain, box in zip(chains, boxes, strict=True):
            ids.setdefault(chain.name, box.id)
        held = {chain.name for chain in drawn.table.chains}
        ends: dict[tuple[str, str], End] = {}
        arrows: list[Arrow] = []
        for chain, box in zip(chains, boxes, strict=True):
            for line in box.lines:
                rule = chain.rules[line.number - 1]
                target = rule.target
                if target is not None and target in ids:
                    to = ids[target]
                elif target is not None and target not in held:
                    to = self._end(ends, f"no chain {short.clean(target)}", "missing", line.steps)
                elif label := short.end(rule.action):
                    to = self._end(ends, label, line.kind, line.steps)
                else:
                    continue
                arrows.append(Arrow(box.id, line.number, to, line.kind, bool(line.steps)))
        self._groups += 1
        return Group(
            f"t{self._groups}",
            short.clean(drawn.table.name),
            short.families(drawn.families),
            tuple(boxes),
            tuple(ends.values()),
            self._route(arrows, {box.id: box.name for box in boxes}),
            ", ".join(map(short.clean, drawn.table.flags)),
        )

    def _end(
        self, ends: dict[tuple[str, str], End], label: str, kind: str, steps: tuple[int, ...]
    ) -> str:
        known = ends.get((label, kind))
        if known is None:
            self._ends += 1
        made = known.id if known else f"e{self._ends}"
        on_path = bool(steps) or (known is not None and known.on_path)
        ends[label, kind] = End(made, label, kind, on_path)
        return made

    def _route(self, arrows: Sequence[Arrow], names: dict[str, str]) -> tuple[Arrow, ...]:
        """Say which arrows are drawn; the others are named in their lines alone."""
        targets: dict[str, set[str]] = {}
        for arrow in arrows:
            targets.setdefault(arrow.source, set()).add(arrow.target)
        loops = _loops(targets)
        crowded = {one for one, to in targets.items() if len(to) > self._limits.targets}
        made: list[Arrow] = []
        left = 0
        for arrow in arrows:
            is_loop = (arrow.source, arrow.target) in loops
            is_many = arrow.source in crowded and not arrow.on_path
            is_full = self._routed >= self._limits.arrows and not arrow.on_path
            routed = not (is_loop or is_many or is_full)
            self._routed += routed
            left += not routed and not is_loop
            made.append(
                Arrow(arrow.source, arrow.number, arrow.target, arrow.kind, arrow.on_path, routed)
            )
        for source, target in sorted(loops):
            back = "itself" if source == target else f"{names[target]} back"
            self._called.append(f"{names[source]} calls {back}: no arrow in the picture")
        self._left += left
        return tuple(made)


def _loops(targets: dict[str, set[str]]) -> set[tuple[str, str]]:
    """Give the calls that come back to a chain on the way to them."""
    found: set[tuple[str, str]] = set()
    done: set[str] = set()
    for root, first in targets.items():
        pending = [(root, iter(sorted(first)))] if root not in done else []
        way = {root}
        while pending:
            at, calls = pending[-1]
            for to in calls:
                if to in way:
                    found.add((at, to))
                elif to not in done:
                    way.add(to)
                    pending.append((to, iter(sorted(targets.get(to, ())))))
                    break
            else:
                done.add(at)
                way.discard(at)
                pending.pop()
    return found
