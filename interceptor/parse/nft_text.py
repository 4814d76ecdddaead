"""The text of ``nft list ruleset`` into a ``Ruleset``, by way of the JSON nft has for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interceptor.errors import ParseError
from interceptor.names import PRIORITIES, Family, Hook
from interceptor.parse import nft_json
from interceptor.parse.nft_expression import members
from interceptor.parse.nft_phrase import statements
from interceptor.parse.nft_tokens import Cursor, TextError, closing, tokenize, unquoted
from interceptor.parse.nft_value import BAD_SHAPES

if TYPE_CHECKING:
    from interceptor.model import Ruleset

Json = dict[str, Any]

_FAMILIES = frozenset({*Family, "arp", "bridge", "netdev"})
_PRIORITIES = {
    **{name: max(PRIORITIES[name].values()) for name in ("raw", "mangle", "filter", "security")},
    "dstnat": PRIORITIES["nat"][Hook.PREROUTING],
    "srcnat": PRIORITIES["nat"][Hook.POSTROUTING],
}
_ENDS = ("\n", ";")


def parse(text: str) -> Ruleset:
    """Read what nft lists as text; what nobody here understands is kept as unreadable.

    Raises:
        ParseError: the text is no listing of nft.
    """
    words = tokenize(text)
    reader = _Reader(words)
    try:
        reader.tables()
        return nft_json.read(reader.objects)
    except (*BAD_SHAPES, TextError, RecursionError, OverflowError):
        line = words[: reader.at].count("\n") + 1
        raise ParseError(
            f"line {line}: this is no listing of nft",
            hint="give what nft prints, whole: nft list ruleset",
        ) from None


class _Reader:
    """Reads blocks from the first word to the last.

    Args:
        words: of the text, with line ends.
    """

    def __init__(self, words: list[str]) -> None:
        self._words = words
        self.at = 0
        self.objects: list[Json] = []

    def tables(self) -> None:
        """Read all tables."""
        while self._more(len(self._words)):
            head = self._head()
            if head[0] != "table" or len(head) not in (2, 3):
                raise TextError
            family = head[1] if len(head) > 2 else Family.IP  # noqa: PLR2004 - family and name
            if family not in _FAMILIES:
                raise TextError
            end = closing(self._words, self.at)
            if family in frozenset(Family):
                self.at += 1
                self._table({"family": str(family), "table": unquoted(head[-1])}, end)
            self.at = end + 1

    def _more(self, end: int) -> bool:
        """Go to the next word, and say whether there is one before the end."""
        while self.at < end and self._words[self.at] in _ENDS:
            self.at += 1
        return self.at < end

    def _head(self) -> list[str]:
        """Take the words before a block, or the rest of a line that has none."""
        start = self.at
        while self.at < len(self._words) and self._words[self.at] not in ("{", "}", *_ENDS):
            self.at += 1
        if self.at == start or self.at == len(self._words):
            raise TextError
        return self._words[start : self.at]

    def _table(self, place: Json, end: int) -> None:
        table: Json = {"family": place["family"], "name": place["table"]}
        self.objects.append({"table": table})
        while self._more(end):
            head = self._line_head(end)
            if self._words[self.at] != "{":
                if head[0] == "flags":
                    table["flags"] = [word for word in head[1:] if word != ","]
                continue
            inner = closing(self._words, self.at)
            self.at += 1
            match head:
                case ["chain", name]:
                    self._chain({**place, "name": unquoted(name)}, inner)
                case ["set" | "map" | "meter" as kind, name]:
                    self._set(kind, {**place, "name": unquoted(name)}, inner)
            self.at = inner + 1

    def _line_head(self, end: int) -> list[str]:
        """Take words up to a block or the end of a line; commas may be among them."""
        start = self.at
        while self.at < end and self._words[self.at] not in ("{", "}", *_ENDS):
            self.at += 1
        if self.at == start:
            raise TextError
        return self._words[start : self.at]

    def _line(self, end: int) -> list[str]:
        """Take a line; it goes on while a bracket is open."""
        line: list[str] = []
        while self.at < end and self._words[self.at] not in _ENDS:
            if self._words[self.at] == "{":
                close = closing(self._words, self.at)
                line += [word for word in self._words[self.at : close] if word != "\n"]
                self.at = close
            line.append(self._words[self.at])
            self.at += 1
        return line

    def _chain(self, chain: Json, end: int) -> None:
        self.objects.append({"chain": chain})
        place = {"family": chain["family"], "table": chain["table"], "chain": chain["name"]}
        while self._more(end):
            line = self._line(end)
            match line:
                case ["type", kind, "hook", hook, *more]:
                    chain |= {"type": kind, "hook": hook, "prio": _priority(more)}
                case ["policy", policy]:
                    chain["policy"] = policy
                case ["comment", _]:
                    pass
                case _:
                    self.objects.append({"rule": _rule(line, place)})

    def _set(self, kind: str, found: Json, end: int) -> None:
        while self._more(end):
            line = self._line(end)
            if line[:2] == ["elements", "="]:
                cursor = Cursor(line[2:])
                try:
                    found["elem"] = members(cursor)
                except (TextError, ValueError):
                    # Whatever is in it, nobody here can tell.
                    found["elem"] = None
        self.objects.append({"map" if kind == "map" else "set": found})


def _rule(line: list[str], place: Json) -> Json:
    why = {}
    if len(line) > 1 and line[-2] == "comment" and line[-1][:1] == '"':
        why = {"comment": unquoted(line[-1])}
        line = line[:-2]
    return {**place, "expr": statements(line, place["family"]), **why}


def _priority(words: list[str]) -> int:
    """Read ``priority mangle - 5``, perhaps after a device."""
    match words[words.index("priority") + 1 :]:
        case [name]:
            return _number(name)
        case [name, "+", number]:
            return _number(name) + int(number)
        case [name, "-", number]:
            return _number(name) - int(number)
    raise TextError


def _number(name: str) -> int:
    return _PRIORITIES[name] if name in _PRIORITIES else int(name)
