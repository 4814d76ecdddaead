"""The order of boxes from above: callers before those they call."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interceptor.render.graph.layout import Link, Node

SPACE = 30.0
"""Free between two boxes in a row."""


def ways(nodes: Sequence[Node], links: Sequence[Link]) -> tuple[list[Node], list[Node]]:
    """Give the boxes that lines join with those of a hook, and the others."""
    beside: dict[str, list[str]] = defaultdict(list)
    for link in links:
        beside[link.source].append(link.target)
        beside[link.target].append(link.source)
    pending = [node.id for node in nodes if node.is_first]
    joined = set(pending)
    while pending:
        new = [name for name in beside[pending.pop()] if name not in joined]
        joined.update(new)
        pending += new
    return [n for n in nodes if n.id in joined], [n for n in nodes if n.id not in joined]


def layered(nodes: Sequence[Node], links: Sequence[Link]) -> list[list[str]]:
    """Put each box in the first layer that is below all that lead to it."""
    ranks = {node.id: at for at, node in enumerate(nodes)}
    held = {node.id for node in nodes}
    callers: dict[str, set[str]] = defaultdict(set)
    called: dict[str, set[str]] = defaultdict(set)
    for link in links:
        if link.source not in held:
            continue
        callers[link.target].add(link.source)
        called[link.source].add(link.target)
    left = {node.id: len(callers[node.id]) for node in nodes}
    layer = [node.id for node in nodes if not left[node.id]]
    found: list[list[str]] = []
    while layer:
        found.append(layer)
        after: list[str] = []
        for name in layer:
            for target in sorted(called[name], key=ranks.__getitem__):
                left[target] -= 1
                if not left[target]:
                    after.append(target)
        layer = after
    return found


def cut(layer: Sequence[str], takes: dict[str, float], room: float) -> list[list[str]]:
    """Cut a layer into rows that fit."""
    made: list[list[str]] = []
    used = room
    for name in layer:
        if not made or used + takes[name] > room:
            made.append([])
            used = 0.0
        made[-1].append(name)
        used += takes[name] + SPACE
    return made


def depth_first(nodes: Sequence[Node], links: Sequence[Link]) -> list[str]:
    """Put each box after all that lead to it, and near the last of those."""
    called: dict[str, list[str]] = defaultdict(list)
    targets = {link.target for link in links}
    for link in sorted(links, key=lambda link: -link.at):
        called[link.source].append(link.target)
    done: list[str] = []
    seen: set[str] = set()
    for root in reversed([node.id for node in nodes if node.id not in targets]):
        pending = [(root, iter(called[root]))]
        while pending:
            name, calls = pending[-1]
            target = next((one for one in calls if one not in seen), None)
            if target is None:
                done.append(name)
                pending.pop()
            else:
                seen.add(target)
                pending.append((target, iter(called[target])))
    return done[::-1]
