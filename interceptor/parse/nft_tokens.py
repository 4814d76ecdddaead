"""The words of nft's text, and a place among them."""

from __future__ import annotations

import re

_TOKEN = re.compile(
    r"""[ \t\r]+ | \#[^\n]* | /\*.*?\*/
    | ( "[^"\n]*" | @(?:ll|nh|th|ih),\d+,\d+ | \n | [{},;()"] | [^\s{},;()"\#]+ )""",
    re.VERBOSE,
)
_MOST_DIGITS = 20
"""More than any number here has; Python takes long over numbers of very many."""

END = ""
"""What comes after the last word."""

_OPENING = {"{": "}", "(": ")"}


class TextError(Exception):
    """A word is not what has to be there."""


def tokenize(text: str) -> list[str]:
    """Split a text into words, line ends and brackets; quotes stay, comments go."""
    return [word for word in _TOKEN.findall(text) if word]


class Cursor:
    """A place among words.

    Args:
        words: all of them, line ends only where they mean something.
    """

    __slots__ = ("_words", "at")

    def __init__(self, words: list[str]) -> None:
        # Looking one word ahead never needs to ask whether there is one.
        self._words = [*words, END, END, END]
        self.at = 0

    @property
    def word(self) -> str:
        """The word here; ``END`` after the last."""
        return self._words[self.at]

    @property
    def following(self) -> str:
        """The word after the one here."""
        return self._words[self.at + 1]

    @property
    def rest(self) -> list[str]:
        """All words from here on."""
        return self._words[self.at : -3]

    def take(self) -> str:
        """Give the word here, which has to be one, and go on."""
        word = self._words[self.at]
        if word == END:
            raise TextError
        self.at += 1
        return word

    def took(self, word: str) -> bool:
        """Go on if this is the word here, and say whether it was."""
        if self._words[self.at] == word:
            self.at += 1
            return True
        return False

    def need(self, word: str) -> None:
        """Go on over a word that has to be here."""
        if not self.took(word):
            raise TextError

    def name(self) -> str:
        """Take a name, quoted or not."""
        word = self.take()
        if word in "{}(),;\n":
            raise TextError
        return unquoted(word)

    def number(self) -> int:
        """Take a number."""
        word = self.take()
        if not (word.isascii() and word.isdigit() and len(word) < _MOST_DIGITS):
            raise TextError
        return int(word)


def unquoted(word: str) -> str:
    """Give a word without its quotes."""
    return word[1:-1] if len(word) > 1 and word[0] == '"' == word[-1] else word


def closing(words: list[str], at: int) -> int:
    """Give the place of the bracket that closes the one at a place, or ``TextError``."""
    depth: list[str] = []
    for place in range(at, len(words)):
        word = words[place]
        if word in _OPENING:
            depth.append(_OPENING[word])
        elif word in ("}", ")"):
            if depth.pop() != word:
                raise TextError
            if not depth:
                return place
    raise TextError
