"""``interceptor consul-redirect-traffic``: Consul's own command line in front of ours."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from interceptor.cli.exits import DONE
from interceptor.cli.frontend import command as front_end
from interceptor.cli.frontend import like_its_tool, session_of, stand_in
from interceptor.cli.session import told_as
from interceptor.frontends import goflag
from interceptor.frontends.consul.options import HEAD, TABLE
from interceptor.frontends.consul.translate import SHEET, named_services, parse, translate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@like_its_tool
def run(argv: Sequence[str]) -> int:
    """Do what consul connect redirect-traffic does with these flags."""
    if goflag.wants_help(argv, TABLE):
        from interceptor.frontends.help import help_text

        click.echo(help_text(HEAD, TABLE))
        return DONE
    given = parse(argv, os.environ)
    translation = translate(given, _services(named_services(given)))
    session = session_of(SHEET, translation.texts(), translation.origins())
    with told_as(session):
        stand_in(session, translation, dry_run=session.config.dry_run)
    return DONE


def _services(names: Sequence[str]) -> Mapping[str, int]:
    if not names:
        return {}
    from interceptor.system.services import tcp_ports

    return tcp_ports(names)


command = front_end("consul-redirect-traffic", run)
