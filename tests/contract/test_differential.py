"""What is foretold of a packet is what the kernel does with it: random rules, random packets.

``make test-long`` makes many more of both. What a disagreement prints begins with its seed;
``python -m tests.lab.differential RULE-PATH SEED`` does that configuration again.
"""

from __future__ import annotations

import os
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING

import msgspec
import pytest

from interceptor.model import Gid, Goto, Jump, Redirect, Return, Rule, SetZone, TProxy, Uid
from tests.lab.differential.compare import Disagreement, changed, rounds, seeds
from tests.lab.paths import IPTABLES_NFT, NFTABLES, RULE_PATHS, RulePath

if TYPE_CHECKING:
    from collections.abc import Callable

    from interceptor.model import Ruleset

pytestmark = pytest.mark.root

SEED = os.environ.get("DIFFERENTIAL_SEED", "interceptor")
PACKETS = int(os.environ.get("DIFFERENTIAL_PACKETS", "9000"))
"""On all rule paths together."""
_PER_PART = 5000
_PER_CONFIG = 50 if PACKETS < 10 * _PER_PART else 100
_ENOUGH = 6
"""Disagreements after which no more are looked for: each is waited for."""
_PARTS = -(-PACKETS // (_PER_PART * len(RULE_PATHS)))
"""Each in a test of its own, so that they spread over workers."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(_PARTS))
@pytest.mark.parametrize("path", RULE_PATHS, ids=str)
def test_the_kernel_does_what_is_foretold(path: RulePath, part: int) -> None:
    packets = -(-PACKETS // (_PARTS * len(RULE_PATHS)))
    seed = f"{SEED}/{path}/{part}"
    print(f"seed {seed}: {packets} packets, {_PER_CONFIG} for each configuration")
    wrong: list[Disagreement] = []
    fates: Counter[str] = Counter()
    with closing(rounds(path, seeds(seed), packets, _PER_CONFIG)) as done:
        for one in done:
            wrong += one.wrong
            fates += one.fates
            if len(wrong) >= _ENOUGH:
                break
    shown = "\n".join(map(str, wrong[:_ENOUGH]))
    assert not wrong, f"{len(wrong)} disagreements among {fates.total()} packets:\n{shown}"
    assert fates.total() == packets
    if packets >= 1000:
        assert set(fates) == {"Direct", "Redirected", "Transparent", "Dropped"}, fates


def _redirect_elsewhere(rule: Rule) -> Rule:
    if isinstance(rule.action, Redirect):
        return msgspec.structs.replace(rule, action=Redirect(rule.action.port ^ 1))
    return rule


def _hand_over_elsewhere(rule: Rule) -> Rule:
    if isinstance(rule.action, TProxy):
        return msgspec.structs.replace(rule, action=TProxy(rule.action.port ^ 1, rule.action.mark))
    return rule


def _other_zone(rule: Rule) -> Rule:
    if isinstance(rule.action, SetZone):
        return msgspec.structs.replace(rule, action=SetZone(rule.action.zone + 1))
    return rule


def _without_exceptions(rule: Rule) -> Rule | None:
    return None if isinstance(rule.action, Return) else rule


def _coming_back(rule: Rule) -> Rule:
    if isinstance(rule.action, Goto):
        return msgspec.structs.replace(rule, action=Jump(rule.action.chain))
    return rule


def _all_but_these(rule: Rule) -> Rule:
    return msgspec.structs.replace(
        rule,
        matches=tuple(
            msgspec.structs.replace(match, negated=not match.negated)
            if isinstance(match, Uid | Gid)
            else match
            for match in rule.matches
        ),
    )


@pytest.mark.parametrize("path", [NFTABLES, IPTABLES_NFT], ids=str)
@pytest.mark.parametrize(
    "change",
    [
        _redirect_elsewhere,
        _hand_over_elsewhere,
        _other_zone,
        _without_exceptions,
        _coming_back,
        _all_but_these,
    ],
)
def test_a_rule_that_is_told_wrongly_is_found_out(
    path: RulePath, change: Callable[[Rule], Rule | None]
) -> None:
    def told(rules: Ruleset) -> Ruleset:
        return changed(rules, change)

    with closing(rounds(path, seeds("wrong"), 2000, 50, told, patience_s=0.1)) as done:
        assert any(one.rules == "held" for found in done for one in found.wrong)
