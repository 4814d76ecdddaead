"""``interceptor istio-iptables``: Istio's own command line in front of ours."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click
import msgspec

from interceptor.cli.exits import DONE, UNVERIFIED
from interceptor.cli.session import Session
from interceptor.config import OWN_NETNS, BackendChoice, DnsCapture, FamilyChoice
from interceptor.errors import ConfigError, InterceptorError, OutputError
from interceptor.istio import pflag
from interceptor.istio.command_line import parse
from interceptor.istio.translate import (
    SHEET,
    Facts,
    dns_capture,
    named_accounts,
    run_of,
    run_settings,
    translate,
)
from interceptor.layers import DEFAULTS, Layer, resolve
from interceptor.names import FAMILY_NAMES, Family
from interceptor.sheets import loader
from interceptor.sources import sheet_layer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from interceptor.config import Config
    from interceptor.istio.command_line import Given
    from interceptor.istio.translate import Run
    from interceptor.verify.named import Identity


_RESTORE = {Family.IP: "iptables-restore", Family.IP6: "ip6tables-restore"}
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
    if pflag.wants_help(argv):
        from interceptor.istio.help import help_text

        click.echo(help_text())
        return DONE
    given = parse(argv, os.environ)
    todo = run_of(given)
    if todo.cleanup_only:
        return _clean_up(_session(run_settings(given), {}), todo)
    _enter(todo.network_namespace)
    translation = translate(given, _facts(given))
    session = _session(translation.settings, translation.origins)
    try:
        return _run(session, translation.run)
    except ConfigError as error:
        if not error.key:
            raise
        raise error.at(session.resolved.origins[error.key]) from error


def _session(settings: Mapping[str, str], origins: Mapping[str, str]) -> Session:
    sheet = loader.load(SHEET)
    layer = Layer(settings, lambda key: origins.get(key, key), given=True)
    return Session(resolve([DEFAULTS, sheet_layer(sheet), layer]), sheet)


def _run(session: Session, todo: Run) -> int:
    for note in todo.notes:
        session.printer.talk(f"note: {note}")
    if todo.dry_run:
        _print_rules(session, todo)
        return DONE
    facts: dict[str, Any] = {"sheet": SHEET, "changed": False}
    if not todo.skip_rule_apply:
        facts |= _install(session, todo)
    if todo.run_validation:
        facts["redirected"] = _validate(session, todo)
    session.printer.json_or_nothing(facts)
    return DONE


def _install(session: Session, todo: Run) -> dict[str, Any]:
    """Put the rules in force and tell a person; give the facts."""
    from interceptor.cli.summary import remarks, summary
    from interceptor.operations.install import install

    # Whoever takes its place does what it does, its faults included.
    config = msgspec.structs.replace(session.config, unproven=True)
    with session.site() as site:
        done = install(config, session.sheet, site, session.deadline, anew=todo.force_apply)
    for remark in remarks(done):
        session.printer.talk(remark)
    _tell(session, summary(config, session.place, done))
    return {
        "changed": done.changed,
        "backend": done.backend,
        "families": [str(family) for family in done.family.members],
        "chains": done.chains,
        "rules": done.rules,
        "removed_from": list(done.removed_from),
        "passed_over": list(done.passed_over),
    }


def _tell(session: Session, lines: Sequence[str]) -> None:
    """Print lines for a person; who wants JSON gets one object at the end."""
    if not session.printer.is_json:
        session.printer.data({}, lines)


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


def _print_rules(session: Session, todo: Run) -> None:
    """Print the rules as text for the kernel's tools, and what is done beside them."""
    texts, routing = _rules(session)
    lines: list[str] = []
    for tool, text in texts.items():
        lines += [f"# {tool}", text.rstrip("\n")]
    lines += [f"# {line}" for line in routing]
    if todo.dry_run_file:
        try:
            with open(todo.dry_run_file, "w", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in lines)
        except OSError as error:
            raise OutputError(
                f"DRY_RUN_FILE_PATH: {todo.dry_run_file} cannot be written: {error.strerror}",
                hint="give the path of a file that can be, or leave it out",
            ) from None
    facts = {"dry_run": True, "sheet": SHEET, "texts": texts, "routing": list(routing)}
    session.printer.data(facts, lines)


def _rules(session: Session) -> tuple[dict[str, str], list[str]]:
    """Give the text for each tool, and what else packets need."""
    from interceptor.sheets.build import build, family_of
    from interceptor.system import host

    config, dialect = session.config, session.sheet.dialect
    facts = host.observe(config)
    ruleset = build(session.sheet, config, facts)
    texts = {}
    if config.backend is BackendChoice.NFTABLES:
        from interceptor.render import nftables

        texts["nft -f -"] = nftables.text(nftables.lower(ruleset, dialect))
    else:
        from interceptor.render import iptables

        for family in family_of(config, facts).members:
            lowered = iptables.lower(ruleset, family, verbatim=dialect.verbatim)
            texts[_RESTORE[family]] = iptables.text(lowered)
    return texts, [str(one) for one in ruleset.routing]


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
    _tell(session, [f"connections are redirected, over {names}"])
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


class _IstiosCommand(click.Command):
    """A command whose words click does not look at."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Leave all to the callback."""
        ctx.params = {"argv": tuple(args)}
        return []


command = _IstiosCommand("istio-iptables", callback=run, help=run.__doc__, add_help_option=False)
