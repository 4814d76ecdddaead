"""The sheets ``ambient`` and ``ambient-host`` say what Istio's own rules say, one for one.

Istio's are written down here apart from the sheets, by option and in their order, as lines of
iptables. Matches may stand in another order in a rule, and ``-m tcp`` without an option is none.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec
import pytest

from interceptor.analysis.properties import Property
from interceptor.analysis.prove import prove
from interceptor.model import LocalRoute, MarkRule
from interceptor.names import Family
from interceptor.operations.intended import intent_of
from interceptor.operations.subject import configured
from interceptor.parse import iptables_save
from interceptor.render import iptables, nftables
from interceptor.sheets.loader import load
from tests.lab.cases import GOLDENS
from tests.unit.common import FACTS, config_of, rules

if TYPE_CHECKING:
    from interceptor.model import Ruleset

_LOCALHOST = {Family.IP: "127.0.0.1/32", Family.IP6: "::1/128"}
_PROBE = {
    Family.IP: "169.254.7.127/32",
    Family.IP6: "fd16:9254:7127:1337:ffff:ffff:ffff:ffff/128",
}
_PROXYS, _NOT_PROXYS = "-m mark --mark 0x539/0xfff", "-m mark ! --mark 0x539/0xfff"
_RESTORED = "-j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff"

_JUMPS = """
-A PREROUTING -j ISTIO_PRERT
-A OUTPUT -j ISTIO_OUTPUT
"""
_RAW = f"""
*raw
{_JUMPS}
-A ISTIO_OUTPUT -p udp {_PROXYS} -m udp --dport 53 -j CT --zone 1
-A ISTIO_PRERT -p udp {_NOT_PROXYS} -m udp --sport 53 -j CT --zone 1
COMMIT
"""
_MANGLE = f"""
*mangle
{_JUMPS}
-A ISTIO_PRERT {_PROXYS} -j CONNMARK --set-xmark 0x111/0xfff
-A ISTIO_OUTPUT -m connmark --mark 0x111/0xfff {_RESTORED}
COMMIT
"""


def istios(family: Family, *, dns: bool = True, ingress: bool = False, virtual: str = "") -> str:
    """Write what Istio makes in a pod."""
    localhost, probe = _LOCALHOST[family], _PROBE[family]
    to_dns = "-j REDIRECT --to-ports 15053"
    lines = [_RAW if dns else "", _MANGLE, "*nat", _JUMPS]
    for name in filter(None, virtual.split(",")):
        lines += [
            f"-A ISTIO_PRERT -i {name} -p tcp -j REDIRECT --to-ports 15001",
            f"-A ISTIO_PRERT -i {name} -p tcp -j RETURN",
        ]
    if not ingress:
        lines.append(f"-A ISTIO_PRERT -s {probe} -p tcp -m tcp -j ACCEPT")
    lines.append(f"-A ISTIO_OUTPUT -d {probe} -p tcp -m tcp -j ACCEPT")
    if not ingress:
        lines.append(
            f"-A ISTIO_PRERT ! -d {localhost} -p tcp -m tcp ! --dport 15008 {_NOT_PROXYS} "
            "-j REDIRECT --to-ports 15006"
        )
    if dns:
        lines += [
            f"-A ISTIO_OUTPUT ! -o lo -p udp {_NOT_PROXYS} -m udp --dport 53 {to_dns}",
            f"-A ISTIO_OUTPUT ! -d {localhost} -p tcp -m tcp --dport 53 {_NOT_PROXYS} {to_dns}",
        ]
    lines += [
        "-A ISTIO_OUTPUT -p tcp -m mark --mark 0x111/0xfff -j ACCEPT",
        f"-A ISTIO_OUTPUT ! -d {localhost} -o lo -j ACCEPT",
        f"-A ISTIO_OUTPUT ! -d {localhost} -p tcp {_NOT_PROXYS} -j REDIRECT --to-ports 15001",
        "COMMIT",
    ]
    return "\n".join(lines)


_CASES: dict[str, tuple[dict[str, str], dict[str, object]]] = {
    "default": ({}, {}),
    "no-dns": ({"capture_dns": "off"}, {"dns": False}),
    "ingress": ({"mode": "none"}, {"ingress": True}),
    "virtual": ({"virtual_interfaces": "vnet0,vnet1"}, {"virtual": "vnet0,vnet1"}),
    "all-at-once": (
        {"mode": "none", "virtual_interfaces": "vnet0", "capture_dns": "off"},
        {"dns": False, "ingress": True, "virtual": "vnet0"},
    ),
}
_HOST = {"options": "probed_pods=10.1.0.1,10.1.0.9,fd01::1"}


def plain(text: str, family: Family) -> dict[str, list[tuple[frozenset[str], str]]]:
    """Give the rules of each chain as what they match and do."""
    tables = []
    for table in text.replace("-m tcp -j", "-j").split("COMMIT"):
        name, _, lines = table.strip().partition("\n")
        chains = dict.fromkeys(re.findall(r"(?:-A|-j) (PR\S+|O\S+|PO\S+|ISTIO\S+)", lines))
        declared = [f":{c} {'-' if c.startswith('ISTIO') else 'ACCEPT'} [0:0]" for c in chains]
        tables += [name, *declared, lines, "COMMIT"] if name else []
    return rules_of(iptables_save.parse("\n".join(tables), family))


def rules_of(ruleset: Ruleset) -> dict[str, list[tuple[frozenset[str], str]]]:
    """Give them of rules in the model; comments say nothing here."""
    return {
        f"{table.name} {chain.name}": [
            (frozenset(map(str, rule.matches)), str(rule.action)) for rule in chain.rules
        ]
        for table in ruleset.tables
        for chain in table.chains
        if chain.rules
    }


def built(
    sheet: str, family: Family, **settings: str
) -> dict[str, list[tuple[frozenset[str], str]]]:
    """Give the rules of each chain of ours, as iptables would print them."""
    text = iptables.text(iptables.lower(rules(sheet, **settings), family))
    return rules_of(iptables_save.parse(text, family))


@pytest.mark.parametrize("family", [Family.IP, Family.IP6])
@pytest.mark.parametrize("name", _CASES)
def test_the_rules_are_istios(name: str, family: Family) -> None:
    settings, options = _CASES[name]
    made = built("ambient", family, **settings)
    wanted = plain(istios(family, **options), family)  # type: ignore[arg-type]  # by name
    assert made == wanted


def test_a_node_is_istios_but_for_the_set_of_addresses() -> None:
    """Istio's has ``-m set --match-set istio-inpod-probes-v4 dst`` where ours has addresses."""
    for family, pods, source in (
        (Family.IP, ("10.1.0.1/32", "10.1.0.9/32"), "169.254.7.127"),
        (Family.IP6, ("fd01::1/128",), "fd16:9254:7127:1337:ffff:ffff:ffff:ffff"),
    ):
        snat = "-j SNAT --to-source"
        lines = [
            f"-A ISTIO_POSTRT -m owner --socket-exists -p tcp -d {pod} {snat} {source}"
            for pod in pods
        ]
        text = "\n".join(["*nat", "-A POSTROUTING -j ISTIO_POSTRT", *lines, "COMMIT"])
        assert built("ambient-host", family, **_HOST) == plain(text, family)


