"""``interceptor render``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from interceptor.cli.exits import DONE
from interceptor.cli.session import command
from interceptor.config import BackendChoice
from interceptor.names import Family
from interceptor.render import iptables, nftables
from interceptor.settings import Scope
from interceptor.sheets.build import build
from interceptor.system import facts

if TYPE_CHECKING:
    from interceptor.cli.session import Session


def run(session: Session, family: str | None) -> int:
    """Print the rules as text for a kernel tool.

    nftables text goes to nft -f -, iptables text to iptables-restore or, with --family ip6, to
    ip6tables-restore. Nothing is installed, and no root is needed.
    """
    session.enter_namespace()
    ruleset = build(session.sheet, session.config, facts.observe(session.config))
    if session.config.backend is BackendChoice.IPTABLES:
        language, chosen = "iptables", Family(family or Family.IP)
        text = iptables.text(iptables.lower(ruleset, chosen))
        both = any(table.family is Family.INET for table in ruleset.tables)
        if both and family is None:
            session.printer.talk("these are the IPv4 rules; --family ip6 prints those for IPv6")
    else:
        language, text = "nftables", nftables.text(nftables.lower(ruleset, session.sheet.dialect))
    facts_ = {"language": language, "family": family, "sheet": session.sheet.name, "text": text}
    session.printer.data(facts_, [text.rstrip("\n")] if text else [])
    return DONE


_FAMILY = click.Option(
    ["--family"],
    type=click.Choice([Family.IP.value, Family.IP6.value]),
    help="which of the two iptables texts; nftables has one for both",
)

command = command("render", (Scope.POLICY, Scope.HOST, Scope.RUN), (_FAMILY,))(run)
