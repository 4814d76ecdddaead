"""A line's words, and words as a line again, with the quotes of ``iptables-save``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = re.compile(r"([\"\\'])")


class Quoted(str):
    """A word that stood in quotes: always a value, whatever it looks like."""

    __slots__ = ()


def tokenize(line: str) -> list[str]:
    """Split a line into words, taking back the quotes and backslashes of iptables-save."""
    if '"' not in line:
        return line.split()
    return [bare or Quoted(unescaped(quoted)) for quoted, bare in _WORD.findall(line)]


def unescaped(quoted: str) -> str:
    """Take back the backslashes in a quoted word."""
    return _ESCAPED.sub(r"\1", quoted) if "\\" in quoted else quoted


def printed(words: Iterable[str]) -> str:
    """Join words as they were printed."""
    return " ".join(
        '"' + _ESCAPES.sub(r"\\\1", word) + '"' if isinstance(word, Quoted) else word
        for word in words
    )
