"""``interceptor install``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interceptor.cli.exits import DONE
from interceptor.cli.session import command
from interceptor.cli.summary import remarks, sockets_as_data, summary
from interceptor.operations.install import Installed, install
from interceptor.operations.select import EBPF
from interceptor.settings import Scope

if TYPE_CHECKING:
    from interceptor.cli.session import Session


def run(session: Session) -> int:
    """Put the rules in force, all of them or none.

    A second run with the same settings changes nothing. A run with others replaces the old rules
    by the new ones without a moment in which neither is in force.
    """
    with session.site() as site:
        done = install(session.config, session.sheet, site, session.deadline)
        for remark in remarks(done):
            session.printer.talk(remark)
        if session.config.dry_run:
            session.printer.data(_as_data(session, done), _plan(done))
            return DONE
        if not session.config.verify:
            session.printer.data(
                _as_data(session, done), summary(session.config, session.place, done)
            )
            return DONE
        from interceptor.cli.verify_command import print_verified, verified_as_data, verify_policy

        held = (site.observed(done.backend),)
        sockets = done.ruleset.sockets if done.backend == EBPF else None
        verified = verify_policy(session, session.config, session.sheet, held, sockets)
        facts = {**_as_data(session, done), "verified": verified_as_data(verified)}
        session.printer.data(facts, summary(session.config, session.place, done))
    return print_verified(session, verified)


def _as_data(session: Session, done: Installed) -> dict[str, Any]:
    return {
        "changed": done.changed,
        "dry_run": session.config.dry_run,
        "netns": session.config.netns,
        "backend": done.backend,
        "sheet": session.sheet.name,
        "families": [str(family) for family in done.family.members],
        "chains": done.chains,
        "rules": done.rules,
        "sockets": sockets_as_data(done.enforced) if done.enforced else None,
        "removed_from": list(done.removed_from),
        "passed_over": list(done.passed_over),
        "shadowed": [
            {"kind": str(rule.kind), "where": rule.where, "what": rule.what}
            for rule in done.shadowed
        ],
        "warnings": list(done.warnings),
        "steps": [step.describe() for step in done.steps],
    }


def _plan(done: Installed) -> list[str]:
    lines: list[str] = []
    for step in done.steps:
        said = step.describe()
        argv = said["argv"]
        if isinstance(argv, list) and argv:
            lines.append(f"# {' '.join(argv)}")
        lines.append(str(said["stdin"]).rstrip("\n"))
    lines += [f"# remove what is there in {name}" for name in done.removed_from]
    return lines or ["# nothing to do: already in place"]


command = command("install", (Scope.POLICY, Scope.HOST, Scope.PLACE, Scope.RUN, Scope.INSTALL))(
    run
)
