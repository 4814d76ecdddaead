"""Differences of two rulesets: all of them, none twice, in few words, and true."""

from __future__ import annotations

import msgspec
import pytest

from interceptor.analysis.compare import Change, compare
from interceptor.analysis.directions import Direction
from interceptor.analysis.proof import Rules
from interceptor.analysis.walk import walk_received, walk_sent
from interceptor.names import Family
from tests.properties.test_analysis import Dice
from tests.unit.common import rules

_BOTH = Family.INET.members


def changes(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Compare what settings mean, in words."""
    one, other = (Rules(rules(**chosen), _BOTH, "nftables") for chosen in (before, after))
    return [_words(change) for change in compare(one, other)]


def _words(change: Change) -> str:
    over = "" if len(change.families) == 2 else f" {change.families[0]}"
    return f"{change.direction}{over} {change.where}: {change.before} → {change.after}"


_APP = "from uid not 1337 from gid not 1337"
_NO_KEPT = "port not 22, 15008, 15020-15021, 15090"


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ({}, {}, []),
        ({"exclude_inbound_ports": "22"}, {}, []),
        (
            {},
            {"exclude_outbound_cidrs": "10.0.0.0/8"},
            [f"outbound ip tcp to 10.0.0.0/8 {_APP} out by not lo: redirect to 15001 → direct"],
        ),
        (
            {},
            {"exclude_outbound_cidrs": "10.0.0.0/8,fd00::/8", "exclude_outbound_ports": "5-9"},
            [
                f"outbound ip tcp to 10.0.0.0/8 {_APP} out by not lo: redirect to 15001 → direct",
                f"outbound tcp port 5-9 {_APP} out by not lo: redirect to 15001 → direct",
                f"outbound ip6 tcp to fd00::/8 {_APP} out by not lo: redirect to 15001 → direct",
            ],
        ),
        (
            {"proxy_gid": ""},
            {"proxy_gid": "", "exclude_outbound_uids": "7"},
            ["outbound tcp from uid 7 out by not lo: redirect to 15001 → direct"],
        ),
        ({}, {"include_inbound_ports": ""}, None),
        (
            {},
            {"exclude_interfaces": "eth1"},
            [
                f"inbound tcp {_NO_KEPT} in by eth1: redirect to 15006 → direct",
                f"outbound tcp {_APP} out by eth1: redirect to 15001 → direct",
            ],
        ),
        (
            {},
            {"drop_invalid": "true"},
            [
                "inbound that conntrack calls INVALID: direct → drop",
                "outbound out by lo that conntrack calls INVALID: direct → drop",
            ],
        ),
        (
            {"inbound_port": "15007"},
            {},
            None,
        ),
    ],
)
def test_differences_in_words(
    before: dict[str, str], after: dict[str, str], found: list[str] | None
) -> None:
    told = changes(before, after)
    if found is None:
        assert told
    else:
        assert sorted(told) == sorted(found)
    assert len(changes(after, before)) == len(told)


def test_only_one_family_intercepted() -> None:
    one = Rules(rules(), _BOTH)
    other = Rules(rules(ip_families="ipv4"), (Family.IP,))
    found = compare(one, other)
    assert {change.families for change in found} == {(Family.IP6,)}
    assert {change.direction for change in found} == {*Direction}


@pytest.mark.parametrize("seed", range(12))
def test_every_example_is_one_and_every_difference_is_told(seed: int) -> None:
    for number in range(6):
        dice = Dice(seed * 100 + number)
        family = dice.family
        one, other = dice.ruleset(), dice.ruleset()
        found = compare(Rules(one, (family,)), Rules(other, (family,)))
        for change in found:
            follow = walk_sent if change.direction is Direction.OUTBOUND else walk_received
            fates = [str(follow(ruleset, change.example).fate) for ruleset in (one, other)]
            assert change.before.startswith(fates[0]) or "unknown" in fates[0] + change.before
            assert change.after.startswith(fates[1]) or "unknown" in fates[1] + change.after
        if not found:
            for _ in range(20):
                packet = msgspec.structs.replace(
                    dice.packet(is_sent=True),
                    connection_mark=0,
                    state="NEW",
                    uid=7,
                    gid=7,
                    out_interface="lo",
                )
                assert walk_sent(one, packet).fate == walk_sent(other, packet).fate
