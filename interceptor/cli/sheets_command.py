"""``interceptor sheets``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from interceptor.cli.exits import DONE
from interceptor.cli.session import command
from interceptor.settings import SETTINGS, Scope
from interceptor.sheets import loader

if TYPE_CHECKING:
    from interceptor.cli.session import Session


def run(session: Session, name: str | None) -> int:
    """List the dialects, or show the rows and options of one, shipped or your own."""
    return _show(session, name) if name else _list(session)


def _list(session: Session) -> int:
    sheets = [loader.load(name) for name in loader.shipped()]
    facts = {"sheets": [{"name": s.name, "summary": s.summary} for s in sheets]}
    session.printer.table(facts, ["sheet", "summary"], [[s.name, s.summary] for s in sheets])
    return DONE


def _show(session: Session, name: str) -> int:
    sheet = loader.load(name)
    rows = [
        (table, chain, row)
        for table, chains in sheet.chains.items()
        for chain, chain_rows in chains.items()
        for row in chain_rows
    ]
    facts = {
        "name": sheet.name,
        "summary": sheet.summary,
        "options": [
            {
                "name": key,
                "type": option.type,
                "form": option.form,
                "default": option.default_text,
                "help": option.help,
            }
            for key, option in sheet.options.items()
        ],
        "lacks": sheet.lacks,
        "breaks": sheet.breaks,
        "rows": [
            {
                "table": table,
                "chain": chain,
                "match": row.match,
                "action": row.action,
                "why": row.why,
                "when": row.when,
                "each": row.each,
            }
            for table, chain, row in rows
        ],
    }
    session.printer.table(
        facts,
        ["table", "chain", "match", "action", "why", "when"],
        [[table, chain, r.match, r.action, r.why, r.when] for table, chain, r in rows],
    )
    options = [[key, o.form, o.default_text, o.help] for key, o in sheet.options.items()]
    lacks = [[SETTINGS[key].flag, why] for key, why in sheet.lacks.items()]
    for columns, cells in (
        (["option", "value", "default", "meaning"], options),
        (["lacks", "because"], lacks),
        (["breaks", "because"], [list(pair) for pair in sheet.breaks.items()]),
    ):
        if cells:
            session.printer.lines_for_people([""])
            session.printer.table_for_people(columns, cells)
    return DONE


_NAME = click.Argument(["name"], required=False, metavar="[NAME|PATH]")

command = command("sheets", (Scope.RUN,), (_NAME,))(run)
