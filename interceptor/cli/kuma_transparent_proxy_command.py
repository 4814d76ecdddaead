"""``interceptor kuma-transparent-proxy``: kumactl's own command line in front of ours."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from interceptor.cli.exits import DONE
from interceptor.cli.frontend import command as front_end
from interceptor.cli.frontend import like_its_tool, session_of, stand_in
from interceptor.cli.session import told_as
from interceptor.frontends import pflag
from interceptor.frontends.kuma.options import HEAD, TABLE
from interceptor.frontends.kuma.translate import DEFAULT_UID, SHEET, parse, translate, users
from interceptor.sources import read_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interceptor.frontends.given import Given
    from interceptor.frontends.translation import Translation

_LONGEST_S = 30.0
"""For stdin to end, or a file that is a pipe."""


@like_its_tool
def run(argv: Sequence[str]) -> int:
    """Do what kumactl install transparent-proxy does with these flags."""
    if pflag.wants_help(argv, TABLE):
        from interceptor.frontends.help import help_text

        click.echo(help_text(HEAD, TABLE))
        return DONE
    given = parse(argv, os.environ, _content)
    translation = _translate(given)
    session = session_of(SHEET, translation.texts(), translation.origins())
    with told_as(session):
        stand_in(session, translation, dry_run=given.is_on("dry-run"))
    return DONE


def _content(path: str) -> str:
    return read_text(path, "stdin" if path == "-" else path, _LONGEST_S)


def _translate(given: Given) -> Translation:
    if given.is_on("cniMode"):
        return translate(given, {}, has_default=True)
    from interceptor.system.accounts import has_user, user_ids

    return translate(given, user_ids(users(given)), has_default=has_user(int(DEFAULT_UID)))


command = front_end("kuma-transparent-proxy", run)
