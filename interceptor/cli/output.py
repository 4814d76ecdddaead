"""stdout is data, for people or as JSON; stderr is talk. Neither can fail a command.

What a command does to a kernel matters more than whether somebody still reads about it, so while
one runs, both are a ``Stream``.
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO, cast

import click

from interceptor.config import Output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from interceptor.errors import InterceptorError

_COLORS = {"✓": "green", "✗": "red", "!": "yellow", "·": "bright_black"}


class Stream:
    """A stream whose writes never fail: the first fault is kept, and what follows is left out.

    Args:
        target: where it writes; Python has ``None`` for a stream that was closed at its start.
    """

    def __init__(self, target: TextIO | None) -> None:
        self._target = target
        closed = OSError(errno.EBADF, "it is closed")
        self.fault: OSError | None = closed if target is None else None

    def write(self, text: str) -> int:
        """Write a text, or leave it out."""
        self._do(lambda target: target.write(text))
        return len(text)

    def flush(self) -> None:
        """Hand what is written over to the system."""
        self._do(lambda target: target.flush())

    def _do(self, step: Callable[[TextIO], object]) -> None:
        if self._target is not None and self.fault is None:
            try:
                step(self._target)
            except OSError as error:
                self.fault = error

    def isatty(self) -> bool:
        """Whether a person is at the other end."""
        return self._target is not None and self._target.isatty()

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":  # a way round
            raise AttributeError(name)
        return getattr(self._target, name)


@contextmanager
def streams() -> Iterator[Stream]:
    """Put streams that cannot fail in the place of stdout and stderr, and give the first."""
    before = sys.stdout, sys.stderr
    ours = tuple(map(Stream, before))
    sys.stdout, sys.stderr = (cast("TextIO", stream) for stream in ours)
    try:
        yield ours[0]
    finally:
        sys.stdout, sys.stderr = before


class Printer:
    """Prints one command's answer, in one of two forms with the same facts."""

    def __init__(self, output: Output) -> None:
        self.is_json = output is Output.JSON

    def data(self, facts: dict[str, Any], lines: Sequence[str]) -> None:
        """Print facts as JSON, or the lines that tell the same to a person."""
        if self.is_json:
            self.json(facts)
        else:
            for line in lines:
                click.echo(_printable(line))

    def table(
        self, facts: dict[str, Any], columns: Sequence[str], rows: Sequence[Sequence[str]]
    ) -> None:
        """Print facts as JSON, or rows under columns."""
        self.json_or_nothing(facts)
        self.table_for_people(columns, rows)

    def json_or_nothing(self, facts: dict[str, Any]) -> None:
        """Print facts if JSON is asked for."""
        if self.is_json:
            self.json(facts)

    def table_for_people(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print rows under columns unless JSON is asked for."""
        if self.is_json:
            return
        cells = [[_printable(cell) for cell in row] for row in rows]
        if use_color():
            _rich_table(columns, cells)
        else:
            _plain_table(columns, cells)

    def lines_for_people(self, lines: Iterable[str]) -> None:
        """Print lines unless JSON is asked for."""
        for line in () if self.is_json else lines:
            click.echo(_printable(line))

    @staticmethod
    def json(facts: dict[str, Any]) -> None:
        """Print one JSON object."""
        import msgspec

        click.echo(
            msgspec.json.format(msgspec.json.encode(facts, enc_hook=str), indent=2).decode()
        )

    @staticmethod
    def json_line(facts: dict[str, Any]) -> None:
        """Print one JSON object in one line, of which there will be more."""
        import msgspec

        click.echo(msgspec.json.encode(facts, enc_hook=str).decode())

    @staticmethod
    def talk(line: str) -> None:
        """Say something that is not the answer."""
        click.echo(_printable(line), err=True)


def use_color() -> bool:
    """Whether a person with a terminal that likes colour is reading."""
    return (
        sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    )


def print_error(error: InterceptorError, *, as_json: bool) -> None:
    """Print what failed and what to do; with JSON, stdout gets it as an object as well."""
    message, hint = _printable(error.message, keep=""), _printable(error.hint, keep="")
    if as_json:
        Printer.json({"error": message, "hint": hint, "exit_code": error.exit_code})
    Printer.talk(f"error: {message}")
    Printer.talk(f"hint: {hint}")


def _printable(text: str, keep: str = "\n\t") -> str:
    """Spell out what does not print: others' comments and paths may hold anything."""
    return "".join(
        c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text
    )


def _plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    lines = [list(columns), *map(list, rows)] if any(columns) else [*map(list, rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(lines[0]))] if lines else []
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())


def _rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=any(columns), header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=_COLORS.get(cell, "")) for cell in row))
    Console().print(table)
