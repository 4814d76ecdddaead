"""A chain as a box: its head, and a row of words for each rule."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import msgspec

from interceptor.render.graph.measure import width, wrap
from interceptor.render.graph.picture import number, rectangle, text

if TYPE_CHECKING:
    from interceptor.render.graph.drawing import Box, End, Line

WIDE, NARROW = 360.0, 330.0

_SIGNS = {
    "jump": "↳",
    "goto": "→",
    "redirect": "⇒",
    "tproxy": "⇒",
    "dnat": "⇒",
    "drop": "✕",
    "accept": "✓",
    "return": "↩",
    "unknown": "?",
}
_OTHER_SIGN = "•"

_NAME, _WORDS, _SMALL = 14.0, 12.0, 11.5
_LEADING = 16.0
_PAD = 9.0
_GUTTER = 34.0
_SIDE = 12.0
_BADGE = 9.0
_STEPS = 2
"""Places on the path that a badge has room for."""


class Card(msgspec.Struct, frozen=True):
    """A box drawn: how high it is, where the line of each rule leaves it, its elements."""

    width: float
    height: float
    exits: dict[int, float]
    body: str


def card(box: Box, wide: float, *, prefix: str, fades: bool) -> Card:
    """Draw a chain.

    Args:
        box: the chain.
        wide: how wide it is to be.
        prefix: what makes its id one of this picture.
        fades: a path is shown, and what is not on it steps back.
    """
    parts: list[str] = []
    y, head = _head(box, wide)
    exits: dict[int, float] = {}
    badges: list[str] = []
    for line in box.lines:
        if line.skipped:
            y = _gap(parts, y, wide, f"… {line.skipped:,} more")
        top = y
        y, exits[line.number], row = _row(line, top, wide)
        if line.steps:
            parts.append(rectangle(1, top, wide - 2, y - top, "lit"))
            parts.append(rectangle(0, top, 4, y - top, "bar"))
            badges.append(badge(line.steps, top + _PAD + _WORDS - 4))
        state = " off" if fades and box.on_path and not line.steps else ""
        hint = f"<title>{escape(line.text)}</title>" if line.text else ""
        split = f'<path d="M0 {number(top)}h{number(wide)}" class="split"/>'
        parts.append(f'{split}<g class="line{state}">{hint}{row}</g>')
    if box.more:
        y = _gap(parts, y, wide, f"… {box.more:,} more")
    elif not box.lines:
        y = _gap(parts, y, wide, "no rules")
    clip = f"{prefix}{box.id}-clip"
    corners = rectangle(0, 0, wide, y, "", 7)
    css = _css("box hook" if box.hook else "box", is_on=box.on_path, fades=fades)
    inner = (
        f'<title>chain {escape(box.name)}</title><clipPath id="{clip}">{corners}</clipPath>'
        f'{rectangle(0, 0, wide, y, "card", 7)}<g clip-path="url(#{clip})">{head}{"".join(parts)}'
        f"</g>{rectangle(0, 0, wide, y, 'card frame', 7)}{''.join(badges)}"
    )
    return Card(wide, y, exits, f'<g id="{prefix}{box.id}" class="{css}">{inner}</g>')


def _head(box: Box, wide: float) -> tuple[float, str]:
    """Draw name and place; give how far down the head goes."""
    room = wide - 2 * _SIDE
    names = wrap(box.name, room, _NAME, bold=True)
    places = [li for one in (box.hook, box.place) if one for li in wrap(one, room, _SMALL)]
    y = _PAD + _NAME
    drawn = text(_SIDE, y, names, "name", _NAME, 18)
    y += 18 * (len(names) - 1)
    if places:
        drawn += text(_SIDE, y + 17, places, "place", _SMALL, 15)
        y += 17 + 15 * (len(places) - 1)
    high = y + _PAD
    return high, rectangle(0, 0, wide, high, "head") + drawn


def _row(line: Line, top: float, wide: float) -> tuple[float, float, str]:
    """Draw a rule; give where it ends, where its line leaves, and its elements."""
    room = wide - _GUTTER - _SIDE
    y = top + _PAD + _WORDS - 2
    drawn = text(_GUTTER - 8, y, [str(line.number)], "nr mono", _WORDS, anchor="end")
    for words, css, is_mono in ((line.matches, "mono", True), (line.why, "why", False)):
        if words:
            size = _SMALL if is_mono else _WORDS
            lines = wrap(words, room, size, mono=is_mono)
            drawn += text(_GUTTER, y, lines, css, size, _LEADING)
            y += _LEADING * len(lines)
    does = wrap(f"{_SIGNS.get(line.kind, _OTHER_SIGN)} {line.action}", room, _WORDS, bold=True)
    drawn += text(_GUTTER, y, does, f"do {line.kind}", _WORDS, _LEADING)
    leaves = y - 4
    y += _LEADING * (len(does) - 1)
    if line.counted:
        left = _GUTTER + width(does[-1], _WORDS, bold=True) + 14
        if left + width(line.counted, _SMALL) > wide - _SIDE:
            y += _LEADING
        for at, counted in enumerate(wrap(line.counted, room, _SMALL)):
            y += _LEADING if at else 0
            drawn += text(wide - _SIDE, y, [counted], "count", _SMALL, anchor="end")
    return y + _PAD - 1, leaves, drawn


def _gap(parts: list[str], top: float, wide: float, words: str) -> float:
    y = top + _PAD + _WORDS - 2
    parts.append(f'<path d="M0 {number(top)}h{number(wide)}" class="split"/>')
    parts.append(text(_GUTTER, y, [words], "soft", _WORDS))
    return y + _PAD


def badge(steps: tuple[int, ...], y: float) -> str:
    """Draw the numbers a rule has on the path, over the left edge, beside its own number."""
    shown = ",".join(map(str, steps[:_STEPS])) + ("…" if len(steps) > _STEPS else "")
    long = max(2 * _BADGE, width(shown, _SMALL, bold=True) + 8)
    pill = rectangle(-long / 2, y - _BADGE, long, 2 * _BADGE, "badge", _BADGE)
    return pill + text(0, y + 4, [shown], "step", _SMALL, anchor="middle")


def _css(base: str, *, is_on: bool, fades: bool) -> str:
    return f"{base} on" if is_on else f"{base} off" if fades else base


def terminal(end: End, *, prefix: str, fades: bool) -> Card:
    """Draw where packets go that leave the chains."""
    said = {"missing": "jumped to, and not there", "dnat": "sent elsewhere"}.get(
        end.kind, end.kind
    )
    label = wrap(end.label, 260, 13, bold=True)
    wide = round(max(150.0, *(width(li, 13, bold=True) + 36 for li in label)), 1)
    high = 46.0 + 17 * (len(label) - 1)
    css = _css("end", is_on=end.on_path, fades=fades)
    middle = wide / 2
    words = text(middle, 19, label, "strong", 13, 17, anchor="middle")
    words += text(middle, high - 10, [said], "soft", 11, anchor="middle")
    frame = rectangle(0, 0, wide, high, "pill", high / 2)
    return Card(wide, high, {}, f'<g id="{prefix}{end.id}" class="{css}">{frame}{words}</g>')
