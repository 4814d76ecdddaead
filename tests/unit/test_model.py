"""validate: what kernel tools check late, badly or not at all."""

from __future__ import annotations

import pytest

from interceptor.errors import RulesetError
from interceptor.model import (
    Base,
    Chain,
    ConnectionState,
    DestinationPort,
    Goto,
    InInterface,
    Jump,
    OutInterface,
    Protocol,
    Redirect,
    Return,
    Rule,
    Ruleset,
    Table,
)
from interceptor.names import ChainType, Family, Hook
from interceptor.values import Interfaces, Ports

_NAT = Base(ChainType.NAT, Hook.OUTPUT, -100)
_FILTER = Base(ChainType.FILTER, Hook.OUTPUT, 0)
_TO_PROXY = Rule((Protocol("tcp"),), Redirect(1))


def ruleset(*chains: Chain) -> Ruleset:
    return Ruleset((Table(Family.IP, "t", chains),))


_NO_WORDS = ("\n-A X", '"', ";", " -j ACCEPT", "{", "\0", "\u00e9")
"""What would end a word, in a script of either language, and what is none of its letters."""

_FAULTS = [
    (ruleset(Chain("A", (Rule((), Jump("B")),))), "t A rule 1: jumps to the missing chain 'B'"),
    (
        ruleset(Chain("A", (), _NAT), Chain("B", (Rule((), Jump("A")),))),
        "jumps to 'A', which only the kernel calls",
    ),
    (ruleset(Chain("A", (Rule((), Jump("A")),))), "chains call each other for ever: A -> A"),
    (
        ruleset(Chain("A", (Rule((), Jump("B")),)), Chain("B", (Rule((), Goto("A")),))),
        "for ever: ",
    ),
    (ruleset(Chain("A"), Chain("A")), "chain A is there twice"),
    (ruleset(Chain("A" * 29)), "is no chain name: 1 to 28 letters"),
    (ruleset(Chain("")), "'' is no chain name"),
    *((ruleset(Chain(f"A{c}")), f"t: {f'A{c}'!r} is no chain name") for c in _NO_WORDS),
    *(
        (ruleset(Chain("A", (Rule((Protocol(f"tcp{c}"),)),))), f"{f'tcp{c}'!r} is no protocol")
        for c in _NO_WORDS
    ),
    *(
        (
            ruleset(Chain("A", (Rule((match(Interfaces((f"eth0{c}",))),)),))),
            f"{f'eth0{c}'!r} is no interface name",
        )
        for c in _NO_WORDS
        for match in (InInterface, OutInterface)
    ),
    (
        ruleset(Chain("A", (Rule((ConnectionState(("NEW\n-A",)),)),))),
        "are no states; known are DNAT, ESTABLISHED",
    ),
    (ruleset(Chain("A", (Rule((), Return(), 'x" -j ACCEPT'),))), "or a double quote"),
    (ruleset(Chain("A", (Rule((), Return(), "y" * 128),))), "its why is longer than 127"),
    (ruleset(Chain("A", (Rule((), Return(), "a\nb"),))), "characters that do not print"),
    (ruleset(Chain("A", (Rule((), Redirect(1)),))), "a port without a protocol"),
    (ruleset(Chain("A", (Rule((DestinationPort(Ports.of(1)),)),))), "a port without a protocol"),
    (
        ruleset(Chain("A", (Rule((Protocol("tcp", negated=True),), Redirect(1)),))),
        "a port without a protocol",
    ),
    (
        ruleset(Chain("A", (Rule((), Jump("B")),), _FILTER), Chain("B", (_TO_PROXY,))),
        "t B: redirects, but A is no nat chain",
    ),
    *(
        (
            ruleset(
                Chain("A", (Rule((), Jump("B")),), Base(ChainType.NAT, hook, 100)),
                Chain("B", (_TO_PROXY,)),
            ),
            f"t B: redirects, but A is at {hook}",
        )
        for hook in (Hook.INPUT, Hook.POSTROUTING)
    ),
    (Ruleset((Table(Family.IP, "t"), Table(Family.IP, "t"))), "table ip t is there twice"),
]


@pytest.mark.parametrize(("faulty", "says"), _FAULTS, ids=[ascii(says) for _, says in _FAULTS])
def test_a_fault_is_named(faulty: Ruleset, says: str) -> None:
    with pytest.raises(RulesetError) as caught:
        faulty.validate()
    assert says in caught.value.message


def test_a_good_one_passes() -> None:
    ruleset(
        Chain("IN", (Rule((), Jump("B")),), Base(ChainType.NAT, Hook.PREROUTING, -100)),
        Chain("OUT", (Rule((), Jump("A")), Rule((), Jump("B"))), _NAT),
        Chain("A", (Rule((), Goto("B")),)),
        Chain("B", (_TO_PROXY,)),
    ).validate()


def test_a_long_way_of_jumps_is_no_trouble() -> None:
    length = 5000
    chains = [Chain(f"C{n}", (Rule((), Jump(f"C{n + 1}")),)) for n in range(length)]
    ruleset(*chains, Chain(f"C{length}")).validate()
