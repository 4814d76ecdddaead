"""A piece of SVG and its size, and how text and lines are written in it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interceptor.render.graph.wires import Point

_ROUND = 6.0


class Picture(msgspec.Struct, frozen=True):
    """Elements, whose upper left corner is the origin."""

    width: float
    height: float
    body: str


def number(value: float) -> str:
    """Write a length."""
    return f"{value:.1f}".removesuffix(".0")


def text(
    x: float,
    y: float,
    lines: Sequence[str],
    css: str,
    size: float,
    leading: float = 16,
    *,
    anchor: str = "",
) -> str:
    """Write lines below one another; the first has its foot at ``y``."""
    if len(lines) == 1:
        inner = escape(lines[0])
    else:
        inner = "".join(
            f'<tspan x="{number(x)}" dy="{number(leading if at else 0)}">{escape(line)}</tspan>'
            for at, line in enumerate(lines)
        )
    place = f'x="{number(x)}" y="{number(y)}"'
    if anchor:
        place += f' text-anchor="{anchor}"'
    return f'<text {place} class="{css}" font-size="{number(size)}">{inner}</text>'


def rectangle(x: float, y: float, width: float, height: float, css: str, radius: float = 0) -> str:
    """Write a rectangle."""
    corner = f' rx="{number(radius)}"' if radius else ""
    size = f'width="{number(width)}" height="{number(height)}"'
    return f'<rect x="{number(x)}" y="{number(y)}" {size} class="{css}"{corner}/>'


def wire(points: Sequence[Point], css: str, tip: str) -> str:
    """Write a line of straight pieces with round corners, and the head it ends in."""
    kept = [points[0]]
    for at, point in enumerate(points[1:], 1):
        after = points[at + 1] if at + 1 < len(points) else None
        is_straight = after is not None and (
            kept[-1][0] == point[0] == after[0] or kept[-1][1] == point[1] == after[1]
        )
        if not is_straight:
            kept.append(point)
    parts = [f"M{number(kept[0][0])} {number(kept[0][1])}"]
    for before, corner, after in zip(kept, kept[1:], kept[2:], strict=False):
        one, other = _towards(corner, before), _towards(corner, after)
        parts.append(
            f"L{number(one[0])} {number(one[1])}"
            f"Q{number(corner[0])} {number(corner[1])} {number(other[0])} {number(other[1])}"
        )
    x, y = kept[-1]
    # The head is longer than the line is thick: the line ends within it.
    parts.append(f"L{number(x)} {number(y - 6)}")
    head = f"M{number(x - 5.5)} {number(y - 10)}h11l-5.5 10z"
    return f'<path d="{"".join(parts)}" class="{css}"/><path d="{head}" class="{tip}"/>'


def _towards(corner: Point, other: Point) -> Point:
    """Give the point at which the round of a corner begins."""
    (x, y), (to_x, to_y) = corner, other
    length = abs(to_x - x) + abs(to_y - y)
    part = min(_ROUND, length / 2) / length if length else 0
    return x + (to_x - x) * part, y + (to_y - y) * part


def moved(picture: Picture, x: float, y: float) -> str:
    """Put a picture somewhere in another one."""
    return f'<g transform="translate({number(x)} {number(y)})">{picture.body}</g>'
