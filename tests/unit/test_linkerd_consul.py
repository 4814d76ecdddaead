"""The sheets ``linkerd`` and ``consul``: their text in nft, and what ``prove`` says of each.

``pytest tests/unit/test_linkerd_consul.py --update-goldens`` rewrites the texts.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from interceptor.analysis.proof import Rules
from interceptor.analysis.prove import prove
from interceptor.layers import DEFAULTS, Layer, resolve
from interceptor.model import Ruleset
from interceptor.operations.intended import intent_of
from interceptor.parse import nft_text
from interceptor.render import iptables, nftables
from interceptor.sheets.build import build, family_of
from interceptor.sheets.loader import load
from interceptor.sources import sheet_layer
from tests.unit.common import FACTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.analysis.proof import Violation

_GOLDENS = Path(__file__).parent.parent / "lab" / "goldens"
_DUAL = {"ip_families": "dual"}
CASES: dict[str, dict[str, str]] = {
    "linkerd": {},
    "linkerd-everything": {
        "proxy_uid": "2102,77",
        "proxy_gid": "2102",
        "include_inbound_ports": "8080,443",
        "exclude_inbound_ports": "4190,22",
        "exclude_inbound_cidrs": "10.1.0.0/16,192.0.2.1,fd00:1::/64",
        "exclude_outbound_ports": "3306,6000-8000",
    },
    "linkerd-twice": {"include_inbound_ports": "8080,4191"},
    "consul": {},
    "consul-dual": _DUAL,
    "consul-ipv6": {"ip_families": "ipv6"},
    "consul-everything": _DUAL
    | {
        "exclude_inbound_ports": "22000,22500",
        "exclude_outbound_ports": "443,22000-22010",
        "exclude_outbound_cidrs": "10.1.0.0/16,fd00:1::/64,192.0.2.1",
        "exclude_outbound_uids": "456,5996",
        "options": "dns_address=10.0.34.16,2001:db8::68",
    },
    "consul-twice": {"exclude_outbound_uids": "5995,5996"},
    "consul-dns": {"options": "dns_address=10.0.34.16"},
    "consul-dns-dual": _DUAL | {"options": "dns_address=2001:db8::68;dns_address_port=8600"},
    "consul-dns-port": {"options": "dns_address_port=8600"},
    "consul-dns-port-dual": _DUAL | {"options": "dns_address_port=8600"},
}


def proven(case: str) -> Iterator[tuple[str, tuple[Violation, ...]]]:
    """Prove a case in both kernel languages."""
    sheet = load(case.partition("-")[0])
    layer = Layer(CASES[case], lambda key: f"test: {key}")
    config = resolve([DEFAULTS, sheet_layer(sheet), layer]).config
    policy = build(sheet, config, FACTS)
    families = family_of(config, FACTS).members
    tables = [t for family in families for t in iptables.lower(policy, family).tables]
    intent = intent_of(config, sheet, FACTS)
    for language, lowered in (
        ("iptables", Ruleset(tuple(tables))),
        ("nftables", nftables.lower(policy, sheet.dialect)),
    ):
        yield language, prove(Rules(lowered, families, language, policy=policy), intent)


@pytest.mark.parametrize("case", CASES)
def test_text(case: str, request: pytest.FixtureRequest) -> None:
    sheet = load(case.partition("-")[0])
    layer = Layer(CASES[case], lambda key: f"test: {key}")
    config = resolve([DEFAULTS, sheet_layer(sheet), layer]).config
    lowered = nftables.lower(build(sheet, config, FACTS), sheet.dialect)
    path = _GOLDENS / f"{case}.nft"
    if request.config.getoption("--update-goldens"):
        path.write_text(nftables.text(lowered))
    assert nftables.text(lowered) == path.read_text()
    assert nft_text.parse(path.read_text()) == lowered


def test_no_golden_is_orphaned() -> None:
    kept = {path.stem for path in _GOLDENS.glob("*.nft")}
    assert {name for name in kept if name.startswith(("linkerd", "consul"))} == set(CASES)


_SELF = "self-calls: the proxy calling its own pod counts as inbound: redirect to {} is wanted"
_OUT = "redirect to 15001 is wanted"
_LINKERD = {f"{_SELF.format(4143)}, and it is direct"}
_CONSUL = {
    f"{_SELF.format(20000)}, and it is direct",
    "untouched: the app talking to its own pod: direct is wanted, and it is redirect to 15001",
}


def _queries(to: str, *, elsewhere: bool) -> set[str]:
    """Give what is violated where queries go to Consul; localhost's never were to be captured."""
    here = {
        f"loop-free: the proxy handing a connection to the app: direct is wanted, and it is {to}",
        f"loop-free: made by the proxy: direct is wanted, and it is {to}",
        f"exceptions-hold: users you excluded: direct is wanted, and it is {to}",
        f"untouched: the app talking to its own pod: direct is wanted, and it is {to}",
    }
    if not elsewhere:
        return here
    return here | {
        f"{_SELF.format(20000)}, and it is {to}",
        f"capture-total: destinations that are captured: {_OUT}, and it is {to}",
        f"untouched: what nobody asked to be captured: direct is wanted, and it is {to}",
    }


