"""Which chains of others have a packet before ours do, and what of theirs takes it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from interceptor.backends.iptables_plan import both_families
from interceptor.backends.overtake import overtaking, without_shared
from interceptor.backends.shadow import fingerprint
from interceptor.dialect import OWN
from interceptor.model import Base, Chain, Goto, Jump, Rule, Ruleset, Table
from interceptor.names import ChainType, Family, Hook
from interceptor.parse import nft_json
from interceptor.parse.words import WordReader, tokenize
from interceptor.render.nftables import lower
from tests.unit.common import rules

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interceptor.backends.drift import Finding

_CHAINS = {
    "DROPS": ("-j DROP",),
    "DROPS_UDP": ("-p udp -j DROP",),
    "COUNTS": ("-p tcp", "-d 10.0.0.1 -j RETURN"),
    "LETS": ("-j ACCEPT",),
    "CALLS": ("-j COUNTS", "-g DROPS"),
    "LOOP": ("-j LOOP", "-j DROP"),
}
_COUNTED = {"counter": {"packets": 7, "bytes": 7}}
_DNAT = {"dnat": {"addr": "10.0.0.5", "port": 80}}
_TO_9 = "-p tcp -j REDIRECT --to-ports 9"
"""A rule in iptables' words; others are statements of nft, as it writes them."""

Line = str | list[dict[str, Any]]


def rule(line: Line) -> Rule:
    if isinstance(line, str):
        return WordReader(tokenize(line), _CHAINS).read(line)
    place = {"family": "inet", "table": "t"}
    body = {"nftables": [{"rule": {**place, "chain": "c", "expr": line}}]}
    return nft_json.parse(json.dumps(body)).tables[0].chains[0].rules[0]


def theirs(
    what: str,
    *lines: Line | Rule,
    family: Family = Family.INET,
    called: Sequence[Chain] = (),
) -> Ruleset:
    """Make a table of others: ``nat prerouting -150``, perhaps with a policy, and its rules."""
    kind, hook, priority, *policy = what.split()
    base = Base(ChainType(kind), Hook(hook), int(priority), "drop" if policy else "accept")
    made = tuple(one if isinstance(one, Rule) else rule(one) for one in lines)
    chains = [Chain(name, tuple(map(rule, inner))) for name, inner in _CHAINS.items()]
    return Ruleset((Table(family, "other", (Chain("c", made, base), *chains, *called)),))


def ours(**settings: str) -> Ruleset:
    return lower(rules(**settings), OWN)


def named(found: Sequence[Finding]) -> list[str]:
    """Give each finding's kind and the number of its rule; 0 is the policy."""
    return [f"{f.kind} {f.where.rpartition(' ')[2]}" for f in found]


def payload(protocol: str, field: str, value: object, op: str = "==") -> dict[str, Any]:
    left = {"payload": {"protocol": protocol, "field": field}}
    return {"match": {"op": op, "left": left, "right": value}}


