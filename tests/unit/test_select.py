"""The choice of a backend, as a table over what is asked for and what was seen."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from interceptor.backends.iptables import variant_of
from interceptor.config import BackendChoice, VariantChoice
from interceptor.errors import HostError
from interceptor.names import Family
from interceptor.operations.select import (
    EBPF,
    IPTABLES_LEGACY,
    IPTABLES_NFT,
    NFTABLES,
    Seen,
    holders,
    ipv6_or_warning,
    preferences,
)

_MISSING = Seen(HostError("it is not there", hint="install it"))
_BROKEN = Seen(HostError("it ended with 127 and said nothing"))
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
    ebpf: Seen = _EMPTY


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
    Choice("a broken nft", "auto", "auto", _BROKEN, _EMPTY, _EMPTY, IPTABLES_NFT),
    Choice("a broken iptables-nft", "iptables", "auto", _EMPTY, _BROKEN, _RULES, IPTABLES_LEGACY),
    Choice("only nft", "auto", "auto", _EMPTY, _MISSING, _MISSING, NFTABLES),
    Choice("iptables, rules in nft", "iptables", "auto", _EMPTY, _RULES, _EMPTY, IPTABLES_NFT),
    Choice("auto with a variant", "auto", "legacy", _MISSING, _EMPTY, _EMPTY, IPTABLES_LEGACY),
    Choice("ours at sockets are kept", "auto", "auto", _EMPTY, _RULES, _RULES, EBPF, _OURS),
    Choice("nobody asked for sockets", "auto", "auto", _MISSING, _MISSING, _MISSING, None),
    Choice("rules again", "nftables", "auto", _EMPTY, _EMPTY, _EMPTY, NFTABLES, _OURS),
    Choice("named sockets", "ebpf", "auto", _OURS, _OURS, _OURS, EBPF),
    Choice("named sockets, missing", "ebpf", "auto", _OURS, _OURS, _OURS, None, _MISSING),
]


@pytest.mark.parametrize("case", _CASES, ids=lambda case: case.what.replace(" ", "-"))
def test_choice(case: Choice) -> None:
    rules = {NFTABLES: case.nftables, IPTABLES_NFT: case.nft, IPTABLES_LEGACY: case.legacy}
    seen = {**rules, EBPF: case.ebpf}
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
    # That there are no programs says nothing of rules; that there are is an answer.
    with pytest.raises(HostError):
        holders({NFTABLES: _MISSING, EBPF: _EMPTY})
    assert holders({NFTABLES: _MISSING, EBPF: _OURS}) == [EBPF]


@pytest.mark.parametrize(
    ("family", "can_hold", "in_kernel", "says"),
    [
        ("inet", True, True, ""),
        ("ip", True, True, ""),
        ("ip", False, False, ""),
        ("ip", False, True, "IPv6 is left alone and could not be intercepted: no ip6tables"),
    ],
)
def test_without_ipv6_there_is_a_warning_where_it_is_not_wanted(
    family: str, can_hold: bool, in_kernel: bool, says: str
) -> None:
    found = ipv6_or_warning(Family(family), can_hold=can_hold, in_kernel=in_kernel)
    assert (found[: len(says)], bool(found)) == (says, bool(says))


@pytest.mark.parametrize("family", ["ip6", "inet"])
@pytest.mark.parametrize(
    ("in_kernel", "says"), [(True, "no ip6tables here"), (False, "the kernel has no IPv6")]
)
def test_without_ipv6_there_is_an_error_where_it_is(
    family: str, in_kernel: bool, says: str
) -> None:
    with pytest.raises(HostError, match=says):
        ipv6_or_warning(Family(family), can_hold=False, in_kernel=in_kernel)


@pytest.mark.parametrize(
    ("said", "variant"),
    [
        ("iptables v1.8.9 (nf_tables)\n", "nft"),
        ("iptables v1.8.9 (legacy)\n", "legacy"),
        ("iptables v1.4.21\n", "legacy"),
        ("iptables v9.0-next (nf_tables) built by somebody", "nft"),
        ("", "legacy"),
        ("segmentation fault", "legacy"),
    ],
)
def test_what_an_iptables_says_of_itself(said: str, variant: str) -> None:
    assert variant_of(said) == variant
