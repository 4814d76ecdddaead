"""The exact text of each renderer, for configurations that touch everything there is.

``pytest tests/unit/test_goldens.py --update-goldens`` rewrites them; read the difference.
"""

from __future__ import annotations

import inspect

import pytest

from interceptor import model
from interceptor.dialect import OWN
from interceptor.model import Match, Ruleset
from interceptor.names import Family
from interceptor.parse import iptables_save
from interceptor.render import iptables, nftables
from interceptor.settings import SETTINGS, Scope
from tests.lab.cases import CASES, GOLDENS
from tests.lab.everything import SHEET, TEXT
from tests.unit.common import rules

_ONLY_FOREIGN = {
    "Continue",
}
"""What no shipped sheet says, so that it is only read; see test_words."""


def lowered(case: str) -> dict[str, Ruleset]:
    built = rules(**CASES[case])
    return {
        "ip": iptables.lower(built, Family.IP),
        "ip6": iptables.lower(built, Family.IP6),
        "nft": nftables.lower(built, OWN),
    }


def everything() -> Ruleset:
    """Give the rules of the sheet that says all there is to say."""
    return rules(SHEET, options=TEXT)


def texts(case: str) -> dict[str, str]:
    made = lowered(case)
    return {
        "ip": iptables.text(made["ip"]),
        "ip6": iptables.text(made["ip6"]),
        "nft": nftables.text(made["nft"]),
    }


@pytest.mark.parametrize("language", ["ip", "ip6", "nft"])
@pytest.mark.parametrize("case", CASES)
def test_text(case: str, language: str, request: pytest.FixtureRequest) -> None:
    path = GOLDENS / f"{case}.{language}"
    text = texts(case)[language]
    if request.config.getoption("--update-goldens"):
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("case", CASES)
def test_reading_it_back_gives_the_same_rules(case: str) -> None:
    made = lowered(case)
    for family in (Family.IP, Family.IP6):
        assert iptables_save.parse(iptables.text(made[family]), family) == made[family]


def test_reading_everything_back_gives_the_same_rules() -> None:
    for family in (Family.IP, Family.IP6):
        made = iptables.lower(everything(), family)
        assert iptables_save.parse(iptables.text(made), family) == made


def test_no_golden_is_orphaned() -> None:
    wanted = {f"{case}.{language}" for case in CASES for language in ("ip", "ip6", "nft")}
    assert {path.name for path in GOLDENS.iterdir() if path.is_file()} == wanted


def test_every_setting_that_makes_rules_has_a_case() -> None:
    policy = {name for name, row in SETTINGS.items() if row.scope is Scope.POLICY}
    assert {key for case in CASES.values() for key in case} == policy - {"sheet", "options"}


def test_every_match_and_action_has_a_case() -> None:
    used = {
        type(part).__name__
        for ruleset in (*(r for case in CASES for r in lowered(case).values()), everything())
        for table in ruleset.tables
        for chain in table.chains
        for rule in chain.rules
        for part in (*rule.matches, rule.action)
    }
    actions = set(model.Action.__args__)
    kinds = {
        name
        for name, kind in vars(model).items()
        if inspect.isclass(kind)
        and kind is not Match
        and not issubclass(kind, model.Foreign | model.ForeignMatch)
        and (issubclass(kind, Match) or kind in actions)
    }
    assert kinds - used == _ONLY_FOREIGN
