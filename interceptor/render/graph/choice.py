"""Which chains and rules are drawn where there are too many for a picture."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from interceptor.names import Hook

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from interceptor.model import Chain, Rule
    from interceptor.render.graph.drawing import Limits
    from interceptor.render.graph.twins import Drawn

Where = tuple[int, int]
"""A chain: the number of its table, and its own in it."""

_FIRST = (Hook.OUTPUT, Hook.PREROUTING)
"""Hooks where interception is."""


def chosen(tables: Sequence[Drawn], walked: Collection[Where], limits: Limits) -> set[Where]:
    """Give the chains to draw: those on the path, then those that hooks lead to, nearest first."""
    kept: set[Where] = set()
    for where in _nearest(tables, walked):
        if len(kept) >= limits.boxes:
            break
        kept.add(where)
    return kept


def _nearest(tables: Sequence[Drawn], walked: Collection[Where]) -> Iterator[Where]:
    everywhere = [
        ((at, number), chain)
        for at, drawn in enumerate(tables)
        for number, chain in enumerate(drawn.table.chains)
    ]
    names: list[dict[str, int]] = [{} for _ in tables]
    for (at, number), chain in everywhere:
        names[at].setdefault(chain.name, number)
    seen: set[Where] = set()
    hooked = [where for where, chain in everywhere if chain.base]
    hooked.sort(key=lambda where: _rank(tables[where[0]].table.chains[where[1]]))
    roots = [*sorted(walked), *hooked]
    yield from _spread(tables, names, roots, seen, deep=False)
    yield from _spread(tables, names, roots, seen)
    yield from _spread(tables, names, [where for where, _ in everywhere], seen)


def _rank(chain: Chain) -> bool:
    return chain.base is None or chain.base.hook not in _FIRST


def _spread(
    tables: Sequence[Drawn],
    names: Sequence[dict[str, int]],
    roots: Sequence[Where],
    seen: set[Where],
    *,
    deep: bool = True,
) -> Iterator[Where]:
    """Give chains and those they call, breadth first, but those seen before."""
    pending = deque(roots)
    passed: set[Where] = set()
    while pending:
        where = pending.popleft()
        if where in passed:
            continue
        passed.add(where)
        if where not in seen:
            seen.add(where)
            yield where
        if deep:
            at, number = where
            targets = [rule.target for rule in tables[at].table.chains[number].rules]
            pending += [(at, names[at][t]) for t in targets if t is not None and t in names[at]]


def shown(chain: Chain, most: int, on_path: Collection[int]) -> tuple[list[tuple[int, Rule]], int]:
    """Give a chain's first rules and those on the path, numbered, and how many come after."""
    numbers = list(range(1, min(most, len(chain.rules)) + 1))
    numbers += sorted(n for n in on_path if most < n <= len(chain.rules))
    last = numbers[-1] if numbers else 0
    return [(n, chain.rules[n - 1]) for n in numbers], len(chain.rules) - last
