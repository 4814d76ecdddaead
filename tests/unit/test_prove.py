"""Proofs: the shipped sheet holds for any settings, and each property is missed when broken."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings

from interceptor import model
from interceptor.analysis.directions import Direction
from interceptor.analysis.packet import Direct, Redirected, Transparent, Unknown
from interceptor.analysis.proof import Rules, Violation
from interceptor.analysis.properties import Property
from interceptor.analysis.prove import prove
from interceptor.analysis.walk import walk_received, walk_sent
from interceptor.model import Ruleset
from interceptor.names import Family, Hook
from interceptor.operations.intended import intent_of
from interceptor.operations.subject import configured
from interceptor.parse import dump
from interceptor.render import iptables, nftables
from interceptor.render.graph.draw import draw
from interceptor.render.graph.page import page
from interceptor.sheets.build import build, family_of
from interceptor.sheets.loader import load
from interceptor.values import Ids, Interfaces, Networks, Ports
from tests.lab.cases import CASES
from tests.properties import strategies
from tests.properties.test_analysis import Dice
from tests.unit.common import FACTS, config

if TYPE_CHECKING:
    from collections.abc import Callable

_DUMPS = Path(__file__).parent.parent / "lab" / "dumps"
SIDECAR = load("sidecar")


def proven(rules: Rules, sheet: str = "sidecar", **given_settings: str) -> tuple[Violation, ...]:
    """Prove rules of what settings want."""
    return prove(rules, intent_of(config(**given_settings), load(sheet), FACTS))


def both_forms(**chosen: str) -> list[Rules]:
    """Lower settings' rules for both kernel languages."""
    policy = build(SIDECAR, config(**chosen), FACTS)
    families = family_of(config(**chosen), FACTS).members
    tables = [t for family in families for t in iptables.lower(policy, family).tables]
    return [
        Rules(Ruleset(tuple(tables)), families, "iptables", policy=policy),
        Rules(nftables.lower(policy, SIDECAR.dialect), families, "nftables", policy=policy),
    ]


@pytest.mark.parametrize("case", CASES)
def test_the_sidecar_sheet_is_proven(case: str) -> None:
    for rules in both_forms(**CASES[case]):
        assert proven(rules, **CASES[case]) == ()


@settings(max_examples=60)
@given(strategies.settings)
def test_the_sidecar_sheet_is_proven_for_any_settings(chosen: dict[str, str]) -> None:
    strategies.rules(SIDECAR, chosen)
    for rules in both_forms(**chosen):
        assert proven(rules, **chosen) == ()


def test_ten_thousand_networks_are_proven() -> None:
    networks = ",".join(f"10.{n >> 8}.{n & 255}.0/25" for n in range(10_000))
    for rules in both_forms(exclude_outbound_cidrs=networks):
        assert proven(rules, exclude_outbound_cidrs=networks) == ()


_TCP = model.Protocol("tcp")
_LO = Interfaces(("lo",))


def _insert(chain: str, at: int, rule: model.Rule) -> Callable[[Ruleset], Ruleset]:
    return lambda ruleset: _changed(ruleset, chain, lambda old: (*old[:at], rule, *old[at:]))


def _remove(chain: str, at: int) -> Callable[[Ruleset], Ruleset]:
    return lambda ruleset: _changed(ruleset, chain, lambda old: (*old[:at], *old[at + 1 :]))


def _swap(chain: str, at: int) -> Callable[[Ruleset], Ruleset]:
    def swapped(old: tuple[model.Rule, ...]) -> tuple[model.Rule, ...]:
        return (*old[:at], old[at + 1], old[at], *old[at + 2 :])

    return lambda ruleset: _changed(ruleset, chain, swapped)


def _changed(
    ruleset: Ruleset,
    name: str,
    change: Callable[[tuple[model.Rule, ...]], tuple[model.Rule, ...]],
) -> Ruleset:
    """Change the rules of one chain."""
    replace = msgspec.structs.replace
    tables = [
        replace(
            table,
            chains=tuple(
                replace(chain, rules=change(chain.rules)) if chain.name == name else chain
                for chain in table.chains
            ),
        )
        for table in ruleset.tables
    ]
    assert tables != list(ruleset.tables), name
    return replace(ruleset, tables=tuple(tables))


