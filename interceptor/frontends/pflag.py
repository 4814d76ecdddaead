"""Flags as Istio's, Linkerd's and Kuma's library reads them (github.com/spf13/pflag).

``--flag value``, ``--flag=value``, ``-f value``, ``-fvalue``, ``-f=value``; a switch stands alone
or with ``=``; one word may hold several flags of one letter, of which the first that is no switch
takes the rest as its value. ``--`` ends them, and what is no flag may stand between them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.errors import ConfigError, did_you_mean
from interceptor.frontends.row import Flag, R, Row, Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


def parse(argv: Sequence[str], table: Table[R]) -> tuple[list[Flag[R]], list[str]]:
    """Give the flags in their order, and the arguments that are none.

    Raises:
        ConfigError: there is no such flag, or its value is missing.
    """
    flags: list[Flag[R]] = []
    arguments: list[str] = []
    rows = table.rows
    short = {row.short: row for row in rows.values() if row.short}
    words = iter(argv)
    for word in words:
        if word == "--":
            arguments += words
        elif word.startswith("--"):
            flags.append(_long(word, words, rows, table.see_help))
        elif word.startswith("-") and word != "-":
            flags += _short(word, words, short, table.see_help)
        else:
            arguments.append(word)
    return flags, arguments


def wants_help(argv: Sequence[str], table: Table[R]) -> bool:
    """Whether the help is asked for, which comes before any value is read."""
    flags, _ = parse(argv, table)
    return any(flag.option.key == "help" and flag.text != "false" for flag in flags)


def _long(word: str, words: Iterator[str], rows: Mapping[str, R], see_help: str) -> Flag[R]:
    name, equals, text = word[2:].partition("=")
    option = rows.get(name)
    if option is None or not option.is_flag:
        known = [f"--{row.key}" for row in rows.values() if row.is_flag]
        raise ConfigError(
            f"there is no flag --{name}", hint=did_you_mean(f"--{name}", known) or see_help
        )
    if not equals:
        text = "true" if option.is_switch else _next(words, f"--{name}", option)
    return Flag(option, text, f"--{name}")


def _short(
    word: str, words: Iterator[str], short: Mapping[str, R], see_help: str
) -> Iterator[Flag[R]]:
    rest = word[1:]
    while rest:
        letter, rest = rest[0], rest[1:]
        option = short.get(letter)
        if option is None:
            raise ConfigError(f"there is no flag -{letter}, as in {word}", hint=see_help)
        shown = f"-{letter} (--{option.key})"
        if rest.startswith("=") and rest != "=":
            text, rest = rest[1:], ""
        elif option.is_switch:
            text = "true"
        elif rest:
            text, rest = rest, ""
        else:
            text = _next(words, shown, option)
        yield Flag(option, text, shown)


def _next(words: Iterator[str], shown: str, option: Row) -> str:
    text = next(words, None)
    if text is None:
        raise ConfigError(f"{shown}: a value is needed", hint=option.help)
    return text
