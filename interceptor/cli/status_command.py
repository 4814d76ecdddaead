"""``interceptor status``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interceptor.backends.status import State, Status, status
from interceptor.cli.exits import DONE, FOUND
from interceptor.cli.session import command
from interceptor.settings import Scope

if TYPE_CHECKING:
    from interceptor.cli.session import Session
    from interceptor.config import Config


def run(session: Session) -> int:
    """Say whether what is in force is still what was meant.

    Without settings it compares with what was recorded at install; with any, with those. Exit
    code 3 means that rules are missing, changed, out of order, or not there at all.
    """
    with session.site(shared=True) as site:
        config, sheet, compared_with = session.installed(site)
        found = status(config, sheet, site)
    session.printer.data(
        _facts(found, config, sheet.name, compared_with),
        _lines(session, found, sheet.name, compared_with),
    )
    for what in found.unseen:
        session.printer.talk(f"not looked at: {what}")
    return DONE if found.state is State.IN_SYNC else FOUND


def _facts(found: Status, config: Config, sheet: str, compared_with: str) -> dict[str, Any]:
    return {
        "state": str(found.state),
        "netns": config.netns,
        "backend": found.backend or None,
        "sheet": sheet,
        "version": found.version or None,
        "families": [str(family) for family in found.family.members] if found.family else [],
        "chains": found.chains,
        "rules": found.rules,
        "compared_with": compared_with,
        "unseen": list(found.unseen),
        "findings": [
            {"kind": str(f.kind), "where": f.where, "what": f.what} for f in found.findings
        ],
    }


def _lines(session: Session, found: Status, sheet: str, compared_with: str) -> list[str]:
    if found.state is State.ABSENT:
        return [f"absent: nothing of ours in {session.place}"]
    head = (
        f"{found.state}: {sheet} on {found.backend} in {session.place}, "
        f"{found.chains} chains, {found.rules} rules, compared with {compared_with}"
    )
    return [head, *(f"  {finding}" for finding in found.findings)]


command = command("status", (Scope.POLICY, Scope.RUN))(run)
