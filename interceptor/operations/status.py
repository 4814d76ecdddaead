"""Is what the kernel holds still what was meant?"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from interceptor.backends.drift import Finding, Kind
from interceptor.backends.overtake import overtaking
from interceptor.backends.shadow import fingerprint
from interceptor.model import Ruleset
from interceptor.operations.select import EBPF
from interceptor.record import without_record
from interceptor.sheets.build import build, family_of
from interceptor.system import host

if TYPE_CHECKING:
    from interceptor.facts import HostFacts
    from interceptor.model.pod_config import SocketPolicy
    from interceptor.names import Family
    from interceptor.operations.policy import Policy
    from interceptor.operations.site import Site
    from interceptor.record import Record


class State(StrEnum):
    """The answer in one word."""

    IN_SYNC = "in-sync"
    DRIFTED = "drifted"
    ABSENT = "absent"
    UNCERTAIN = "uncertain"
    """Rules of ours are, or may be, where this process cannot look."""


class Status(msgspec.Struct, frozen=True):
    """The answer and its reasons; ``chains`` and ``rules`` count what of ours is there.

    ``noted`` are rules of others that decide before ours and did so at install already.
    ``unseen`` says what could not be looked at, and why: nothing there is then not certain.
    At sockets there are no chains: ``enforced`` is what there is, and ``decisions`` how often each
    reason decided since a policy was first put in force.
    """

    state: State
    backend: str = ""
    family: Family | None = None
    version: str = ""
    chains: int = 0
    rules: int = 0
    findings: tuple[Finding, ...] = ()
    noted: tuple[Finding, ...] = ()
    unseen: tuple[str, ...] = ()
    enforced: SocketPolicy | None = None
    decisions: dict[str, int] | None = None


def status(policy: Policy, site: Site, *, facts: HostFacts | None = None) -> Status:
    """Compare what is there with what a policy means, in the backend that holds it.

    ``facts`` are for whoever knows more of the pod than can be seen from here.

    The record of the installation is not compared: it says what was meant, and is no rule.
    """
    holders = site.holders()
    hidden = site.hidden()
    findings = [Finding(Kind.UNSEEN, name, error.message) for name, error in hidden.items()]
    if not holders:
        # Beside rules that are out of sight, what is there may be meant.
        left = () if hidden else site.routing.findings(Ruleset(), site.routed)
        if left:
            return Status(State.DRIFTED, findings=left, unseen=site.unseen())
        state = State.UNCERTAIN if hidden else State.ABSENT
        return Status(state, findings=tuple(findings), unseen=site.unseen())
    name, *others = holders
    backend = site.backend(name)
    here = facts or host.observe(policy.config)
    if name == EBPF and here.pod is None:
        here = msgspec.structs.replace(here, pod=host.pod(policy.config))
    ruleset = build(policy.sheet, policy.config, here)
    target = backend.target(ruleset, policy.sheet.dialect)
    findings += [
        Finding(Kind.STACKED, other, f"rules of ours beside those in {name}") for other in others
    ]
    findings += backend.findings(target, without_record(site.observed(name)))
    findings += site.routing.findings(ruleset, site.routed)
    findings += overtaking(target, site.others.beside(name, target))
    record = site.record(name)
    noted = [finding for finding in findings if _was_met(finding, record)]
    findings = [finding for finding in findings if finding not in noted]
    chains, rules = without_record(site.own(name)).counts
    return Status(
        _state(findings),
        name,
        family_of(policy.config, here),
        record.version if record else "",
        chains,
        rules,
        tuple(findings),
        tuple(noted),
        site.others.unlisted,
        site.own(name).sockets,
        site.decisions() if name == EBPF else None,
    )


def _was_met(finding: Finding, record: Record | None) -> bool:
    if finding.kind is not Kind.FOREIGN_BEFORE or record is None:
        return False
    return fingerprint(finding) in record.met


def _state(findings: list[Finding]) -> State:
    if any(finding.kind is not Kind.UNSEEN for finding in findings):
        return State.DRIFTED
    return State.UNCERTAIN if findings else State.IN_SYNC
