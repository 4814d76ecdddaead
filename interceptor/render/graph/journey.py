"""A journey from hand to hand: those who take part as lanes, each hop an arrow between two."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from interceptor.render.graph.measure import width, wrap
from interceptor.render.graph.picture import Picture, number, rectangle, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interceptor.render.graph.drawing import Hop

_WIDE, _NARROW = 300.0, 168.0
"""Between two lanes."""

_EDGE = 14.0
_HEAD = 34.0
_LABEL, _DETAIL = 13.0, 11.5
_LOOP = 34.0


def journey(hops: Sequence[Hop], *, stacked: bool = False) -> Picture:
    """Draw the hops in their order, from above."""
    names = list(dict.fromkeys(name for hop in hops for name in (hop.source, hop.target)))
    apart = _NARROW if stacked else _WIDE
    actor = min(apart - 16, max(90.0, *(width(name, 13, bold=True) + 24 for name in names)))
    at = {name: _EDGE + actor / 2 + n * apart for n, name in enumerate(names)}
    last = _EDGE + actor + (len(names) - 1) * apart
    loops = [hop for hop in hops if hop.source == hop.target]
    wide = ceil(max(last, *(at[hop.source] + apart for hop in loops), _EDGE + apart)) + _EDGE
    heads = {name: wrap(name, actor - 12, 13, bold=True) for name in names}
    high = _HEAD + 17 * (max(map(len, heads.values())) - 1)
    y = _EDGE + high + 8
    arrows: list[str] = []
    for step, hop in enumerate(hops, 1):
        part, y = _hop(step, hop, at, y, apart)
        arrows.append(part)
    bottom = y + 14
    lanes = "".join(
        f'<path d="M{number(x)} {number(_EDGE + high)}V{number(bottom)}" class="lane"/>'
        for x in at.values()
    )
    boxes = "".join(
        rectangle(x - actor / 2, _EDGE, actor, high, "actor", 7)
        + text(x, _EDGE + 22, heads[name], "actor-name", 13, 17, anchor="middle")
        for name, x in at.items()
    )
    panel = rectangle(0.5, 0.5, wide - 1, bottom + _EDGE - 1, "panel", 10)
    return Picture(wide, ceil(bottom + _EDGE), panel + lanes + "".join(arrows) + boxes)


def _hop(step: int, hop: Hop, at: dict[str, float], top: float, apart: float) -> tuple[str, float]:
    """Draw one hop; give how far down it goes."""
    start, end = at[hop.source], at[hop.target]
    is_loop = start == end
    room = apart - _LOOP - 12 if is_loop else max(abs(end - start), apart) - 28
    labels = wrap(f"{step}. {hop.label}", room, _LABEL, bold=True)
    details = wrap(hop.detail, room, _DETAIL) if hop.detail else []
    if is_loop:
        left = start + _LOOP + 8
        y = top + 20
        words = text(left, y, labels, "halo strong", _LABEL, 17)
        foot = y + 17 * len(labels)
        if details:
            words += text(left, foot, details, "halo soft", _DETAIL, 15)
            foot += 15 * len(details)
        low = max(foot - 14, y + 14)
        path = (
            f"M{number(start)} {number(y - 6)}h{number(_LOOP - 8)}q8 0 8 8"
            f"V{number(low - 8)}q0 8 -8 8H{number(start + 8)}"
        )
        return _arrow(path, start, low, -1) + words, low + 16
    middle = (start + end) / 2
    y = top + 20
    words = text(middle, y, labels, "halo strong", _LABEL, 17, anchor="middle")
    line = y + 17 * (len(labels) - 1) + 10
    if details:
        words += text(middle, line + 18, details, "halo soft", _DETAIL, 15, anchor="middle")
    way = 1 if end > start else -1
    path = f"M{number(start)} {number(line)}H{number(end - way * 8)}"
    return _arrow(path, end, line, way) + words, line + 16 + 15 * len(details)


def _arrow(path: str, x: float, y: float, way: int) -> str:
    """Draw a line and the head it ends in, to the right or to the left."""
    head = f"M{number(x)} {number(y)}l{number(-11 * way)} -6v12z"
    return f'<path d="{path}" class="wire w-end"/><path d="{head}" class="tip-end"/>'
