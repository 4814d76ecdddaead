"""stdout is data, for people or as JSON; stderr is talk."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from interceptor.config import Output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interceptor.errors import InterceptorError

_COLORS = {"✓": "green", "✗": "red", "!": "yellow", "·": "bright_black"}


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
                click.echo(line)

    def table(
        self, facts: dict[str, Any], columns: Sequence[str], rows: Sequence[Sequence[str]]
    ) -> None:
        """Print facts as JSON, or rows under columns."""
        if self.is_json:
            self.json(facts)
        elif use_color():
            _rich_table(columns, rows)
        else:
            _plain_table(columns, rows)

    @staticmethod
    def json(facts: dict[str, Any]) -> None:
        """Print one JSON object."""
        import msgspec

        click.echo(
            msgspec.json.format(msgspec.json.encode(facts, enc_hook=str), indent=2).decode()
        )

    @staticmethod
    def talk(line: str) -> None:
        """Say something that is not the answer."""
        click.echo(line, err=True)


def use_color() -> bool:
    """Whether a person with a terminal that likes colour is reading."""
    return (
        sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    )


def print_error(error: InterceptorError, *, as_json: bool) -> None:
    """Print what failed and what to do; with JSON, stdout gets it as an object as well."""
    if as_json:
        Printer.json({"error": error.message, "hint": error.hint, "exit_code": error.exit_code})
    click.echo(f"error: {error.message}", err=True)
    if error.hint:
        click.echo(f"hint: {error.hint}", err=True)


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
