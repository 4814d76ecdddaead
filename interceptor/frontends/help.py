"""The help of a tool's command, from its table of options."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.frontends.row import R, Row, Table

_INDENT = " " * 8
_WIDTH = 99


def help_text(head: str, table: Table[R]) -> str:
    """Write all options with their variables and defaults, below a few lines about the command."""
    lines = [f"Usage: interceptor {table.command} [FLAGS]\n", head]
    for heading, rows in table.headings.items():
        lines += [f"{heading}:", *(line for row in rows for line in _lines(row, table.dashes)), ""]
    return "\n".join(lines).rstrip("\n")


def _lines(row: Row, dashes: str) -> Iterator[str]:
    if row.is_flag:
        flags = f"-{row.short}, {dashes}{row.key}" if row.short else f"{dashes}{row.key}"
        named = f"{flags} {row.kind}"
    else:
        named = f"{row.key}={row.kind}"
    yield f"  {named}".rstrip()
    facts = []
    if row.default:
        facts.append(f"default: {row.default}")
    if row.environment and row.environment != (row.key,):
        facts.append(f"env: {', '.join(row.environment)}")
    shown = f"[{'; '.join(facts)}]" if facts else ""
    line = f"{_INDENT}{row.help}  {shown}".rstrip()
    if len(line) <= _WIDTH:
        yield line
    else:
        yield f"{_INDENT}{row.help}"
        yield f"{_INDENT}{shown}"
