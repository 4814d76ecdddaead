"""How wide a text is, by the widest of the usual fonts, and where it is broken."""

from __future__ import annotations

import re
import unicodedata

_WIDTHS = {
    **dict.fromkeys("ijl'|", 0.30),
    **dict.fromkeys(" .,:;!()[]/\\-ftrI·", 0.40),
    **dict.fromkeys("mwMW%@—", 0.98),
    **dict.fromkeys("ABCDEFGHJKLNOPQRSTUVXYZ&_#=+<>~", 0.74),
}
"""In ems, of DejaVu Sans and Verdana rounded up."""

_OTHER = 0.63
_MONO = 0.605
_BOLD = 1.12
_LATIN = 0x2FF
_WIDE = "WF"
_PIECES = re.compile(r"[^ ,_/]*[,_/]|[^ ,_/]+| +")


def width(text: str, size: float, *, mono: bool = False, bold: bool = False) -> float:
    """Give the width of a text in a size, in pixels."""
    return sum(_character(c, mono=mono) for c in text) * size * (_BOLD if bold and not mono else 1)


def _character(character: str, *, mono: bool) -> float:
    if ord(character) > _LATIN and character not in "…→·—":
        wide = unicodedata.east_asian_width(character) in _WIDE
        return 1.2 if wide else 0 if unicodedata.combining(character) else 0.9
    return _MONO if mono else _WIDTHS.get(character, _OTHER)


def wrap(
    text: str, room: float, size: float, *, mono: bool = False, bold: bool = False
) -> list[str]:
    """Break a text into lines that fit, at spaces and after commas if there are any."""

    def fits(line: str) -> bool:
        return width(line.rstrip(), size, mono=mono, bold=bold) <= room

    lines, line = [], ""
    for piece in _PIECES.findall(text):
        left = piece
        if fits(line + left):
            line += left
            continue
        if line.strip():
            lines.append(line.rstrip())
        line, left = "", left.lstrip()
        while not fits(left):
            cut = next((n for n in range(len(left), 1, -1) if fits(left[:n])), 1)
            lines.append(left[:cut])
            left = left[cut:]
        line = left
    return [*lines, line.rstrip()] if line.strip() or not lines else lines
