"""Is what the kernel holds still what was meant?"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from interceptor.backends.drift import Finding, Kind
from interceptor.sheets.build import build, family_of
from interceptor.system import facts

if TYPE_CHECKING:
    from interceptor.backends.site import Site
    from interceptor.config import Config
    from interceptor.names import Family
    from interceptor.sheets.sheet import Sheet


class State(StrEnum):
    """The answer in one word."""

    IN_SYNC = "in-sync"
    DRIFTED = "drifted"
    ABSENT = "absent"


class Status(msgspec.Struct, frozen=True):
    """The answer and its reasons; ``chains`` and ``rules`` count what of ours is there.

    ``unseen`` says what could not be looked at, and why: nothing there is then not certain.
    """

    state: State
    backend: str = ""
    family: Family | None = None
    version: str = ""
    chains: int = 0
    rules: int = 0
    findings: tuple[Finding, ...] = ()
    unseen: tuple[str, ...] = ()


def status(config: Config, sheet: Sheet, site: Site) -> Status:
    """Compare what is there with what a configuration means, in the backend that holds it.

    The record of the installation is not compared: it says what was meant, and is no rule.
    """
    holders = site.holders()
    if not holders:
        return Status(State.ABSENT, unseen=site.unseen())
    name = holders[0]
    backend = site.backend(name)
    here = facts.observe(config)
    held = site.rules(name)
    target = backend.target(build(sheet, config, here))
    findings = [
        Finding(Kind.STACKED, other, f"rules of ours beside those in {name}")
        for other in holders[1:]
    ]
    findings += backend.findings(target, site.without_record(site.observed(name)))
    record = site.record(name)
    chains, rules = held.counts
    return Status(
        State.DRIFTED if findings else State.IN_SYNC,
        name,
        family_of(config, here),
        record.version if record else "",
        chains,
        rules,
        tuple(findings),
    )
