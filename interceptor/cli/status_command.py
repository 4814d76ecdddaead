"""``interceptor status``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interceptor.cli.exits import DONE, FOUND
from interceptor.cli.session import command
from interceptor.cli.summary import size, sockets_as_data
from interceptor.operations.status import State, Status, status
from interceptor.settings import Scope

if TYPE_CHECKING:
    from interceptor.backends.drift import Finding
    from interceptor.cli.session import Session
    from interceptor.operations.policy import Policy


def run(session: Session) -> int:
    """Say whether what is in force is still what was meant.

    Without settings it compares with what was recorded at install; with any, with those. Exit
    code 3 means that rules are missing, changed, out of order, not there at all, or out of sight.

    On eBPF it shows how often each reason decided, since the pod was first installed.
    """
    with session.site(shared=True) as site:
        policy = session.policy(site)
        found = status(policy, site)
    session.printer.data(_as_data(found, policy), _lines(session, found, policy))
    for what in found.unseen:
        session.printer.talk(f"not looked at: {what}")
    return DONE if found.state is State.IN_SYNC else FOUND


def _as_data(found: Status, policy: Policy) -> dict[str, Any]:
    return {
        "state": str(found.state),
        "netns": policy.config.netns,
        "backend": found.backend or None,
        "sheet": policy.sheet.name,
        "version": found.version or None,
        "families": [str(family) for family in found.family.members] if found.family else [],
        "chains": found.chains,
        "rules": found.rules,
        "sockets": sockets_as_data(found.enforced) if found.enforced else None,
        "decisions": found.decisions,
        "compared_with": policy.origin,
        "unseen": list(found.unseen),
        "findings": _listed(found.findings),
        "noted": _listed(found.noted),
    }


def _listed(findings: tuple[Finding, ...]) -> list[dict[str, str]]:
    return [{"kind": str(f.kind), "where": f.where, "what": f.what} for f in findings]


def _lines(session: Session, found: Status, policy: Policy) -> list[str]:
    if found.state is State.ABSENT:
        return [f"absent: nothing of ours in {session.place}"]
    if not found.backend:
        head = f"{found.state} in {session.place}:"
        return [head, *(f"  {finding}" for finding in found.findings)]
    head = (
        f"{found.state}: {policy.sheet.name} on {found.backend} in {session.place}, "
        f"{size(found.chains, found.rules, found.enforced)}, compared with {policy.origin}"
    )
    return [
        head,
        *(f"  {finding}" for finding in found.findings),
        *(f"  since before install: {finding}" for finding in found.noted),
        *_decided(found.decisions or {}),
    ]


def _decided(counts: dict[str, int]) -> list[str]:
    """Say how often each reason decided, the commonest first."""
    width = max((len(str(count)) for count in counts.values()), default=0)
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return [f"  decided  {count:>{width}} {reason}" for reason, count in ordered]


command = command("status", (Scope.POLICY, Scope.PLACE, Scope.RUN))(run)