def meta(key: str, value: object, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": {"meta": {"key": key}}, "right": value}}


def vmap(key: dict[str, Any], data: object) -> dict[str, Any]:
    return {"vmap": {"key": key, "data": data}}


_DROP = {"drop": None}
_PORT = payload("tcp", "dport", 80)
_MARKS = meta("mark", {"set": [1, 2]})
_STATE: dict[str, Any] = {"ct": {"key": "state"}}
_RAW, _MANGLE, _NAT = "filter prerouting -300", "filter prerouting -150", "nat prerouting -150"
_SOME, _ALL = "foreign-before", "shadowed"

_PLACES = [
    # Before, at the same place, after; translation of all is done at -100.
    ("nat prerouting -101", [f"{_ALL} 1"]),
    ("nat prerouting -100", [f"{_ALL} 1"]),
    ("nat prerouting -99", []),
    ("nat output -100", [f"{_ALL} 1"]),
    ("nat input -100", []),
    ("nat postrouting -100", []),
]


@pytest.mark.parametrize(("place", "expected"), _PLACES)
def test_places(place: str, expected: list[str]) -> None:
    assert named([*overtaking(ours(), theirs(place, _TO_9))]) == expected


def test_chains_of_type_nat_run_where_translation_is_done() -> None:
    """So one that says it is at -150 comes after a hand-over there, as real connections show."""
    transparent = ours(mode="tproxy")
    assert not named([*overtaking(transparent, theirs("nat prerouting -160", _TO_9))])
    dropping = theirs("filter prerouting -120", "-p tcp -j DROP")
    assert not named([*overtaking(transparent, dropping)])
    assert named([*overtaking(ours(), dropping)]) == [f"{_ALL} 1"]
    handing = theirs("filter prerouting -150", "-p tcp -j DROP")
    assert named([*overtaking(transparent, handing)]) == [f"{_ALL} 1"]


_RULES: list[tuple[str, list[Line], list[str]]] = [
    # A chain of type nat
    (_NAT, [_TO_9], [f"{_ALL} 1"]),
    (_NAT, ["-p tcp --dport 80 -j REDIRECT --to-ports 9"], [f"{_SOME} 1"]),
    (_NAT, ["-p tcp --dport 1:65535 -j REDIRECT --to-ports 9"], [f"{_ALL} 1"]),
    (_NAT, ["-p udp -j REDIRECT --to-ports 9"], []),
    (_NAT, ["! -p udp -j DNAT --to-destination 10.0.0.1"], [f"{_ALL} 1"]),
    (_NAT, ["-j ACCEPT"], []),
    (_NAT, ["-j ACCEPT", _TO_9], []),
    (_NAT, ["-p tcp --dport 22 -j ACCEPT", _TO_9], [f"{_SOME} 2"]),
    (_NAT, ["-p udp -j ACCEPT", _TO_9], [f"{_ALL} 2"]),
    (_NAT, ["-p tcp --dport 22 -j RETURN", _TO_9], [f"{_SOME} 2"]),
    (_NAT, ["-s 0.0.0.0/0 -p tcp -j DROP"], [f"{_ALL} 1"]),
    (_NAT, ["-s 10.0.0.0/8 -p tcp -j DROP"], [f"{_SOME} 1"]),
    (_NAT, ["-j RETURN", _TO_9], []),
    (_NAT, ["-p tcp --dport 80 -j DROP", _TO_9], [f"{_SOME} 1", f"{_ALL} 2"]),
    (_NAT, ["-j LOG", "-j MARK --set-xmark 0x1", "-p tcp"], []),
    (_NAT, ["-p tcp -m addrtype --dst-type LOCAL -j DNAT --to-destination ::1"], [f"{_SOME} 1"]),
    (_NAT, ["-j NEWTARGET"], [f"{_SOME} 1"]),
    (_NAT, ["-m conntrack --ctstate NEW -j DNAT --to-destination ::1"], [f"{_ALL} 1"]),
    # Any other
    (_RAW, ["-p tcp -j DROP"], [f"{_ALL} 1"]),
    (_RAW, ["-p icmp -j DROP"], []),
    (_RAW, ["-i eth0 -p tcp -j DROP"], [f"{_SOME} 1"]),
    (_RAW, ["-p tcp -j CT --notrack"], [f"{_ALL} 1"]),
    ("filter prerouting -200", ["-p tcp -j CT --notrack"], [f"{_SOME} 1"]),
    (_MANGLE, ["-p tcp -j CT --notrack"], []),
    (_RAW, ["-p tcp -j CT --zone 1", "-p tcp -j CT --helper ftp"], []),
    (_MANGLE, ["-p tcp -j TPROXY --on-port 9 --tproxy-mark 0x1"], [f"{_ALL} 1"]),
    (_MANGLE, ["-m conntrack --ctstate INVALID -j DROP"], []),
    (_MANGLE, ["-m conntrack --ctstate ESTABLISHED -j DROP"], [f"{_SOME} 1"]),
    (_RAW, ["-m conntrack --ctstate INVALID -j DROP"], [f"{_ALL} 1"]),
    (_MANGLE, ["-p tcp -m tcp --tcp-flags SYN,RST,ACK SYN -j DROP"], [f"{_ALL} 1"]),
    (_MANGLE, ["-p tcp -m tcp --tcp-flags SYN,FIN SYN,FIN -j DROP"], [f"{_SOME} 1"]),
    (_MANGLE, ["-p tcp -j NFQUEUE --queue-num 1"], [f"{_SOME} 1"]),
    # Policies
    (f"{_RAW} drop", [], [f"{_ALL} 0"]),
    (f"{_RAW} drop", ["-j ACCEPT"], []),
    (f"{_RAW} drop", ["-p tcp -j ACCEPT"], []),
    (f"{_RAW} drop", ["-p tcp --dport 80 -j ACCEPT"], [f"{_SOME} 0"]),
    (f"{_RAW} drop", ["-p udp -j ACCEPT", "-j LOG"], [f"{_ALL} 0"]),
    (f"{_RAW} drop", ["-p tcp -j RETURN"], [f"{_ALL} 0"]),
    (f"{_RAW} drop", ["-p tcp --dport 22 -j RETURN", "-j DROP"], [f"{_ALL} 2", f"{_ALL} 0"]),
    # Calls
    (_NAT, ["-j DROPS"], [f"{_ALL} 1"]),
    (_NAT, ["-p udp -j DROPS", "-j DROPS_UDP", "-j COUNTS"], []),
    (_NAT, ["-d 10.0.0.1 -j DROPS"], [f"{_SOME} 1"]),
    (_NAT, ["-j CALLS"], [f"{_ALL} 1"]),
    (_NAT, ["-j LETS", _TO_9], []),
    (_NAT, ["-g COUNTS", _TO_9], []),
    (f"{_RAW} drop", ["-g COUNTS"], [f"{_ALL} 0"]),
    (f"{_RAW} drop", ["-j LETS"], []),
    (_NAT, ["-j LOOP"], [f"{_ALL} 1"]),
    # What only nft says
    (_NAT, [[_PORT, _COUNTED, _DNAT]], [f"{_SOME} 1"]),
    (_NAT, [[meta("l4proto", "tcp"), {"log": None}, _DNAT]], [f"{_ALL} 1"]),
    (_NAT, [[meta("l4proto", "tcp"), {"redirect": None}]], [f"{_ALL} 1"]),
    (_NAT, [[meta("l4proto", {"set": ["tcp", "udp"]}), _DNAT]], [f"{_ALL} 1"]),
    (_NAT, [[meta("l4proto", {"set": [6, 17]}), _DNAT]], [f"{_ALL} 1"]),
    (_NAT, [[meta("l4proto", {"set": ["udp", "icmp"]}), _DNAT]], []),
    (_NAT, [[meta("l4proto", {"set": ["udp", "icmp"]}, "!="), _DNAT]], [f"{_ALL} 1"]),
    (_NAT, [[meta("l4proto", "@protocols"), _DNAT]], [f"{_SOME} 1"]),
    (_NAT, [[payload("ip", "protocol", "udp"), _DNAT]], []),
    (_NAT, [[payload("ip", "protocol", "tcp"), _DNAT]], [f"{_ALL} 1"]),
    (_NAT, [[payload("ip6", "nexthdr", "udp", "!="), _DNAT]], [f"{_ALL} 1"]),
    (_NAT, [[payload("udp", "length", 8, ">"), _DROP]], []),
    (_NAT, [[payload("icmp", "type", "echo-request"), _DROP]], []),
    (_NAT, [[payload("tcp", "dport", 80, ">"), _DROP]], [f"{_SOME} 1"]),
    (_NAT, [[{"limit": {"rate": 1}}, _DROP]], [f"{_SOME} 1"]),
    (_NAT, [[{"log": None}, {"limit": {"rate": 1}}, {"accept": None}]], []),
    (_NAT, [[{"log": None}, {"accept": None}], _TO_9], []),
    (_NAT, [[{"log": None}, {"return": None}], _TO_9], []),
    (_NAT, [[{"log": None}, {"jump": {"target": "DROPS"}}]], [f"{_ALL} 1"]),
    (_NAT, [[{"log": None}, {"goto": {"target": "COUNTS"}}], _TO_9], []),
    (_NAT, [[{"log": None}, {"jump": {"target": "nowhere"}}]], [f"{_SOME} 1"]),
    (_NAT, [[{"dnat": {"addr": {"map": {"key": _PORT["match"]["left"]}}}}]], [f"{_SOME} 1"]),
    (_NAT, [[{"dnat": {"addr": {"map": {"key": {"payload": {"protocol": "udp"}}}}}}]], []),
    (_NAT, [[{"mangle": {"key": {"payload": {"protocol": "ip"}}}}, {"counter": None}]], []),
    (_NAT, [[{"newest": 1}]], [f"{_SOME} 1"]),
    (_NAT, [[_PORT, {"xt": {"type": "target", "name": "REDIRECT"}}]], [f"{_SOME} 1"]),
    (_NAT, [[{"xt": {"type": "match", "name": "comment"}}, {"accept": None}]], []),
    (_NAT, [[{"xt": {"type": "match", "name": "recent"}}, _DROP]], [f"{_SOME} 1"]),
    (_NAT, [[{"xt": {"type": "target", "name": "LOG"}}]], []),
    (_NAT, [[{"xt": None}]], [f"{_SOME} 1"]),
    (_RAW, [[{"notrack": None}]], [f"{_ALL} 1"]),
    (_RAW, [[payload("udp", "dport", 53), {"notrack": None}]], []),
    (_MANGLE, [[{"notrack": None}]], []),
    (_RAW, [[{"xt": {"type": "target", "name": "CT"}}]], [f"{_SOME} 1"]),
    (_MANGLE, [[{"xt": {"type": "target", "name": "CT"}}]], []),
    (_MANGLE, [[{"queue": {"num": 1}}]], [f"{_SOME} 1"]),
    (_MANGLE, [[{"reject": None}]], [f"{_ALL} 1"]),
    (_MANGLE, [[vmap(_STATE, {"set": [["new", {"accept": None}], ["invalid", _DROP]]})]], []),
    (_MANGLE, [[vmap(_STATE, {"set": [["established", _DROP]]})]], [f"{_SOME} 1"]),
    (_RAW, [[vmap(_STATE, {"set": [["invalid", _DROP]]})]], [f"{_ALL} 1"]),
    (_RAW, [[vmap({"meta": {"key": "l4proto"}}, {"set": [["udp", _DROP]]})]], []),
    (_RAW, [[vmap(_PORT["match"]["left"], {"set": [[80, {"jump": {"target": "DROPS"}}]]})]],
     [f"{_SOME} 1"]),
    (_RAW, [[vmap(_PORT["match"]["left"], {"set": [[80, {"jump": {"target": "COUNTS"}}]]})]], []),
    (_RAW, [[vmap({"payload": {"protocol": "udp"}}, {"set": [[5, _DROP]]})]], []),
    (_RAW, [[vmap(_PORT["match"]["left"], "@verdicts")]], [f"{_SOME} 1"]),
]  # fmt: skip


@pytest.mark.parametrize(("place", "lines", "expected"), _RULES)
def test_what_takes_tcp(place: str, lines: list[Line], expected: list[str]) -> None:
    assert named([*overtaking(ours(), theirs(place, *lines))]) == expected


@pytest.mark.parametrize(
    ("settings", "place", "line", "expected"),
    [
        ({}, "nat output -150", "-p udp --dport 53 -j DROP", []),
        ({"capture_dns": "all"}, "nat output -150", "-p udp --dport 53 -j DROP", [f"{_SOME} 1"]),
        # Not every TCP packet, so it is not everything.
        ({"capture_dns": "all"}, "nat output -150", "-p udp -j DROP", [f"{_SOME} 1"]),
        ({"capture_dns": "all"}, "nat prerouting -150", "-p udp -j DROP", []),
        ({"capture_dns": "all"}, "nat output -150", "-p tcp -j DROP", [f"{_ALL} 1"]),
        ({"mode": "tproxy"}, _MANGLE, "-p udp -j DROP", []),
        ({"mode": "tproxy"}, "filter output -150", "-p tcp -j DROP", [f"{_ALL} 1"]),
    ],
)
def test_what_counts_is_what_is_captured(
    settings: dict[str, str], place: str, line: str, expected: list[str]
) -> None:
    assert named([*overtaking(ours(**settings), theirs(place, line))]) == expected


@pytest.mark.parametrize(
    ("families", "of", "expected"),
    [
        ("ipv4", Family.IP, [f"{_ALL} 1"]),
        ("ipv4", Family.IP6, []),
        ("ipv4", Family.INET, [f"{_ALL} 1"]),
        ("dual", Family.IP6, [f"{_ALL} 1"]),
    ],
)
def test_families(families: str, of: Family, expected: list[str]) -> None:
    for target in (ours(ip_families=families), both_families(rules(ip_families=families))):
        assert named([*overtaking(target, theirs(_NAT, _TO_9, family=of))]) == expected


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (meta("nfproto", "ipv6"), []),
        (meta("nfproto", "ipv4"), [f"{_ALL} 1"]),
        (payload("ip6", "daddr", "fd00::1"), []),
        (payload("ip", "daddr", "10.0.0.1"), [f"{_SOME} 1"]),
        (payload("ip6", "hoplimit", 5, "<"), []),
    ],
)
def test_what_is_of_another_family_is_not_ours(
    statement: dict[str, Any], expected: list[str]
) -> None:
    found = overtaking(ours(ip_families="ipv4"), theirs(_NAT, [statement, _DROP]))
    assert named([*found]) == expected


