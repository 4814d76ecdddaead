"""``interceptor linkerd-proxy-init``: proxy-init's own command line in front of ours."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from interceptor.cli.exits import DONE
from interceptor.cli.frontend import command as front_end
from interceptor.cli.frontend import like_its_tool, session_of, stand_in
from interceptor.cli.session import told_as
from interceptor.frontends import pflag
from interceptor.frontends.linkerd.options import HEAD, TABLE
from interceptor.frontends.linkerd.translate import SHEET, read

if TYPE_CHECKING:
    from collections.abc import Sequence


@like_its_tool
def run(argv: Sequence[str]) -> int:
    """Do what Linkerd's proxy-init does with these flags."""
    if pflag.wants_help(argv, TABLE):
        from interceptor.frontends.help import help_text

        click.echo(help_text(HEAD, TABLE))
        return DONE
    todo = read(argv, os.environ)
    translation = todo.translation
    session = session_of(SHEET, translation.texts(), translation.origins())
    with told_as(session):
        if todo.simulate or not todo.close_wait_s:
            stand_in(session, translation, dry_run=todo.simulate)
            return DONE
        from interceptor.system.sysctl import close_wait

        session.enter_namespace()
        with close_wait(todo.close_wait_s):
            stand_in(session, translation, dry_run=False)
    return DONE


command = front_end("linkerd-proxy-init", run)
