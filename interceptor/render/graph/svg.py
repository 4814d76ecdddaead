"""A drawing as one SVG file that needs nothing else."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from interceptor.render.graph import legend as signs
from interceptor.render.graph.chains import chains
from interceptor.render.graph.journey import journey
from interceptor.render.graph.measure import wrap
from interceptor.render.graph.picture import Picture, moved, number, text
from interceptor.render.graph.style import COLOURS, PICTURE

if TYPE_CHECKING:
    from interceptor.render.graph.drawing import Drawing

_EDGE = 16.0
_APART = 18.0
_TITLE = 19.0
_SMALL = 12.0
_LEAST = 460.0


def svg(drawing: Drawing, *, stacked: bool = False) -> str:
    """Write a drawing: title, journey, tables, legend, and what was left out.

    Args:
        drawing: what to write.
        stacked: one chain a row, for narrow screens.
    """
    parts: list[Picture] = []
    if drawing.hops:
        parts.append(journey(drawing.hops, stacked=stacked))
    parts += [chains(g, fades=drawing.has_path, stacked=stacked) for g in drawing.groups]
    wide = max([_LEAST, *(part.width for part in parts)])
    parts.insert(0, _title(drawing, wide))
    parts.append(signs.picture(drawing, wide))
    y = _EDGE
    body: list[str] = []
    for part in parts:
        body.append(moved(part, _EDGE, y))
        y += part.height + _APART
    width, height = number(wide + 2 * _EDGE), number(y)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="group" aria-labelledby="title desc">'
        f'<title id="title">{escape(drawing.title)}</title>'
        f'<desc id="desc">{escape(drawing.summary)}</desc>'
        f"<style>{escape(COLOURS + PICTURE, quote=False)}</style>"
        f'<rect width="{width}" height="{height}" class="back"/>{"".join(body)}</svg>\n'
    )


def _title(drawing: Drawing, wide: float) -> Picture:
    """Draw the title, the order at each hook, and what was left out."""
    lines = wrap(drawing.title, wide, _TITLE, bold=True)
    y = _TITLE + 25.0 * (len(lines) - 1)
    body = text(0, _TITLE, lines, "title", _TITLE, 25)
    for said, css in (
        *((f"At hook {line}", "soft") for line in drawing.order),
        *((f"Left out or missing: {note}.", "strong") for note in drawing.notes),
    ):
        lines = wrap(said, wide, _SMALL, bold=css == "strong")
        body += text(0, y + 20, lines, css, _SMALL)
        y += 4 + 16.0 * len(lines)
    return Picture(wide, y + 4, body)