def _otherwise(over_ip: str) -> set[str]:
    return {f"families-alike: over IPv6 it is otherwise than over IPv4, where it is {over_ip}"}


def _twice(place: str, why: str, taker: int) -> set[str]:
    """Give what is violated by a rule that comes too late."""
    family = "inet" if place.startswith("PROXY") else "ip"
    says = f'{family} nat {place} "{why}": rule {taker} takes all it could match before it'
    return {f"no-dead-rule: {says}", f"no-shadowed-rule: {says}"}


_IP6_PORT = "dnat to [2001:db8::68]:8600"
VIOLATED: dict[str, set[str]] = {
    "linkerd": _LINKERD,
    "linkerd-everything": _LINKERD,
    "consul": _CONSUL,
    "consul-dual": _CONSUL,
    "consul-ipv6": _CONSUL,
    "consul-everything": _CONSUL
    | _queries("dnat to 10.0.34.16", elsewhere=True)
    | _queries("dnat to 2001:db8::68", elsewhere=True)
    | {
        f"exceptions-hold: destinations you excluded: direct is wanted, and it is dnat to {to}"
        for to in ("10.0.34.16", "2001:db8::68")
    },
    "consul-dns": _CONSUL | _queries("dnat to 10.0.34.16", elsewhere=True),
    "consul-dns-dual": _CONSUL | _queries(_IP6_PORT, elsewhere=True),
    "consul-dns-port": _CONSUL | _queries("dnat to 127.0.0.1:8600", elsewhere=False),
    # Of the two forms only the native one takes IPv4's.
    "consul-dns-port-dual in iptables": _CONSUL
    | _queries("dnat to [::1]:8600", elsewhere=False)
    | _otherwise("direct"),
    "consul-dns-port-dual in nftables": _CONSUL
    | _queries("dnat to [::1]:8600", elsewhere=False)
    | _queries("dnat to 127.0.0.1:8600", elsewhere=False),
    "linkerd-twice": _LINKERD
    | _twice("PROXY_INIT_REDIRECT rule 3", "to the inbound listener of the proxy", 1),
    "consul-twice": _CONSUL
    | _twice("CONSUL_PROXY_OUTPUT rule 3", "made by the proxy: its user", 2),
}


@pytest.mark.parametrize("case", CASES)
def test_what_prove_says(case: str) -> None:
    for language, violations in proven(case):
        says = {f"{one.property}: {one.says}" for one in violations}
        wanted = VIOLATED.get(case) or VIOLATED[f"{case} in {language}"]
        assert says == wanted, language
        assert {one.property for one in violations} <= set(load(case.partition("-")[0]).breaks)
