"""The choice of a backend, as a table over what is asked for and what was seen."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from interceptor.config import BackendChoice, VariantChoice
from interceptor.errors import HostError
from interceptor.operations.select import (
    IPTABLES_LEGACY,
    IPTABLES_NFT,
    NFTABLES,
    Seen,
    holders,
    preferences,
)

_MISSING = Seen(HostError("it is not there", hint="install it"))
_EMPTY = Seen()
_RULES = Seen(holds_rules=True)
_OURS = Seen(holds_rules=True, holds_ours=True)


class Choice(NamedTuple):
    what: str
    backend: str
    variant: str
    nftables: Seen
    nft: Seen
    legacy: Seen
    chosen: str | None


_CASES = [
    Choice("nothing anywhere", "auto", "auto", _EMPTY, _EMPTY, _EMPTY, NFTABLES),
    Choice("no nft", "auto", "auto", _MISSING, _EMPTY, _EMPTY, IPTABLES_NFT),
    Choice("only legacy", "auto", "auto", _MISSING, _MISSING, _EMPTY, IPTABLES_LEGACY),
    Choice("nothing works", "auto", "auto", _MISSING, _MISSING, _MISSING, None),
    Choice(
        "foreign legacy rules do not matter to nft",
        "auto",
        "auto",
        _EMPTY,
        _EMPTY,
        _RULES,
        NFTABLES,
    ),
    Choice("ours are kept where they are", "auto", "auto", _EMPTY, _EMPTY, _OURS, IPTABLES_LEGACY),
    Choice("ours in nftables come first", "auto", "auto", _OURS, _OURS, _EMPTY, NFTABLES),
    Choice("named nftables", "nftables", "auto", _EMPTY, _OURS, _OURS, NFTABLES),
    Choice("named nftables, missing", "nftables", "auto", _MISSING, _EMPTY, _EMPTY, None),
    Choice("iptables, nothing there", "iptables", "auto", _EMPTY, _EMPTY, _EMPTY, IPTABLES_NFT),
    Choice(
        "iptables, rules in legacy", "iptables", "auto", _EMPTY, _EMPTY, _RULES, IPTABLES_LEGACY
    ),
    Choice("iptables, rules in both", "iptables", "auto", _EMPTY, _RULES, _RULES, IPTABLES_NFT),
    Choice("iptables, ours in legacy", "iptables", "auto", _EMPTY, _RULES, _OURS, IPTABLES_LEGACY),
    Choice("iptables, only legacy", "iptables", "auto", _EMPTY, _MISSING, _EMPTY, IPTABLES_LEGACY),
    Choice("iptables, none", "iptables", "auto", _EMPTY, _MISSING, _MISSING, None),
    Choice("named nft variant", "iptables", "nft", _EMPTY, _EMPTY, _OURS, IPTABLES_NFT),
    Choice("named legacy", "iptables", "legacy", _EMPTY, _OURS, _EMPTY, IPTABLES_LEGACY),
    Choice("named legacy, missing", "iptables", "legacy", _EMPTY, _EMPTY, _MISSING, None),
    Choice("auto with a variant", "auto", "legacy", _MISSING, _EMPTY, _EMPTY, IPTABLES_LEGACY),
]


@pytest.mark.parametrize("case", _CASES, ids=lambda case: case.what.replace(" ", "-"))
def test_choice(case: Choice) -> None:
    seen = {NFTABLES: case.nftables, IPTABLES_NFT: case.nft, IPTABLES_LEGACY: case.legacy}
    asked = BackendChoice(case.backend), VariantChoice(case.variant)
    if case.chosen is None:
        with pytest.raises(HostError, match="it is not there"):
            preferences(*asked, seen)
    else:
        assert preferences(*asked, seen)[0] == case.chosen


def test_all_reasons_are_given_when_nothing_works() -> None:
    seen = {
        NFTABLES: Seen(HostError("no nft")),
        IPTABLES_NFT: Seen(HostError("no iptables")),
        IPTABLES_LEGACY: Seen(HostError("no iptables")),
    }
    with pytest.raises(HostError) as caught:
        preferences(BackendChoice.AUTO, VariantChoice.AUTO, seen)
    assert caught.value.message.endswith("no nft; no iptables")


def test_nobody_seen_is_not_nobody_there() -> None:
    with pytest.raises(HostError):
        holders(dict.fromkeys((NFTABLES, IPTABLES_NFT), _MISSING))
    assert holders({NFTABLES: _MISSING, IPTABLES_NFT: _OURS}) == [IPTABLES_NFT]
