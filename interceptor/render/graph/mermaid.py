"""A drawing as a Mermaid flowchart, of which GitHub and mermaid-cli take any text in labels."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.render.graph.drawing import Box, Drawing, End, Group, Line

_CHARACTERS = 48_000
_EDGES = 480
"""GitHub and mermaid-cli refuse more than 50,000 characters (maxTextSize) or 500 edges."""

_LINES = (1000, 24, 12, 6, 3, 1, 0)
"""Rules of a chain that are written, one after the other till the text is short enough."""

_PLAIN = re.compile(r"[^A-Za-z0-9 .,()/=+…·→-]")
_INNER = re.compile(r"(?<=[A-Za-z0-9])_(?=[A-Za-z0-9])")

_KINDS = {"jump": "-->", "goto": "-.->"}
_END = "==>"

_CONFIG = "config: {flowchart: {wrappingWidth: 420}}"
"""Wide enough for most rules to have a line."""

_CLASSES = """\
  classDef hook stroke-width:3px
  classDef target stroke:#1d4ed8,stroke-width:2px
  classDef path fill:#fff0e3,stroke:#c2410c,stroke-width:4px,color:#182230
  classDef faded opacity:0.45"""


def mermaid(drawing: Drawing) -> str:
    """Write a drawing; what is too much for Mermaid is left out, and a node says so."""
    for most in _LINES:
        text = _text(drawing, most)
        if len(text) <= _CHARACTERS:
            return text
    boxes = sum(len(group.boxes) for group in drawing.groups)
    while boxes > 1:
        boxes = boxes * 3 // 4
        text = _text(drawing, 0, boxes)
        if len(text) <= _CHARACTERS:
            break
    return text


def label(text: str) -> str:
    """Write a text so that nothing in it is Mermaid's, Markdown's or HTML's.

    Underscores within words stay: so chain names can be read, and no Markdown is in them.
    """
    held = _INNER.sub("\0", text)
    return _PLAIN.sub(lambda found: _code(found[0]), held)


def _code(character: str) -> str:
    return "_" if character == "\0" else f"#{ord(character)};"


def _text(drawing: Drawing, most: int, boxes: int | None = None) -> str:
    kept = [box.id for group in drawing.groups for box in group.boxes][:boxes]
    writer = _Writer(drawing, most, set(kept))
    return "\n".join(writer.lines()) + "\n"


class _Writer:
    def __init__(self, drawing: Drawing, most: int, kept: set[str]) -> None:
        self._drawing = drawing
        self._most = most
        self._kept = kept
        self._edges = 0
        self._lit: list[int] = []
        self._cut = 0

    def lines(self) -> Iterator[str]:
        drawing = self._drawing
        yield "---"
        yield f'title: "{_front(drawing.title)}"'
        yield _CONFIG
        yield "---"
        yield "flowchart TB"
        yield f"  accTitle: {_words(drawing.title)}"
        yield f"  accDescr: {_words(drawing.summary)}"
        yield from self._journey()
        for group in drawing.groups:
            yield from self._group(group)
        for group in drawing.groups:
            yield from self._arrows(group)
        notes = list(drawing.notes)
        missed = sum(len(group.boxes) for group in drawing.groups) - len(self._kept)
        if missed:
            notes.append(f"{missed:,} more chains are too many for Mermaid")
        if self._cut:
            notes.append(f"{self._cut:,} arrows are too many for Mermaid")
        if notes:
            yield f'  n1["{"<br/>".join(map(label, notes))}"]'
        yield _CLASSES
        yield from self._classes()
        if self._lit:
            numbers = ",".join(map(str, self._lit))
            yield f"  linkStyle {numbers} stroke:#c2410c,stroke-width:4px"

    def _journey(self) -> Iterator[str]:
        hops = self._drawing.hops
        if not hops:
            return
        names = dict.fromkeys(name for hop in hops for name in (hop.source, hop.target))
        ids = {name: f"j{number}" for number, name in enumerate(names, 1)}
        yield '  subgraph j0["the journey"]'
        for name, made in ids.items():
            yield f'    {made}(["{_some(name)}"])'
        for step, hop in enumerate(hops, 1):
            said = f"({step}) {hop.label}{f' · {hop.detail}' if hop.detail else ''}"
            yield f'    {ids[hop.source]} -->|"{label(said)}"| {ids[hop.target]}'
            self._edges += 1
        yield "  end"

    def _group(self, group: Group) -> Iterator[str]:
        boxes = [box for box in group.boxes if box.id in self._kept]
        yield f'  subgraph {group.id}["{label(group.heading)}"]'
        hooks: dict[str, list[Box]] = {}
        for box in boxes:
            hooks.setdefault(box.hook.split(" · ")[0], []).append(box)
        for number, (hook, held) in enumerate(hooks.items(), 1):
            if hook:
                yield f'    subgraph {group.id}h{number}["{label(hook)}"]'
            for box in held:
                yield f'    {box.id}["{self._box(box)}"]'
            if hook:
                yield "    end"
        for end in group.ends:
            yield f'    {end.id}(["{_end(end)}"])'
        yield "  end"

    def _box(self, box: Box) -> str:
        parts = [f"chain {label(box.name)}"]
        parts += [label(said) for said in (box.hook, box.place) if said]
        shown = 0
        for number, line in enumerate(box.lines):
            if number < self._most or (line.steps and self._most):
                shown += 1
                if line.skipped:
                    parts.append(f"… {line.skipped:,} more")
                parts.append(_line(line))
        more = box.more + len(box.lines) - shown
        if more:
            parts.append(f"… {more:,} more")
        elif not box.lines:
            parts.append("no rules")
        return "<br/>".join(parts)

    def _arrows(self, group: Group) -> Iterator[str]:
        ends = {end.id for end in group.ends}
        for arrow in group.arrows:
            is_there = {arrow.source, arrow.target} <= self._kept | ends
            if not is_there or arrow.source not in self._kept:
                continue
            if self._edges >= _EDGES:
                self._cut += 1
                continue
            if arrow.on_path:
                self._lit.append(self._edges)
            self._edges += 1
            kind = _KINDS.get(arrow.kind, _END)
            yield f'  {arrow.source} {kind}|"rule {arrow.number}"| {arrow.target}'

    def _classes(self) -> Iterator[str]:
        drawing = self._drawing
        boxes = [box for g in drawing.groups for box in g.boxes if box.id in self._kept]
        ends = [end for group in drawing.groups for end in group.ends]
        all_of = {one.id: one.on_path for one in boxes} | {one.id: one.on_path for one in ends}
        lit = [name for name, on_path in all_of.items() if on_path]
        others = [name for name, on_path in all_of.items() if not on_path]
        for name, ids in (
            ("hook", [box.id for box in boxes if box.hook]),
            ("target", [end.id for end in ends]),
            ("path", lit),
            ("faded", others if drawing.has_path else []),
        ):
            if ids:
                yield f"  class {','.join(ids)} {name}"


def _line(line: Line) -> str:
    """Write a rule; its number stands in brackets, as Markdown would make a list of it."""
    step = f"step {', '.join(map(str, line.steps))} → " if line.steps else ""
    said = " · ".join(filter(None, (line.matches, line.action, line.counted)))
    why = f"<br/>why#58; {label(line.why)}" if line.why else ""
    return f"{step}({line.number}) {label(said)}{why}"


def _end(end: End) -> str:
    return f"{_some(end.label)}<br/>{label(end.kind)}"


def _some(text: str) -> str:
    """Write a text that must not be empty, nor begin a list of Markdown's."""
    return f"#8203;{label(text)}"


def _words(text: str) -> str:
    """Write a text where Mermaid knows no codes."""
    return " ".join(_PLAIN.sub(" ", text).split()) or "rules"


def _front(text: str) -> str:
    """Write a title for YAML."""
    return _PLAIN.sub(lambda found: f"\\U{ord(found[0]):08x}", text)
