"""A drawing as one HTML file that a browser opens offline: pictures, legend, rules as text."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from interceptor.render.graph import legend
from interceptor.render.graph.chains import chains
from interceptor.render.graph.journey import journey
from interceptor.render.graph.picture import number
from interceptor.render.graph.style import COLOURS, PAGE, PICTURE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.render.graph.drawing import Box, Drawing, Group, Line
    from interceptor.render.graph.picture import Picture

_VAST = 1600.0


def page(drawing: Drawing) -> str:
    """Write a drawing as a page; it asks for nothing else and runs no script."""
    title = escape(drawing.title)
    body = "\n".join(_sections(drawing))
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{title}</title><style>{COLOURS}{PICTURE}{PAGE}</style></head>\n"
        f"<body><main>\n<h1>{title}</h1>\n{body}\n</main></body></html>\n"
    )


def _sections(drawing: Drawing) -> Iterator[str]:
    yield f'<p class="soft">{escape(drawing.summary)}</p>'
    if drawing.notes:
        notes = "".join(f"<li>{escape(note)}</li>" for note in drawing.notes)
        yield f'<div class="notes"><strong>Left out or missing</strong><ul>{notes}</ul></div>'
    if drawing.hops:
        yield "<h2>The journey</h2>"
        yield _figure(
            "journey",
            "The journey, hop by hop",
            [journey(drawing.hops), journey(drawing.hops, stacked=True)],
        )
    for group in drawing.groups:
        yield f"<h2>{escape(_capital(group.heading))}</h2>"
        pictures = [
            chains(group, fades=drawing.has_path, stacked=stacked, named=False)
            for stacked in (False, True)
        ]
        yield _figure(group.id, f"The chains of {group.heading}", pictures)
    yield f"<h2>Legend</h2>\n{_legend(drawing)}"
    if drawing.order:
        order = "".join(f"<li>{escape(line)}</li>" for line in drawing.order)
        yield f"<h2>Order at each hook</h2><ul>{order}</ul>"
    yield from _texts(drawing)


def _figure(name: str, label: str, pictures: list[Picture]) -> str:
    """Write a picture for wide screens and one for narrow ones; the page shows one of them."""
    drawn = "".join(
        f'<svg xmlns="http://www.w3.org/2000/svg" class="{css}{_size(one)}" '
        f'viewBox="0 0 {number(one.width)} {number(one.height)}" width="{number(one.width)}" '
        f'height="{number(one.height)}" role="group" aria-labelledby="{name}-{css}">'
        f'<title id="{name}-{css}">{escape(label)}</title>{one.body}</svg>'
        for css, one in zip(("wide", "narrow"), pictures, strict=True)
    )
    return f"<figure>{drawn}</figure>"


def _size(picture: Picture) -> str:
    """Say whether a picture is so wide that one scrolls over it; others shrink till they fit."""
    return " vast" if picture.width > _VAST else ""


def _legend(drawing: Drawing) -> str:
    wide, high = map(number, legend.SIZE)
    rows = "".join(
        f'<div><dt><svg aria-hidden="true" width="{wide}" height="{high}" '
        f'viewBox="0 0 {wide} {high}">{sample}</svg></dt><dd>{escape(meaning)}</dd></div>'
        for sample, meaning in legend.legend(drawing)
    )
    return f'<dl class="legend">{rows}</dl>'


def _texts(drawing: Drawing) -> Iterator[str]:
    """Write all that is drawn as text."""
    yield "<h2>The same as text</h2>"
    if drawing.hops:
        hops = "".join(
            f"<li>{escape(hop.source)} → {escape(hop.target)}: {escape(hop.label)}"
            f"{f' ({escape(hop.detail)})' if hop.detail else ''}</li>"
            for hop in drawing.hops
        )
        yield f"<h3>The journey</h3><ol>{hops}</ol>"
    for group in drawing.groups:
        for box in group.boxes:
            yield _table(group, box)


def _table(group: Group, box: Box) -> str:
    place = " · ".join(filter(None, (box.hook, box.place)))
    rows = "".join(_row(line) for line in box.lines)
    more = f'<tr><td colspan="5">… {box.more:,} more</td></tr>' if box.more else ""
    heads = "".join(
        f'<th scope="col">{head}</th>' for head in ("Rule", "Matches", "Does", "Why", "Counted")
    )
    return (
        f"<h3>{escape(box.name)} <small class=soft>{escape(group.heading)}"
        f"{f' · {escape(place)}' if place else ''}</small></h3>"
        f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}{more}</tbody></table>"
    )


def _row(line: Line) -> str:
    gap = f'<tr><td colspan="5">… {line.skipped:,} more</td></tr>' if line.skipped else ""
    steps = f" (step {', '.join(map(str, line.steps))})" if line.steps else ""
    return (
        f"{gap}<tr{' class=on' if line.steps else ''}><td class=n>{line.number}{steps}</td>"
        f"<td><code>{escape(line.matches)}</code></td><td>{escape(line.action)}</td>"
        f"<td>{escape(line.why)}</td><td class=n>{escape(line.counted)}</td></tr>"
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
