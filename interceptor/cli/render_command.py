"""``interceptor render``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from interceptor.cli.exits import DONE
from interceptor.cli.session import command
from interceptor.config import BackendChoice
from interceptor.errors import UsageError
from interceptor.names import Family
from interceptor.render import iptables, nftables
from interceptor.settings import Scope
from interceptor.sheets.build import build, family_of
from interceptor.system import host

if TYPE_CHECKING:
    from interceptor.cli.session import Session


def run(session: Session, family: str | None) -> int:
    """Print the rules as text for a kernel tool.

    nftables text goes to nft -f -, iptables text to iptables-restore or, with --family ip6, to
    ip6tables-restore. Nothing is installed, and no root is needed.
    """
    config, sheet = session.config, session.sheet
    if config.backend is BackendChoice.EBPF:
        raise UsageError(
            "render has no text for --backend ebpf: programs at sockets are no rules",
            hint="install --dry-run shows what they decide by, --backend nftables what it means",
        )
    is_iptables = config.backend is BackendChoice.IPTABLES
    if family and not is_iptables:
        raise UsageError(
            f"--family {family} says nothing here: nftables text is one for both families",
            hint="add --backend iptables, or say what is intercepted with --ip-families",
        )
    session.enter_namespace()
    facts = host.observe(config)
    ruleset = build(sheet, config, facts)
    if is_iptables:
        chosen = _choose(family, family_of(config, facts).members)
        if family is None and family_of(config, facts) is Family.INET:
            session.printer.talk("these are the IPv4 rules; --family ip6 prints those for IPv6")
        language, shown = "iptables", str(chosen)
        text = iptables.text(iptables.lower(ruleset, chosen))
    else:
        language, shown = "nftables", None
        text = nftables.text(nftables.lower(ruleset, sheet.dialect))
    # A comment to each of the tools, and to a person what install would do besides.
    text += "".join(f"# beside these rules: {one}\n" for one in ruleset.routing)
    data = {
        "language": language,
        "family": shown,
        "sheet": sheet.name,
        "text": text,
        "beside": list(map(str, ruleset.routing)),
    }
    session.printer.data(data, [text.rstrip("\n")] if text else [])
    return DONE


def _choose(asked: str | None, there: tuple[Family, ...]) -> Family:
    if asked is None:
        return there[0]
    if asked not in there:
        raise UsageError(
            f"there are no rules for --family {asked}: it is not intercepted here",
            hint="say which are with --ip-families; auto adds IPv6 where there is such an address",
        )
    return Family(asked)


_FAMILY = click.Option(
    ["--family"],
    type=click.Choice([Family.IP.value, Family.IP6.value]),
    help="which of the two iptables texts; nftables has one for both",
)

command = command("render", (Scope.POLICY, Scope.HOST, Scope.PLACE, Scope.RUN), (_FAMILY,))(run)
