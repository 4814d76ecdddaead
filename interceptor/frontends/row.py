"""What a table of a tool's options says of each, whichever tool it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One option.

    Args:
        key: the long flag, or what else it is called if there is none.
        short: the flag of one letter, or nothing.
        kind: what a value is, as the help shows it; that of a switch is nothing.
        default: as text; that of a switch is ``false`` if nothing else is said.
        help: one line for a person.
        also: variables it is read from, stronger ones last.
    """

    key: str
    short: str = ""
    kind: str
    default: str = ""
    help: str
    also: tuple[str, ...] = ()

    @property
    def is_flag(self) -> bool:
        """Whether it can be given on the command line."""
        return True

    @property
    def is_switch(self) -> bool:
        """Whether its flag stands without a value."""
        return not self.kind

    @property
    def unset(self) -> str:
        """Its value where nobody gives one."""
        return self.default or ("false" if self.is_switch else "")

    @property
    def environment(self) -> tuple[str, ...]:
        """The variables it is read from, weakest first."""
        return self.also


R = TypeVar("R", bound=Row)


class Table(msgspec.Struct, Generic[R], frozen=True):
    """All options of one tool under headings, and the command of ours that takes them."""

    command: str
    headings: Mapping[str, tuple[R, ...]]
    dashes: str = "--"
    """What a person writes before a long flag."""

    @property
    def rows(self) -> dict[str, R]:
        """All options by key."""
        return {row.key: row for rows in self.headings.values() for row in rows}

    @property
    def see_help(self) -> str:
        """Tell where all options are listed."""
        return f"interceptor {self.command} --help lists all options"


class Flag(msgspec.Struct, Generic[R], frozen=True):
    """A flag that was given with its text, and how to name it in a message."""

    option: R
    text: str
    shown: str
