"""Flags as Consul's library reads them (Go's own package flag).

``-flag value``, ``-flag=value``, and the same with two dashes; a switch stands alone or with
``=``. The first word that is no flag ends them, and so does ``--``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.errors import ConfigError, did_you_mean
from interceptor.frontends.row import Flag, R, Table

if TYPE_CHECKING:
    from collections.abc import Sequence


def parse(argv: Sequence[str], table: Table[R]) -> tuple[list[Flag[R]], list[str]]:
    """Give the flags in their order, and the words after them.

    Raises:
        ConfigError: there is no such flag, or its value is missing.
    """
    flags: list[Flag[R]] = []
    rows = table.rows | {row.short: row for row in table.rows.values() if row.short}
    words = list(argv)
    while words:
        word = words[0]
        if not word.startswith("-") or word == "-":
            break
        del words[0]
        if word == "--":
            break
        name, equals, text = word.removeprefix("-").removeprefix("-").partition("=")
        option = rows.get(name)
        if option is None or not option.is_flag:
            known = [f"-{row.key}" for row in table.rows.values() if row.is_flag]
            hint = did_you_mean(f"-{name}", known) or table.see_help
            raise ConfigError(f"there is no flag -{name}", hint=hint)
        if not equals and option.is_switch:
            text = "true"
        elif not equals:
            if not words:
                raise ConfigError(f"-{name}: a value is needed", hint=option.help)
            text = words.pop(0)
        flags.append(Flag(option, text, f"-{option.key}"))
    return flags, words


def wants_help(argv: Sequence[str], table: Table[R]) -> bool:
    """Whether the help is asked for, which comes before any value is read."""
    flags, _ = parse(argv, table)
    return any(flag.option.key == "help" and flag.text != "false" for flag in flags)
