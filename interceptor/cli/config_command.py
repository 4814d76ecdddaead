"""``interceptor config``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from interceptor.cli.exits import DONE
from interceptor.cli.session import command
from interceptor.settings import SETTINGS, Scope, show

if TYPE_CHECKING:
    from interceptor.cli.session import Session


def run(session: Session, *, origin: bool) -> int:
    """Show every setting with its value and where it came from."""
    config, origins = session.config, session.resolved.origins
    values = {key: show(getattr(config, key)) for key in SETTINGS}
    facts = {key: {"value": values[key], "origin": origins[key]} for key in SETTINGS}
    rows = [[key, value, *([origins[key]] if origin else [])] for key, value in values.items()]
    columns = ["setting", "value", *(["origin"] if origin else [])]
    session.printer.table(facts, columns, rows)
    return DONE


_ORIGIN = click.Option(["--origin"], is_flag=True, help="name the place each value came from")

command = click.Group(
    "config",
    help="Show every setting with its value and where it came from.",
    commands=[command("show", tuple(Scope), (_ORIGIN,))(run)],
)