def test_the_routes_are_istios() -> None:
    assert set(rules("ambient").routing) == {
        made
        for family in Family.INET.members
        for made in (
            LocalRoute(family, 100),
            MarkRule(family, 0x111, 100, priority=32764, mask=0xFFF),
        )
    }
    assert not rules("ambient-host", **_HOST).routing


@pytest.mark.parametrize("name", [*_CASES, "host"])
def test_in_nft(name: str, request: pytest.FixtureRequest) -> None:
    sheet = "ambient-host" if name == "host" else "ambient"
    ruleset = rules(sheet, **(_HOST if name == "host" else _CASES[name][0]))
    path = GOLDENS / "ambient" / f"{name}.nft"
    text = nftables.text(nftables.lower(ruleset, load(sheet).dialect))
    if request.config.getoption("--update-goldens"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


def test_no_golden_is_orphaned() -> None:
    assert {path.stem for path in (GOLDENS / "ambient").iterdir()} == {*_CASES, "host"}


_DIRECT = "redirect to {} is wanted, and it is direct"
_SELF = f"the proxy calling its own pod counts as inbound: {_DIRECT.format(15006)}"
_MARKED = f"destinations that are captured: {_DIRECT.format(15001)}"
_LOCAL_DNS = f"DNS queries that are captured: {_DIRECT.format(15053)}"
_TWICE = 'inet nat ISTIO_PRERT rule {} "from within": rule {} takes all it could match before it'
_BROKEN = {
    "default": {_SELF: "self-calls", _MARKED: "capture-total", _LOCAL_DNS: "capture-total"},
    "no-dns": {_SELF: "self-calls", _MARKED: "capture-total"},
    "ingress": {_MARKED: "capture-total", _LOCAL_DNS: "capture-total"},
    "virtual": {
        _SELF: "self-calls",
        _MARKED: "capture-total",
        _LOCAL_DNS: "capture-total",
        **{_TWICE.format(n, n - 1): "no-shadowed-rule" for n in (2, 4)},
    },
}


@pytest.mark.parametrize("backend", ["iptables", "nftables"])
@pytest.mark.parametrize("name", _BROKEN)
def test_what_istio_breaks_is_known_and_no_more(name: str, backend: str) -> None:
    sheet = load("ambient")
    given = config_of("ambient", backend=backend, **_CASES[name][0])
    found = prove(configured(given, sheet, FACTS).rules, intent_of(given, sheet, FACTS))
    dead = [one for one in found if one.property is Property.NO_DEAD_RULE]
    others = [one for one in found if one not in dead]
    assert {one.says: str(one.property) for one in others} == _BROKEN[name]
    assert len(dead) == sum("shadowed" in what for what in _BROKEN[name].values())
    assert {one.family for one in others if one.packet} == set(Family.INET.members)
    assert {str(one.property) for one in found} <= set(sheet.breaks)


def test_only_marks_of_the_proxy_and_of_answers_escape() -> None:
    sheet, given = load("ambient"), config_of("ambient", capture_dns="off")
    found = prove(configured(given, sheet, FACTS).rules, intent_of(given, sheet, FACTS))
    marks = {one.packet.mark & 0xFFF for one in found if one.packet}
    assert marks == {0x539, 0x111}


def test_what_is_kept_for_probes_is_held_to_that() -> None:
    """Rules that capture them would not be proven, also where all else is as it is."""
    sheet, given = load("ambient"), config_of("ambient")
    subject = configured(given, sheet, FACTS)
    broken = msgspec.structs.replace(
        subject.rules.ruleset,
        tables=tuple(
            msgspec.structs.replace(
                table,
                chains=tuple(
                    msgspec.structs.replace(
                        chain, rules=tuple(r for r in chain.rules if "probes" not in r.why)
                    )
                    for chain in table.chains
                ),
            )
            for table in subject.rules.ruleset.tables
        ),
    )
    rules_without = msgspec.structs.replace(subject.rules, ruleset=broken, policy=None)
    found = prove(rules_without, intent_of(given, sheet, FACTS))
    kept = [one for one in found if one.property is Property.EXCEPTIONS_HOLD]
    assert {(one.family, one.direction) for one in kept} == {
        (family, way) for family in Family.INET.members for way in ("inbound", "outbound")
    }


def test_a_node_captures_nothing() -> None:
    sheet = load("ambient-host")
    given = config_of("ambient-host", **_HOST)
    assert not prove(configured(given, sheet, FACTS).rules, intent_of(given, sheet, FACTS))
