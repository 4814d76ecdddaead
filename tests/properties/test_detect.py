"""From the rules that random settings make, the settings are found back, in both languages."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from interceptor.detection.detect import detect
from interceptor.detection.found import Layer, Verdict
from interceptor.detection.pattern import intercepts
from interceptor.errors import InterceptorError
from interceptor.layers import DEFAULTS, resolve
from interceptor.layers import Layer as SettingsLayer
from interceptor.model import Ruleset
from interceptor.operations.detect import known_sheets
from interceptor.parse import iptables_save, nft_text
from interceptor.render import iptables, nftables
from interceptor.sheets.build import build, family_of
from interceptor.sheets.loader import load
from interceptor.sources import sheet_layer
from tests.lab.differential import configs
from tests.unit.common import FACTS

if TYPE_CHECKING:
    from interceptor.names import Family

_SHEETS = known_sheets()


def _once(text: str) -> str:
    """Write each member of a list once: what is there twice is found once."""
    return ",".join(dict.fromkeys(text.split(",")))


@pytest.mark.parametrize("language", [iptables.LANGUAGE, nftables.LANGUAGE])
@settings(max_examples=25)
@given(seed=st.integers(0, 2**32))
@example(seed=2774)
@example(seed=44)
def test_settings_are_found_back(seed: int, language: str) -> None:
    chosen = {key: _once(text) for key, text in configs.settings(Random(seed)).items()}
    # Of networks of the other family alone nothing is seen.
    chosen.pop("ip_families", None)
    sheet = load(chosen["sheet"])
    layers = [DEFAULTS, sheet_layer(sheet), SettingsLayer(chosen, lambda key: key)]
    try:
        config = resolve(layers).config
        policy = build(sheet, config, FACTS)
        said = _said(policy, language, sheet.name, family_of(config, FACTS).members)
    except InterceptorError:
        assume(False)  # noqa: FBT003 - Hypothesis' own way
    assume(any(intercepts(r.action) for t in said.tables for c in t.chains for r in c.rules))
    detected = detect([Layer(language, language, said.tables)], _SHEETS, policy.routing)
    assert [(one.sheet, one.verdict) for one in detected.found] == [(sheet.name, Verdict.SAME)]
    found = SettingsLayer({"sheet": sheet.name, **detected.found[0].settings}, lambda key: key)
    again = build(sheet, resolve([*layers[:2], found]).config, FACTS)
    families = detected.found[0].families
    assert _said(again, language, sheet.name, families) == said


def _said(policy: Ruleset, language: str, sheet: str, families: tuple[Family, ...]) -> Ruleset:
    if language == nftables.LANGUAGE:
        return nft_text.parse(nftables.text(nftables.lower(policy, load(sheet).dialect)))
    tables = [
        table
        for family in families
        for table in iptables_save.parse(
            iptables.text(iptables.lower(policy, family, verbatim=load(sheet).verbatim)), family
        ).tables
    ]
    return Ruleset(tuple(tables))
