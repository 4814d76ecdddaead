"""Sheets of meshes that are no more, held to their rules as written down by hand.

``pytest tests/unit/test_elders.py --update-goldens`` rewrites the goldens for nft.
"""

from __future__ import annotations

import re
from collections import Counter

import pytest

from interceptor.analysis.proof import Rules
from interceptor.analysis.properties import Property
from interceptor.analysis.prove import prove
from interceptor.backends.generations import sheet_left
from interceptor.dialect import ISTIO, OSM
from interceptor.errors import ConfigError
from interceptor.layers import DEFAULTS, Layer, resolve
from interceptor.model import Ruleset
from interceptor.names import Family
from interceptor.operations.intended import intent_of
from interceptor.parse import iptables_save
from interceptor.render import iptables, nftables
from interceptor.sheets.build import family_of
from interceptor.sheets.loader import load
from interceptor.sources import sheet_layer
from tests.lab import dumps
from tests.lab.elders import ELDERS, GOLDENS, Elder
from tests.unit.common import FACTS, rules


@pytest.mark.parametrize("family", Family.INET.members)
@pytest.mark.parametrize("name", ELDERS)
def test_the_rules_are_those_the_mesh_made(name: str, family: Family) -> None:
    elder = ELDERS[name]
    made = iptables.lower(rules(elder.sheet, **elder.settings), family)
    assert _by_chain(iptables.text(made)) == _by_chain("\n".join(elder.lines(family)))


def _by_chain(text: str) -> dict[str, list[str]]:
    """Give rules in order within their chains, without comments: tools order chains their way."""
    found: dict[str, list[str]] = {}
    for line in re.sub(r' -m comment --comment ("[^"]*"|\S+)', "", text).splitlines():
        if line.startswith("-A "):
            found.setdefault(line.split()[1], []).append(line)
    return found


@pytest.mark.parametrize("name", ELDERS)
def test_nft_text(name: str, request: pytest.FixtureRequest) -> None:
    elder, path = ELDERS[name], GOLDENS / f"{name}.nft"
    made = nftables.lower(rules(elder.sheet, **elder.settings), load(elder.sheet).dialect)
    if request.config.getoption("--update-goldens"):
        path.write_text(nftables.text(made))
    assert nftables.text(made) == path.read_text()


def test_no_golden_is_orphaned() -> None:
    assert {path.stem for path in GOLDENS.iterdir()} == set(ELDERS)


def test_every_option_has_a_case() -> None:
    for sheet in {elder.sheet for elder in ELDERS.values()}:
        given = [e.settings.get("options", "") for e in ELDERS.values() if e.sheet == sheet]
        assert all(any(f"{name}=" in text for text in given) for name in load(sheet).options)


@pytest.mark.parametrize("name", ELDERS)
def test_its_faults_are_these_and_no_others(name: str) -> None:
    elder = ELDERS[name]
    for found in _violations(elder):
        assert found == elder.breaks


@pytest.mark.parametrize("sheet", sorted({elder.sheet for elder in ELDERS.values()}))
def test_a_sheet_names_the_faults_it_has(sheet: str) -> None:
    seen = {broken for elder in ELDERS.values() if elder.sheet == sheet for broken in elder.breaks}
    assert seen == set(load(sheet).breaks)
    assert seen <= set(Property)


def _violations(elder: Elder) -> list[dict[str, int]]:
    """Count what is violated by property, in words, for both kernel languages."""
    sheet = load(elder.sheet)
    layers = [DEFAULTS, sheet_layer(sheet), Layer(elder.settings, lambda key: f"test: {key}")]
    config = resolve(layers).config
    policy = rules(elder.sheet, **elder.settings)
    families = family_of(config, FACTS).members
    tables = [t for family in families for t in iptables.lower(policy, family).tables]
    return [
        Counter(str(one.property) for one in {(v.property, v.says): v for v in found}.values())
        for lowered in (
            Rules(Ruleset(tuple(tables)), families, "iptables", policy=policy),
            Rules(nftables.lower(policy, sheet.dialect), families, "nftables", policy=policy),
        )
        if (found := prove(lowered, intent_of(config, sheet, FACTS))) is not None
    ]


@pytest.mark.parametrize(
    ("dump", "sheet"),
    [
        ("istio.ip", "istio"),
        ("istio-tproxy.ip", "istio"),
        ("istio-1.5.ip", "istio-1.5"),
        ("istio-0.1.ip", "istio-0.1"),
    ],
)
def test_istios_generations_are_told_apart(dump: str, sheet: str) -> None:
    own = iptables_save.parse(dumps.small(dump), Family.IP)
    assert sheet_left(ISTIO, own) == sheet


@pytest.mark.parametrize("name", [name for name in ELDERS if name.startswith("istio-1.5")])
def test_istio_1_5_is_known_whatever_it_was_given(name: str) -> None:
    lines = ELDERS[name].lines(Family.IP)
    own = dict.fromkeys(line.split()[1] for line in lines if line.startswith("-A ISTIO"))
    built_in = [":PREROUTING ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]"]
    declared = [*built_in, *(f":{chain} - [0:0]" for chain in own)]
    text = "\n".join(["*nat", *declared, *lines, "COMMIT", ""])
    assert sheet_left(ISTIO, iptables_save.parse(text, Family.IP)) == "istio-1.5"


def test_others_have_one_generation() -> None:
    assert sheet_left(OSM, iptables_save.parse(dumps.small("osm.ip"), Family.IP)) == "osm"


def test_one_port_serves_both_ways() -> None:
    assert rules("istio-0.1", inbound_port="16001", outbound_port="16001").tables
    with pytest.raises(ConfigError, match="one port serves both ways"):
        rules("istio-0.1", inbound_port="16001")
