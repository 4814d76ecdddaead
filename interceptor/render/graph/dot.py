"""A drawing as DOT, for Graphviz: each chain a table of its rules, an arrow from each row."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from interceptor.render.graph.measure import wrap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.render.graph.drawing import Arrow, Box, Drawing, End, Group, Line

_INK, _SOFT, _EDGE, _FADED = "#182230", "#536073", "#8a97a8", "#b8c0cb"
_PATH, _LIT, _END, _HOOK = "#c2410c", "#fff0e3", "#1d4ed8", "#27364b"
_ROOM = 330.0


def dot(drawing: Drawing) -> str:
    """Write a drawing as a directed graph."""
    return "\n".join(_lines(drawing)) + "\n"


def quoted(text: str) -> str:
    """Write a text as DOT's quoted strings are; a backslash would begin an escape."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _lines(drawing: Drawing) -> Iterator[str]:
    yield "digraph rules {"
    title = "\n".join([drawing.title, *(f"left out or missing: {note}" for note in drawing.notes)])
    yield f'  graph [rankdir=LR, labelloc=t, fontname="sans-serif", label={quoted(title)}];'
    yield f'  node [shape=plain, fontname="sans-serif", fontsize=11, fontcolor="{_INK}"];'
    yield f'  edge [fontname="sans-serif", fontsize=10, color="{_EDGE}"];'
    yield from _journey(drawing)
    for group in drawing.groups:
        yield f"  subgraph cluster_{group.id} {{"
        yield f'    label={quoted(group.heading)}; style=rounded; color="{_EDGE}";'
        yield from _boxes(group, drawing)
        yield from (f"    {_end(end, drawing)}" for end in group.ends)
        yield "  }"
        for arrow in group.arrows:
            yield f"  {_arrow(arrow, group, drawing)}"
    yield "}"


def _boxes(group: Group, drawing: Drawing) -> Iterator[str]:
    """Write chains, those of one hook together."""
    hooks: dict[str, list[Box]] = {}
    for box in group.boxes:
        hooks.setdefault(box.hook.split(" · ")[0], []).append(box)
    for number, (hook, held) in enumerate(hooks.items(), 1):
        if hook:
            yield f"    subgraph cluster_{group.id}h{number} {{ label={quoted(hook)};"
        yield from (f"    {box.id} [label=<{_table(box, drawing)}>];" for box in held)
        if hook:
            yield "    }"


def _journey(drawing: Drawing) -> Iterator[str]:
    if not drawing.hops:
        return
    names = dict.fromkeys(name for hop in drawing.hops for name in (hop.source, hop.target))
    ids = {name: f"j{number}" for number, name in enumerate(names, 1)}
    yield '  subgraph cluster_journey { label="the journey"; style=rounded;'
    for name, made in ids.items():
        yield f"    {made} [shape=box, style=rounded, label={quoted(name)}];"
    for step, hop in enumerate(drawing.hops, 1):
        said = "\n".join(filter(None, (f"{step}. {hop.label}", hop.detail)))
        yield f"    {ids[hop.source]} -> {ids[hop.target]} [label={quoted(said)}];"
    yield "  }"


def _table(box: Box, drawing: Drawing) -> str:
    is_off = drawing.has_path and not box.on_path
    fill, ink = (_HOOK, "#ffffff") if box.hook and not is_off else ("#e3e8ef", _INK)
    frame = _PATH if box.on_path else _FADED if is_off else _EDGE
    head = [f"<B>{_text(box.name)}</B>", *map(_text, filter(None, (box.hook, box.place)))]
    inner = "".join(f'{said}<BR ALIGN="LEFT"/>' for said in head)
    look = f'PORT="h" BGCOLOR="{fill}" ALIGN="LEFT"'
    rows = [f'<TR><TD {look}><FONT COLOR="{ink}">{inner}</FONT></TD></TR>']
    for line in box.lines:
        if line.skipped:
            rows.append(f'<TR><TD ALIGN="LEFT">… {line.skipped:,} more</TD></TR>')
        rows.append(_row(line, is_off=drawing.has_path and not line.steps))
    if box.more:
        rows.append(f'<TR><TD ALIGN="LEFT">… {box.more:,} more</TD></TR>')
    elif not box.lines:
        rows.append('<TR><TD ALIGN="LEFT">no rules</TD></TR>')
    width = 2 if box.on_path else 1
    return (
        f'<TABLE BORDER="{width}" CELLBORDER="1" CELLSPACING="0" CELLPADDING="4" '
        f'COLOR="{frame}">{"".join(rows)}</TABLE>'
    )


def _row(line: Line, *, is_off: bool) -> str:
    ink, soft = (_EDGE, _EDGE) if is_off else (_INK, _SOFT)
    step = f"step {', '.join(map(str, line.steps))} → " if line.steps else ""
    parts = [(f"{step}{line.number}. {line.matches}", ink, "")]
    if line.why:
        parts.append((line.why, soft, "I"))
    parts.append((line.action, ink, "B"))
    if line.counted:
        parts.append((line.counted, soft, ""))
    left = '<BR ALIGN="LEFT"/>'
    words = "".join(
        f'<FONT COLOR="{colour}">{_styled(said, style)}</FONT>{left}'
        for text, colour, style in parts
        for said in wrap(text, _ROOM, 12)
    )
    lit = f' BGCOLOR="{_LIT}"' if line.steps else ""
    return f'<TR><TD PORT="r{line.number}" ALIGN="LEFT"{lit}>{words}</TD></TR>'


def _styled(text: str, style: str) -> str:
    return f"<{style}>{_text(text)}</{style}>" if style else _text(text)


def _text(text: str) -> str:
    """Write a text in an HTML-like label, in which none may be empty."""
    return escape(text) or " "


def _end(end: End, drawing: Drawing) -> str:
    colour = _PATH if end.on_path else _FADED if drawing.has_path else _END
    label = quoted(f"{end.label}\n{end.kind}")
    look = f'shape=box, style=rounded, color="{colour}", fontcolor="{colour}"'
    return f"{end.id} [{look}, label={label}];"


def _arrow(arrow: Arrow, group: Group, drawing: Drawing) -> str:
    is_box = any(box.id == arrow.target for box in group.boxes)
    looks = [f'tooltip="{arrow.kind}"']
    if arrow.kind == "goto":
        looks.append("style=dashed")
    if arrow.on_path:
        looks.append(f'color="{_PATH}", penwidth=3')
    elif drawing.has_path:
        looks.append(f'color="{_FADED}"')
    elif not is_box:
        looks.append(f'color="{_END}", penwidth=2')
    port = ":h" if is_box else ""
    return f"{arrow.source}:r{arrow.number} -> {arrow.target}{port} [{', '.join(looks)}];"
