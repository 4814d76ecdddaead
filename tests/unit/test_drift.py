"""Differences between what was meant and what is there."""

from __future__ import annotations

import pytest

from interceptor.backends.drift import compare
from interceptor.backends.shadow import decides_about_tcp, takes_all_tcp
from interceptor.model import Chain, Rule, Ruleset, Table
from interceptor.names import Family
from interceptor.parse.words import WordReader, tokenize
from interceptor.render.iptables import words


def rule(line: str) -> Rule:
    return WordReader(tokenize(line), {"X", "COUNTS", "DROPS", "ONWARD"}).read(line)


def chain(*lines: str, name: str = "C") -> Ruleset:
    made = Chain(name, tuple(rule(line) for line in lines))
    return Ruleset((Table(Family.IP, "nat", (made,)),))


_A, _B, _C = "-p tcp -j RETURN", "-p udp -j RETURN", "-i lo -j RETURN"


@pytest.mark.parametrize(
    ("wanted", "held", "findings"),
    [
        ((_A, _B), (_A, _B), []),
        ((_A, _B), (_A,), [f"missing-rule ip nat C rule 2: {_B}"]),
        ((_A,), (_A, _B), [f"extra-rule ip nat C rule 2: {_B}"]),
        ((_A, _B), (_B, _A), [f"moved-rule ip nat C rule 2, found at 1: {_B}"]),
        (
            (_A, _B),
            (_C, _B),
            [f"missing-rule ip nat C rule 1: {_A}", f"extra-rule ip nat C rule 1: {_C}"],
        ),
        ((_A,), (_A, _A), [f"extra-rule ip nat C rule 2: {_A}"]),
    ],
)
def test_rules(wanted: tuple[str, ...], held: tuple[str, ...], findings: list[str]) -> None:
    assert [str(f) for f in compare(chain(*wanted), chain(*held), words)] == findings


def test_chains() -> None:
    found = {str(f) for f in compare(chain(name="A"), chain(name="B"), words)}
    assert found == {"missing-chain ip nat A", "extra-chain ip nat B"}


@pytest.mark.parametrize(
    ("line", "decides"),
    [
        ("-j ACCEPT", True),
        ("-p tcp -j DROP", True),
        ("-p udp -j DROP", False),
        ("! -p tcp -j DROP", False),
        ("! -p udp -j DROP", True),
        ("-j RETURN", True),
        ("-j X", False),
        ("-j COUNTS", False),
        ("-g COUNTS", True),
        ("-j DROPS", True),
        ("-p udp -j DROPS", False),
        ("-j ONWARD", True),
        ("-j LOG", False),
        ("-j MARK --set-xmark 0x1", False),
        ("-j DNAT --to-destination 1.2.3.4", True),
        ("-j MASQUERADE", True),
        ("-p tcp", False),
    ],
)
def test_which_rules_decide(line: str, decides: bool) -> None:
    chains = {
        "COUNTS": ("-p tcp", "-p tcp -j RETURN", "-p udp -j DROP"),
        "DROPS": ("-p tcp -j DROP",),
        "ONWARD": ("-g DROPS",),
    }
    table = Table(
        Family.IP,
        "nat",
        tuple(Chain(name, tuple(map(rule, rules))) for name, rules in chains.items()),
    )
    assert decides_about_tcp(rule(line), table) is decides


@pytest.mark.parametrize(
    ("line", "takes"),
    [
        ("-j ACCEPT", True),
        ("-p tcp -j DROP", True),
        ("! -p udp -j DROP", True),
        ("-p tcp --dport 9 -j DROP", False),
        ("-m helper --helper x -j ACCEPT", False),
        ("-j X", True),
        ("-d 10.0.0.1 -j X", False),
        ("-p tcp", False),
    ],
)
def test_which_rules_leave_nothing(line: str, takes: bool) -> None:
    x = Chain("X", (rule("-d 10.0.0.0/8 -j RETURN"), rule("-p tcp -j DNAT --to-destination ::1")))
    assert takes_all_tcp(rule(line), Table(Family.IP, "nat", (x,))) is takes
