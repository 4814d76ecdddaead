"""The text of ``iptables-save`` and ``ip6tables-save`` into a ``Ruleset`` of one family."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

import msgspec

from interceptor.errors import ParseError
from interceptor.model import Base, Chain, Rule, Ruleset, Table
from interceptor.names import PRIORITIES, Family, builtin_type
from interceptor.parse.words import WordReader, tokenize

if TYPE_CHECKING:
    from collections.abc import Iterator

_COUNTERS = re.compile(r"^\[(\d+):(\d+)\] ")
_Line = tuple[int, str, tuple[int, int] | None]
"""A rule's place in the dump, its words, and what it has counted."""
_BOM = "\ufeff"
"""What editors of another system put before a text."""
_QUOTE = re.compile(r'(?<!\\)(?:\\\\)*"')
_POLICIES: dict[str, Literal["accept", "drop"]] = {"ACCEPT": "accept", "DROP": "drop"}
_CHAIN = re.compile(r"^:(\S+) (\S+)(?: \[\d+:\d+\])?$")


def parse(text: str, family: Family) -> Ruleset:
    """Read a dump; what a rule says that nobody here understands is kept as unreadable.

    Args:
        text: one or more ``*table`` to ``COMMIT`` parts, with or without counters.
        family: ``ip`` for iptables-save, ``ip6`` for ip6tables-save.

    Raises:
        ParseError: a line that the tool never prints, or a table without its COMMIT.
    """
    tables: list[Table] = []
    reader: _TableReader | None = None
    for number, line in _lines(text):
        if not line or line.startswith("#"):
            continue
        try:
            if reader is None:
                reader = _TableReader(_table_name(line), family)
            elif line == "COMMIT":
                tables.append(reader.table())
                reader = None
            else:
                reader.line(number, line)
        except ValueError as error:
            raise _fault(number, line, error) from None
    if reader is not None:
        raise ParseError(
            f"the dump ends within table {reader.name}, before its COMMIT",
            hint="it was cut off: take it again",
        )
    return Ruleset(tuple(tables))


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Give each line with its number; a comment in quotes may hold any character, also newlines.

    Only a newline ends a line: what else Python takes for the end of one is part of a comment.
    """
    begun: list[str] = []
    is_open = False
    for number, raw in enumerate(text.removeprefix(_BOM).split("\n"), 1):
        if '"' in raw and (begun or raw.startswith(("-A ", "["))) and _turns_quotes(raw):
            is_open = not is_open
        begun.append(raw)
        if not is_open:
            yield number, "\n".join(begun).strip(" \t\r")
            begun = []
    if begun:
        yield number, "\n".join(begun)


def _turns_quotes(part: str) -> bool:
    """Whether a quote that begins before a part ends in it, or the other way round."""
    quotes = len(_QUOTE.findall(part)) if "\\" in part else part.count('"')
    return quotes % 2 == 1


def _fault(number: int, line: str, error: ValueError) -> ParseError:
    return ParseError(f"line {number} of the dump: {error}: {line[:80]!r}")


def _table_name(line: str) -> str:
    if not line.startswith("*"):
        raise ValueError("it stands outside a table")
    return line[1:]


class _TableReader:
    """Gathers the lines of one table; rules are read last, when all chain names are known."""

    def __init__(self, name: str, family: Family) -> None:
        self.name = name
        self._family = family
        self._hooks = {hook.upper(): hook for hook in PRIORITIES.get(name, {})}
        self._policies: dict[str, str] = {}
        self._lines: dict[str, list[_Line]] = {}

    def line(self, number: int, line: str) -> None:
        if line.startswith(":"):
            found = _CHAIN.match(line)
            if found is None:
                raise ValueError("a chain line has a name and a policy")
            chain, policy = found.groups()
            if policy not in ("-", *_POLICIES) and chain in self._hooks:
                raise ValueError(f"{policy!r} is no policy")
            self._policies[chain] = policy
            self._lines.setdefault(chain, [])
            return
        counted: tuple[int, int] | None = None
        words = line
        if found := _COUNTERS.match(line):
            words, counted = line[found.end() :], (int(found[1]), int(found[2]))
        if not words.startswith("-A "):
            raise ValueError("it is no rule and no chain")
        chain, _, rule = words[3:].partition(" ")
        if chain not in self._lines:
            raise ValueError(f"chain {chain!r} was not declared")
        self._lines[chain].append((number, rule, counted))

    def table(self) -> Table:
        return Table(
            self._family,
            self.name,
            tuple(
                Chain(name, tuple(self._rule(*line) for line in lines), self._base(name))
                for name, lines in self._lines.items()
            ),
        )

    def _rule(self, number: int, line: str, counted: tuple[int, int] | None) -> Rule:
        try:
            rule = WordReader(tokenize(line), self._lines).read(line)
            return rule if counted is None else msgspec.structs.replace(rule, counted=counted)
        except ValueError as error:
            raise _fault(number, line, error) from None

    def _base(self, chain: str) -> Base | None:
        hook = self._hooks.get(chain)
        policy = _POLICIES.get(self._policies[chain])
        if policy is None or hook is None:
            return None
        priority = PRIORITIES[self.name][hook]
        return Base(builtin_type(self.name, hook), hook, priority, policy)
