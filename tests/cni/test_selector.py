"""Selectors, term by term."""

from __future__ import annotations

import pytest

from interceptor.cni.selector import selects
from interceptor.errors import ConfigError

MARKS = {"team": "a", "tier": "web", "empty": "", "a.b/c": "x=y"}


@pytest.mark.parametrize(
    ("alternative", "holds"),
    [
        ("*", True),
        ("team", True),
        ("empty", True),
        ("owner", False),
        ("!team", False),
        ("!owner", True),
        ("team=a", True),
        ("team==a", True),
        ("team = a", True),
        ("team=b", False),
        ("team=", False),
        ("empty=", True),
        ("owner=", False),
        ("team!=a", False),
        ("team!=b", True),
        ("owner!=a", True),
        ("a.b/c=x=y", True),
        ("team=a,tier=web", True),
        ("team=a, tier=db", False),
        ("team=a,!owner,tier!=db", True),
    ],
)
def test_a_term(alternative: str, holds: bool) -> None:
    assert selects([alternative], MARKS) is holds


def test_any_of_several_will_do() -> None:
    assert selects(["team=b", "tier=web"], MARKS)
    assert not selects(["team=b", "tier=db"], MARKS)
    assert not selects([], MARKS)


@pytest.mark.parametrize("wrong", ["", "team=a,", "te am", "!", "=a", "!=a", "*,team", "!team=a"])
def test_what_is_no_term_is_refused_also_behind_one_that_holds(wrong: str) -> None:
    with pytest.raises(ConfigError, match="is no term"):
        selects(["team=a", wrong], MARKS)
