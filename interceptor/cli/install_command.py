"""``interceptor install``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interceptor.backends.install import Installed, install
from interceptor.cli.exits import DONE
from interceptor.cli.session import command
from interceptor.settings import Scope

if TYPE_CHECKING:
    from interceptor.cli.session import Session
    from interceptor.config import Config


def run(session: Session) -> int:
    """Put the rules in force, all of them or none.

    A second run with the same settings changes nothing. A run with others replaces the old rules
    by the new ones without a moment in which neither is in force.
    """
    with session.site() as site:
        done = install(session.config, session.sheet, site, session.deadline)
        if session.config.dry_run:
            _print_plan(session, done)
            return DONE
        session.printer.data(_facts(session, done), _lines(session, done))
        if session.config.verify:
            from interceptor.cli.verify_command import verify_and_print

            return verify_and_print(session, session.config, session.sheet)
    return DONE


def _facts(session: Session, done: Installed) -> dict[str, Any]:
    chains, rules = done.ruleset.counts
    return {
        "changed": done.changed,
        "dry_run": session.config.dry_run,
        "netns": session.config.netns,
        "backend": done.backend,
        "sheet": session.sheet.name,
        "families": [str(family) for family in done.family.members],
        "chains": chains,
        "rules": rules,
        "removed_from": list(done.removed_from),
        "steps": [{"argv": list(s.argv), "stdin": s.stdin} for s in done.steps],
    }


def _lines(session: Session, done: Installed) -> list[str]:
    if not done.changed:
        return [f"already in place in {session.place}: {session.sheet.name} on {done.backend}"]
    lines = [
        f"installed in {session.place}: {_what(session, done)}",
        f"  inbound   {_inbound(session.config)}",
        f"  outbound  {_outbound(session.config)}",
        f"  exempt    {_proxy(session.config)}",
    ]
    lines += [f"  removed what was there in {name}" for name in done.removed_from]
    return lines


def _what(session: Session, done: Installed) -> str:
    chains, rules = done.ruleset.counts
    families = " and ".join({"ip": "IPv4", "ip6": "IPv6"}[f] for f in done.family.members)
    sheet = session.sheet.name
    return f"{sheet} on {done.backend}, {families}, {chains} chains, {rules} rules"


def _inbound(config: Config) -> str:
    if not config.include_inbound_ports:
        return "not captured"
    ports = config.include_inbound_ports
    which = "every port" if ports.is_everything else f"ports {ports}"
    excluded = f", excluded {config.exclude_inbound_ports}" if config.exclude_inbound_ports else ""
    return f"{which} to {config.inbound_port}{excluded}"


def _outbound(config: Config) -> str:
    parts = []
    if config.include_outbound_cidrs.is_everything:
        parts.append("every address")
    elif config.include_outbound_cidrs:
        parts.append(_short(str(config.include_outbound_cidrs)))
    if config.include_outbound_ports:
        parts.append(f"ports {config.include_outbound_ports}")
    if not parts:
        return "not captured"
    excluded = [
        _short(str(value))
        for value in (
            config.exclude_outbound_ports,
            config.exclude_outbound_cidrs,
            config.exclude_outbound_uids,
        )
        if value
    ]
    tail = f", excluded {' '.join(excluded)}" if excluded else ""
    return f"{' and '.join(parts)} to {config.outbound_port}{tail}"


def _proxy(config: Config) -> str:
    named = [("uid", config.proxy_uid), ("gid", config.proxy_gid), ("mark", config.exempt_mark)]
    return "the proxy, " + " or ".join(f"{name} {value}" for name, value in named if value)


def _short(text: str, most: int = 60) -> str:
    return (
        text
        if len(text) <= most
        else f"{text[:most].rpartition(',')[0]},... ({text.count(',') + 1})"
    )


def _print_plan(session: Session, done: Installed) -> None:
    lines: list[str] = []
    for step in done.steps:
        lines += [f"# {' '.join(step.argv)}", step.stdin.rstrip("\n")]
    lines += [f"# remove what is there in {name}" for name in done.removed_from]
    session.printer.data(_facts(session, done), lines or ["# nothing to do: already in place"])


command = command("install", (Scope.POLICY, Scope.HOST, Scope.RUN, Scope.INSTALL))(run)
