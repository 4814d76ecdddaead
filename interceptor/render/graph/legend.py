"""What the signs of a picture mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.render.graph.boxes import badge
from interceptor.render.graph.picture import Picture, moved, rectangle, text

if TYPE_CHECKING:
    from interceptor.render.graph.drawing import Drawing

SIZE = (64.0, 26.0)
_COLUMN, _ROW = 330.0, 34.0


def legend(drawing: Drawing) -> list[tuple[str, str]]:
    """Give a sample of each sign that may be there, and what it means."""
    kinds = {arrow.kind for group in drawing.groups for arrow in group.arrows}
    signs = [
        (
            f'<g class="hook">{rectangle(2, 4, 60, 18, "head", 4)}</g>',
            "a chain the kernel calls, at a hook",
        ),
        (
            f"{rectangle(2, 4, 60, 18, 'head', 4)}{rectangle(2, 4, 60, 18, 'card frame', 4)}",
            "a chain that others call",
        ),
    ]
    if "jump" in kinds:
        signs.append((_line("w-jump", "tip"), "jump: goes there and comes back"))
    if "goto" in kinds:
        signs.append((_line("w-goto", "tip"), "goto: goes there and does not come back"))
    if kinds & {"redirect", "tproxy", "dnat"}:
        signs.append((_line("w-end", "tip-end"), "handed to a listener, or sent elsewhere"))
    if drawing.has_path:
        signs.append((_line("on", "tip-path"), "the packet's path"))
        lit = rectangle(12, 3, 52, 20, "lit") + rectangle(12, 3, 4, 20, "bar")
        signs.append((f'{lit}<g transform="translate(12 0)">{badge((1,), 13)}</g>', _PATH))
    return signs


_PATH = "a rule the packet matched, numbered in order; the rest is faded"


def _line(css: str, tip: str) -> str:
    return f'<path d="M2 13h50" class="wire {css}"/><path d="M52 7.5v11l10-5.5z" class="{tip}"/>'


def picture(drawing: Drawing, wide: float) -> Picture:
    """Draw all signs, in columns."""
    signs = legend(drawing)
    columns = max(1, int(wide // _COLUMN))
    parts = []
    for at, (sample, meaning) in enumerate(signs):
        words = text(SIZE[0] + 10, 17, [meaning], "", 12)
        x, y = at % columns * _COLUMN, at // columns * _ROW
        parts.append(moved(Picture(*SIZE, sample + words), x, y))
    rows = -(-len(signs) // columns)
    return Picture(columns * _COLUMN, rows * _ROW, "".join(parts))
