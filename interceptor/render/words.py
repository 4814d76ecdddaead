"""One rule in the words of the tool that its table belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.errors import RulesetError
from interceptor.names import PRIORITIES
from interceptor.render import iptables, nftables

if TYPE_CHECKING:
    from interceptor.model import Rule
    from interceptor.names import Family


def rule_words(rule: Rule, family: Family, table: str) -> str:
    """Write a rule as its tool would, ``""`` if that has no words for it."""
    try:
        if table in PRIORITIES:
            return iptables.words(rule, family)
        return nftables.words(rule).replace("counter ", "")
    except RulesetError:
        return ""
