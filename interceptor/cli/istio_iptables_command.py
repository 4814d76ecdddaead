"""``interceptor istio-iptables``: Istio's own command line in front of ours."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from interceptor.cli.exits import DONE, UNVERIFIED
from interceptor.cli.frontend import command as front_end
from interceptor.cli.frontend import install, print_rules, session_of, tell
from interceptor.cli.session import told_as
from interceptor.config import OWN_NETNS, DnsCapture, FamilyChoice
from interceptor.errors import InterceptorError
from interceptor.frontends import pflag
from interceptor.frontends.istio.command_line import parse
from interceptor.frontends.istio.options import TABLE
from interceptor.frontends.istio.translate import (
    SHEET,
    Facts,
    dns_capture,
    named_accounts,
    run_of,
    run_settings,
    translate,
)
from interceptor.names import FAMILY_NAMES, Family

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interceptor.cli.session import Session
    from interceptor.config import Config
    from interceptor.frontends.istio.command_line import Given
    from interceptor.frontends.istio.translate import Run
    from interceptor.verify.named import Identity


_FAMILIES = {
    FamilyChoice.DUAL: Family.INET.members,
    FamilyChoice.IPV4: (Family.IP,),
}
"""What of Istio's two answers is tried."""


class NotRedirectedError(InterceptorError):
    """The rules do not do what they are for."""

    exit_code = UNVERIFIED


def run(argv: Sequence[str]) -> int:
    """Do what istio-iptables does with these flags and this process's environment."""
    if pflag.wants_help(argv, TABLE):
        from interceptor.frontends.help import help_text
        from interceptor.frontends.istio.help import HEAD

        click.echo(help_text(HEAD, TABLE))
        return DONE
    given = parse(argv, os.environ)
    todo = run_of(given)
    if todo.cleanup_only:
        return _clean_up(session_of(SHEET, run_settings(given), {}), todo)
    _enter(todo.network_namespace)
    translation = translate(given, _facts(given))
    session = session_of(SHEET, translation.settings, translation.origins)
    with told_as(session):
        return _run(session, translation.run)


def _run(session: Session, todo: Run) -> int:
    for note in todo.notes:
        session.printer.talk(f"note: {note}")
    if todo.dry_run:
        print_rules(session, todo.dry_run_file)
        return DONE
    facts: dict[str, Any] = {"sheet": SHEET, "changed": False}
    if not todo.skip_rule_apply:
        facts |= install(session, anew=todo.force_apply)
    if todo.run_validation:
        facts["redirected"] = _validate(session, todo)
    session.printer.json_or_nothing(facts)
    return DONE


def _clean_up(session: Session, todo: Run) -> int:
    if todo.dry_run:
        line = "# remove all that was ever installed, whatever configuration left it"
        session.printer.data({"dry_run": True, "cleanup": True}, [line])
        return DONE
    from interceptor.cli.uninstall_command import run as uninstall

    return uninstall(session)


def _enter(path: str) -> None:
    """Go where ``--network-namespace`` says, to look things up there."""
    if path:
        from interceptor.system import netns

        descriptor = netns.open_path(path)
        try:
            netns.enter(descriptor, path)
        finally:
            os.close(descriptor)


def _facts(given: Given) -> Facts:
    from interceptor.system.accounts import group_ids, user_ids
    from interceptor.system.addresses import addresses

    users, groups = named_accounts(given)
    nameservers: tuple[str, ...] = ()
    if dns_capture(given) is DnsCapture.RESOLV_CONF:
        from interceptor.system.resolv import resolvers

        found = resolvers(given.text("network-namespace") or OWN_NETNS)
        nameservers = tuple(map(str, (*found.ip, *found.ip6)))
    return Facts(
        addresses=addresses(),
        users=user_ids(users),
        groups=group_ids(groups),
        nameservers=nameservers,
    )


def _validate(session: Session, todo: Run) -> list[str]:
    """Try whether connections are redirected, and give the families in which they are.

    Raises:
        NotRedirectedError: they are not; it says which and why.
    """
    from interceptor.verify.istio_probe import validate

    config = session.config
    families = _FAMILIES[config.ip_families]
    outcome = validate(
        config.outbound_port,
        config.inbound_port,
        todo.probe_port,
        todo.probe_timeout,
        families,
        config.loopback_cidr,
        _proxy(config),
    )
    if not outcome.passed:
        raise NotRedirectedError(
            f"connections are not redirected: {'; '.join(outcome.failures)}",
            hint="are the rules in force in this pod, and is this the proxy's user? "
            "with CNI, the node may not be ready: delete the pod to have it made again",
        )
    names = " and ".join(FAMILY_NAMES[family] for family in families)
    tell(session, [f"connections are redirected, over {names}"])
    return [str(family) for family in families]


def _proxy(config: Config) -> Identity | None:
    """Give the user and group to become for the test, if this is not the proxy and can."""
    from interceptor.system import host
    from interceptor.verify.named import Identity

    uids, gids = config.proxy_uid.ids, config.proxy_gid.ids
    can = host.has_capability(host.CAP_SETUID) and host.has_capability(host.CAP_SETGID)
    if os.geteuid() in uids or not (uids and can):
        return None
    # Of several users only the first is redirected on its way back to its own pod.
    uid = uids.members[0].ranges[0][0]
    gid = gids.members[0].ranges[0][0] if gids else os.getegid()
    return Identity("proxy", uid, gid)


command = front_end("istio-iptables", run)