def _without_routes(ruleset: Ruleset) -> Ruleset:
    return msgspec.structs.replace(ruleset, routing=())


def _lonely(ruleset: Ruleset) -> Ruleset:
    table = ruleset.tables[0]
    chains = (*table.chains, model.Chain("LONELY", (model.Rule(),)))
    return Ruleset((msgspec.structs.replace(table, chains=chains), *ruleset.tables[1:]))


_OUT, _IN, _PROXY = "INTERCEPTOR_OUTBOUND", "INTERCEPTOR_INBOUND", "INTERCEPTOR_PROXY"
_TO_OUT = model.Goto("INTERCEPTOR_OUT_REDIRECT")
_ONLY_IP6 = (model.FamilyIs(Family.IP6),)


@pytest.mark.parametrize(
    ("chosen", "breaks", "missed"),
    [
        ({}, _remove(_OUT, 0), Property.LOOP_FREE),
        ({}, _insert(_OUT, 0, model.Rule((), _TO_OUT)), Property.LOOP_FREE),
        ({}, _remove(_PROXY, 0), Property.LOOP_FREE),
        ({}, _remove(_PROXY, 1), Property.SELF_CALLS),
        ({}, _remove(_IN, 0), Property.EXCEPTIONS_HOLD),
        ({"exclude_outbound_uids": "7"}, _remove(_OUT, 2), Property.EXCEPTIONS_HOLD),
        ({"exclude_outbound_cidrs": "10.0.0.0/8"}, _remove(_OUT, 2), Property.EXCEPTIONS_HOLD),
        ({}, _remove(_IN, 1), Property.CAPTURE_TOTAL),
        (
            {},
            _insert(_OUT, 0, model.Rule((_TCP, model.DestinationPort(Ports.of(9))))),
            None,
        ),
        (
            {},
            _insert(
                _OUT, 0, model.Rule((_TCP, model.DestinationPort(Ports.of(9))), model.Return())
            ),
            Property.CAPTURE_TOTAL,
        ),
        (
            {},
            _insert("OUTPUT", 0, model.Rule((model.Protocol("udp"),), model.Drop())),
            Property.UNTOUCHED,
        ),
        ({}, _remove(_OUT, 2), Property.UNTOUCHED),
        (
            {},
            _insert(_IN, 0, model.Rule((*_ONLY_IP6, _TCP), model.Return())),
            Property.FAMILIES_ALIKE,
        ),
        (
            {"proxy_uid": "5,6"},
            _insert(_OUT, 0, model.Rule((model.Uid(Ids.of(6)),), _TO_OUT)),
            Property.IDS_ALIKE,
        ),
        (
            {"proxy_gid": "5,6"},
            _insert(_OUT, 0, model.Rule((model.Gid(Ids.of(6)),), _TO_OUT)),
            Property.IDS_ALIKE,
        ),
        ({"mode": "tproxy"}, _without_routes, Property.ROUTES_THERE),
        (
            {},
            _insert(_PROXY, 0, model.Rule((model.InInterface(_LO),), model.Return())),
            Property.NO_DEAD_RULE,
        ),
        (
            {},
            _insert(_OUT, 4, model.Rule((_TCP,), model.Return())),
            Property.NO_SHADOWED_RULE,
        ),
        ({}, _lonely, Property.NO_UNREACHABLE_CHAIN),
        (
            {},
            _insert(_OUT, 0, model.Rule((model.Unreadable("-m u32"),), model.Return())),
            Property.CAPTURE_TOTAL,
        ),
    ],
)
def test_a_broken_property_is_found(
    chosen: dict[str, str], breaks: Callable[[Ruleset], Ruleset], missed: Property | None
) -> None:
    policy = breaks(build(SIDECAR, config(**chosen), FACTS))
    rules = Rules(policy, Family.INET.members, "iptables")
    found = proven(rules, **chosen)
    properties = {one.property for one in found}
    assert (missed in properties) if missed else not found
    for one in found:
        if one.packet is not None:
            follow = walk_sent if one.direction is Direction.OUTBOUND else walk_received
            walked = follow(policy, one.packet, "iptables")
            assert walked.fate == one.found != one.wanted, "the counterexample is one"


