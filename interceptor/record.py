"""What was installed, written down where it is installed: as comments in a chain of its own.

Nothing calls the chain, so it costs no packet anything. It lives and dies with the rules, is
there for whoever lists them, and lets ``status``, ``verify`` and ``uninstall`` work without flags
and from anywhere. Each comment is ``key=value``; a longer value goes on in comments that begin
with ``+``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from interceptor.model import Chain, Return, Rule, Ruleset, Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_LINE = 120
"""Characters of one comment, within what both languages take."""

_VERSION, _MADE = "interceptor", "made"


class Record(msgspec.Struct, frozen=True):
    """The installing version, the settings that were not defaults, and tables made for us.

    ``made`` names tables (``ip nat``) that were not there before, so that removing our rules can
    remove them too.
    """

    version: str
    settings: Mapping[str, str]
    made: tuple[str, ...] = ()

    def lines(self) -> Iterator[str]:
        """Write it down."""
        yield f"{_VERSION}={self.version}"
        if self.made:
            yield from _wrapped(f"{_MADE}={','.join(self.made)}")
        for key, value in self.settings.items():
            yield from _wrapped(f"{key}={_escape(value)}")

    @classmethod
    def read(cls, lines: Iterable[str]) -> Record | None:
        """Read it back; ``None`` if these are not the lines of a record."""
        joined: list[str] = []
        for line in lines:
            if line.startswith("+") and joined:
                joined[-1] += line[1:]
            else:
                joined.append(line)
        values = dict(line.split("=", 1) for line in joined if "=" in line)
        version = values.pop(_VERSION, None)
        if version is None:
            return None
        made = values.pop(_MADE, "")
        settings = {key: _unescape(value) for key, value in values.items()}
        return cls(version, settings, tuple(made.split(",")) if made else ())

    @classmethod
    def find(cls, own: Ruleset, chain: str) -> Record | None:
        """Look for it in the first table that has its chain."""
        for table in own.tables:
            found = table.chain(chain)
            if found is not None:
                return cls.read(rule.why for rule in found.rules)
        return None

    def added_to(self, ruleset: Ruleset, chain: str) -> Ruleset:
        """Give the rules with the record's chain at the end of the last table."""
        rules = tuple(Rule((), Return(), line) for line in self.lines())
        *others, last = ruleset.tables
        extended = Table(last.family, last.name, (*last.chains, Chain(chain, rules)))
        return Ruleset((*others, extended))


def _wrapped(line: str) -> Iterator[str]:
    yield line[:_LINE]
    for start in range(_LINE, len(line), _LINE - 1):
        yield "+" + line[start : start + _LINE - 1]


def _escape(value: str) -> str:
    """Keep to characters that no kernel tool quotes or cuts."""
    return "".join(
        c
        if c.isascii() and c.isprintable() and c not in "\"'\\%"
        else "".join(f"%{byte:02x}" for byte in c.encode())
        for c in value
    )


def _unescape(value: str) -> str:
    parts = re.split(r"((?:%[0-9a-f]{2})+)", value)
    return "".join(
        bytes.fromhex(part.replace("%", "")).decode(errors="replace")
        if part.startswith("%")
        else part
        for part in parts
    )