def test_nothing_captured_is_nothing_taken() -> None:
    nothing = ours(include_inbound_ports="", include_outbound_cidrs="")
    assert not [*overtaking(nothing, theirs(_NAT, _TO_9))]


def test_chains_that_are_shared_are_left_out() -> None:
    """Others' rules in them are looked at with ours, see ``shadow``; their neighbours are not."""
    target = both_families(rules())
    nat = Base(ChainType.NAT, Hook.PREROUTING, -100)
    raw = Base(ChainType.FILTER, Hook.PREROUTING, -300)
    dropping = (rule("-j DROP"),)
    held = Ruleset(
        (
            Table(Family.IP, "nat", (Chain("PREROUTING", dropping, nat),)),
            Table(Family.IP, "raw", (Chain("PREROUTING", dropping, raw),)),
        )
    )
    found = [*overtaking(target, without_shared(held, target))]
    assert [f.where for f in found] == ["ip raw PREROUTING rule 1"]


def test_what_a_rule_has_counted_is_not_part_of_its_name() -> None:
    marks = [
        fingerprint(found)
        for packets in (1, 2)
        for found in overtaking(
            ours(), theirs(_NAT, [_PORT, {"counter": {"packets": packets, "bytes": 9}}, _DNAT])
        )
    ]
    assert len(marks) == 2
    assert len(set(marks)) == 1


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("-p tcp -j DROP", "-p tcp -j DROP"),
        ([_PORT, _DROP], "tcp dport 80 counter drop"),
        ([_DNAT], "counter dnat ip to 10.0.0.5:80"),
        # Two marks are two rules in our own words.
        (
            [_PORT, meta("mark", {"set": [1, 2]}), _DROP],
            "Drop if Protocol, DestinationPort, PacketMark",
        ),
    ],
)
def test_a_rule_is_named_in_its_words(line: Line, text: str) -> None:
    [found] = overtaking(ours(), theirs(_NAT, line))
    assert (found.where, found.what) == ("inet other c rule 1", text)


def test_calls_deeper_than_python_calls_and_in_many_ways() -> None:
    """Whoever is root in a pod can make them."""
    deep = [Chain(f"d{n}", (Rule((), Jump(f"d{n + 1}")),)) for n in range(3000)]
    wide = [Chain(f"w{n}", (Rule((), Jump(f"w{n + 1}")),) * 2) for n in range(40)]
    end = [Chain("w40", ())]
    for start, expected in (("d0", [f"{_SOME} 1"]), ("w0", [])):
        found = overtaking(
            ours(), theirs(_NAT, Rule((), Goto(start)), called=[*deep, *wide, *end])
        )
        assert named([*found]) == expected
