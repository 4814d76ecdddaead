"""The chains of one table as a picture."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from interceptor.render.graph import boxes, wires
from interceptor.render.graph.layout import Link, Node
from interceptor.render.graph.measure import wrap
from interceptor.render.graph.picture import Picture, moved, rectangle, text, wire

if TYPE_CHECKING:
    from interceptor.render.graph.drawing import Arrow, Group

_ROOM = 1245.0
"""How wide a row of chains may be."""

_PAD, _LEFT = 14.0, 18.0
_TITLE = 15.0


def chains(group: Group, *, fades: bool, stacked: bool = False, named: bool = True) -> Picture:
    """Draw a table: its chains, callers above those they call.

    Args:
        group: the table.
        fades: a path is shown, and what is not on it steps back.
        stacked: one chain a row, for narrow screens.
        named: its name stands above.
    """
    prefix = "n-" if stacked else "w-"
    wide = boxes.NARROW if stacked else boxes.WIDE
    cards = {
        **{b.id: boxes.card(b, wide, prefix=prefix, fades=fades) for b in group.boxes},
        **{e.id: boxes.terminal(e, prefix=prefix, fades=fades) for e in group.ends},
    }
    hooked = {box.id for box in group.boxes if box.hook}
    nodes = [Node(n, card.width, card.height, n in hooked) for n, card in cards.items()]
    drawn = [arrow for arrow in group.arrows if arrow.routed]
    links = [Link(a.source, a.target, cards[a.source].exits[a.number]) for a in drawn]
    plan = wires.plan(nodes, links, _ROOM, stacked=stacked)
    ends = {end.id for end in group.ends}
    # What is on the path comes last, over the others.
    lines = [
        wire(
            points,
            _css(arrow, to_end=arrow.target in ends, fades=fades),
            _tip(arrow, ends, fades=fades),
        )
        for arrow, points in sorted(
            zip(drawn, plan.wires, strict=True), key=lambda pair: pair[0].on_path
        )
    ]
    placed = [moved(Picture(c.width, c.height, c.body), *plan.spots[n]) for n, c in cards.items()]
    width = ceil(plan.width + 2 * _LEFT)
    heading = wrap(group.heading, width - 2 * _LEFT, _TITLE, bold=True) if named else []
    top = _PAD + 20 * len(heading) + (8 if named else 4)
    body = "".join(
        [
            rectangle(0.5, 0.5, width - 1, top + plan.height + _PAD + 3, "panel", 10),
            text(_LEFT, _PAD + _TITLE, heading, "title", _TITLE, 20) if named else "",
            moved(Picture(plan.width, plan.height, "".join([*placed, *lines])), _LEFT, top),
        ]
    )
    return Picture(width, ceil(top + plan.height + _PAD + 4), body)


def _css(arrow: Arrow, *, to_end: bool, fades: bool) -> str:
    kind = "w-end" if to_end else f"w-{arrow.kind}"
    return f"wire {kind} on" if arrow.on_path else f"wire {kind}{' off' if fades else ''}"


def _tip(arrow: Arrow, ends: set[str], *, fades: bool) -> str:
    if arrow.on_path:
        return "tip-path"
    return ("tip-end" if arrow.target in ends else "tip") + (" off" if fades else "")