def of_istio(**chosen: str) -> tuple[Violation, ...]:
    """Prove what istio-iptables makes of what the settings say."""
    sheet = load("istio")
    given_settings = {"exclude_inbound_ports": "15090,15021,15020", **chosen}
    for backend in ("iptables", "nftables"):
        subject = configured(config(backend=backend, **given_settings), sheet, FACTS)
        found = prove(subject.rules, intent_of(config(**given_settings), sheet, FACTS))
    return found


def test_of_istios_two_users_the_second_cannot_call_its_own_pod() -> None:
    found = of_istio(proxy_uid="3,4", proxy_gid="3,4")
    alike = next(one for one in found if one.property is Property.IDS_ALIKE)
    assert alike.says == "uid 4 is treated otherwise than uid 3"
    assert alike.packet is not None
    assert alike.packet.out_interface == "lo"
    calls = [one for one in found if one.property is Property.SELF_CALLS and one.packet]
    assert any(one.packet and one.packet.uid == 4 and one.found == Direct() for one in calls)


def test_istios_tproxy_leaves_the_tunnel_port_captured() -> None:
    tunnel = [
        one
        for one in of_istio(mode="tproxy")
        if one.property is Property.EXCEPTIONS_HOLD and one.direction is Direction.INBOUND
    ]
    assert {(one.packet.destination_port, one.found) for one in tunnel if one.packet} == {
        (15008, Transparent(15006))
    }
    redirected = [one for one in of_istio() if one.property is Property.EXCEPTIONS_HOLD]
    assert not redirected


def test_osms_rule_for_its_admin_port_is_dead() -> None:
    rules = Rules(dump.read((_DUMPS / "osm.ip").read_text()), (Family.IP,), has_routing=False)
    wanted = {"inbound_port": "15003", "proxy_uid": "1500", "proxy_gid": ""}
    found = proven(rules, **wanted)
    dead = [one.says for one in found if one.property is Property.NO_DEAD_RULE]
    assert len(dead) == 1
    assert "--dport 15000 -j ACCEPT" in dead[0]
    assert "rule 1 takes all it could match before it" in dead[0]


@pytest.mark.parametrize(
    ("name", "port"), [("stacked-istio-linkerd", 15001), ("stacked-linkerd-istio", 4140)]
)
def test_of_two_stacked_meshes_the_first_wins(name: str, port: int) -> None:
    ruleset = dump.read((_DUMPS / f"{name}.ip").read_text())
    packet: Any = proven_packet()
    assert walk_sent(ruleset, packet).fate == Redirected(port)


def proven_packet() -> Any:
    """Give what an app sends."""
    from tests.unit.test_walk import packet

    return packet()


def test_what_cannot_be_read_and_matters_is_unknown() -> None:
    policy = build(SIDECAR, config(), FACTS)
    unreadable = model.Rule((), model.UnreadableAction("NFQUEUE"))
    changed = _changed(policy, _IN, lambda old: (unreadable, *old))
    found = proven(Rules(changed, Family.INET.members, "iptables"))
    inbound = [one for one in found if one.direction is Direction.INBOUND]
    assert inbound
    assert all(one.is_unknown and isinstance(one.found, Unknown) for one in inbound)
    assert all(one.path == () or one.path[0].hook is Hook.PREROUTING for one in inbound)


def test_networks_of_one_family_alone_are_no_difference_of_families() -> None:
    chosen = {"exclude_outbound_cidrs": "10.0.0.0/8", "include_outbound_cidrs": "0.0.0.0/0"}
    assert Networks.parse(chosen["include_outbound_cidrs"]).ip6 == ()
    for rules in both_forms(**chosen):
        assert proven(rules, **chosen) == ()


@pytest.mark.parametrize("seed", range(20))
def test_any_rules_can_be_proven_and_drawn(seed: int) -> None:
    """Nothing crashes, and every counterexample is one."""
    for number in range(8):
        dice = Dice(seed * 100 + number)
        ruleset = dice.ruleset()
        for one in proven(Rules(ruleset, (dice.family,), has_routing=False)):
            if one.packet is not None and not one.is_unknown:
                assert one.found != one.wanted, one
        if not number:
            assert page(draw(ruleset)).startswith("<!DOCTYPE html>")
