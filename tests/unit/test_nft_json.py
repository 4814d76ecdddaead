"""nft's JSON: what is read, what is kept unread, and texts that are no listing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from interceptor.errors import ParseError
from interceptor.model import (
    ConnectionState,
    Destination,
    DestinationPort,
    Drop,
    FamilyIs,
    Goto,
    InInterface,
    Match,
    PacketMark,
    Protocol,
    Redirect,
    Return,
    Rule,
    Source,
    Uid,
    Unreadable,
    UnreadableAction,
)
from interceptor.names import Family
from interceptor.parse.nft_json import parse
from interceptor.values import Ids, Interfaces, Mark, Marks, Networks, Ports


def listing(*expressions: dict[str, Any], sets: tuple[dict[str, Any], ...] = ()) -> bytes:
    """Make a listing of one table with one chain with one rule."""
    place = {"family": "inet", "table": "t"}
    objects: list[dict[str, Any]] = [
        {"metainfo": {"version": "1.0.6"}},
        {"table": {"family": "inet", "name": "t", "handle": 1}},
        *({"set": {**place, **one}} for one in sets),
        {"chain": {**place, "name": "c", "handle": 1}},
        {"rule": {**place, "chain": "c", "handle": 2, "expr": list(expressions)}},
    ]
    return json.dumps({"nftables": objects}).encode()


def match(left: dict[str, Any], right: object, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": left, "right": right}}


def meta(key: str) -> dict[str, Any]:
    return {"meta": {"key": key}}


def payload(protocol: str, field: str) -> dict[str, Any]:
    return {"payload": {"protocol": protocol, "field": field}}


def only_rule(*expressions: dict[str, Any], sets: tuple[dict[str, Any], ...] = ()) -> Rule:
    [rule] = parse(listing(*expressions, sets=sets)).tables[0].chains[0].rules
    return rule


_READ: list[tuple[dict[str, Any], tuple[Match, ...]]] = [
    (match(meta("nfproto"), "ipv6"), (FamilyIs(Family.IP6),)),
    (match(meta("l4proto"), "tcp", "!="), (Protocol("tcp", negated=True),)),
    (match(meta("iifname"), "veth*"), (InInterface(Interfaces(("veth+",))),)),
    (match(meta("iifname"), {"set": ["b", "a"]}), (InInterface(Interfaces(("a", "b"))),)),
    (match(meta("skuid"), {"range": [1, 9]}), (Uid(Ids.of((1, 9))),)),
    (match(meta("skuid"), {"set": [7, {"range": [1, 3]}]}), (Uid(Ids.of(7, (1, 3))),)),
    (match(meta("mark"), 5), (PacketMark(Marks((Mark(5),))),)),
    (match({"&": [meta("mark"), 255]}, 5), (PacketMark(Marks((Mark(5, 255),))),)),
    (
        match(payload("tcp", "dport"), {"set": [22, {"range": [80, 90]}]}),
        (Protocol("tcp"), DestinationPort(Ports.of(22, (80, 90)))),
    ),
    (
        match(payload("ip", "saddr"), {"prefix": {"addr": "10.0.0.0", "len": 8}}),
        (Source(Networks.parse("10.0.0.0/8")),),
    ),
    (
        match(payload("ip6", "daddr"), {"set": ["::1", {"prefix": {"addr": "fd00::", "len": 8}}]}),
        (Destination(Networks.parse("::1,fd00::/8")),),
    ),
    (
        match(payload("ip", "daddr"), {"range": ["10.0.0.0", "10.0.0.5"]}, "!="),
        (
            Destination(Networks.parse("10.0.0.0/30,10.0.0.4/31"), negated=True),
            # An IPv6 packet has no IPv4 address at all, so nft never lets it match.
            FamilyIs(Family.IP),
        ),
    ),
    (
        match({"ct": {"key": "state"}}, ["related", "established"], "in"),
        (ConnectionState(("ESTABLISHED", "RELATED")),),
    ),
]


@pytest.mark.parametrize(("expression", "matches"), _READ)
def test_it_is_read(expression: dict[str, Any], matches: tuple[Match, ...]) -> None:
    rule = only_rule(expression, {"counter": {"packets": 1, "bytes": 2}}, {"return": None})
    assert rule == Rule(matches, Return())


@pytest.mark.parametrize(
    "expression",
    [
        match(meta("cgroup"), 5),
        match(meta("skuid"), "root"),
        match(payload("tcp", "flags"), "syn"),
        match(payload("icmp", "type"), "echo-request"),
        match({"fib": {"result": "type", "flags": ["daddr", "iif"]}}, "local"),
        match({"payload": {"tunnel": "vxlan", "protocol": "ip", "field": "saddr"}}, "10.0.0.1"),
        # Compared as a whole, two bits are no state.
        match({"ct": {"key": "state"}}, ["new", "established"], "!="),
        match(payload("ip", "saddr"), "@missing"),
        match({"concat": [payload("ip", "saddr"), payload("tcp", "dport")]}, {"set": []}, "!="),
        match(payload("ip", "saddr"), "not an address"),
    ],
)
def test_what_is_unknown_is_kept(expression: dict[str, Any]) -> None:
    rule = only_rule(expression, {"drop": None})
    assert isinstance(rule.matches[0], Unreadable)
    assert rule.action == Drop()


@pytest.mark.parametrize(
    ("statement", "action"),
    [
        ({"goto": {"target": "d"}}, Goto("d")),
        ({"redirect": {"port": 15001}}, Redirect(15001)),
    ],
)
def test_actions(statement: dict[str, Any], action: object) -> None:
    assert only_rule(statement).action == action


@pytest.mark.parametrize(
    "statement",
    [
        {"redirect": {"port": 15001, "flags": "random"}},
        {"redirect": None},
        {"dnat": {"addr": "1.2.3.4", "port": 5, "flags": "random"}},
        {"dnat": {"addr": {"map": {"key": payload("tcp", "dport"), "data": "@m"}}}},
        {"snat": {"addr": {"map": {"key": payload("tcp", "dport"), "data": "@m"}}}},
        {"xt": None},
        {"vmap": {"key": meta("mark"), "data": "@missing"}},
        {"tproxy": {"port": 5}},
        {"queue": {"num": 1}},
        {"text": "whatever it is"},
    ],
)
def test_unknown_actions_are_kept(statement: dict[str, Any]) -> None:
    assert isinstance(only_rule(statement).action, UnreadableAction)


def test_a_named_set_is_looked_up() -> None:
    elements = [
        {"elem": {"val": "10.0.0.1", "comment": "x"}},
        {"range": ["10.0.1.0", "10.0.1.255"]},
    ]
    rule = only_rule(
        match(payload("ip", "daddr"), "@s"),
        {"return": None},
        sets=({"name": "s", "type": "ipv4_addr", "elem": elements},),
    )
    assert rule.matches == (Destination(Networks.parse("10.0.0.1,10.0.1.0/24")),)


def test_tables_that_carry_no_ip_are_left_out() -> None:
    text = json.dumps({"nftables": [{"table": {"family": "bridge", "name": "b", "handle": 1}}]})
    assert parse(text).tables == ()


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"a": []}', '{"nftables": 3}', '{"nftables": [{"table": 3}]}',
     '{"nftables": [{"rule": {"family": "ip", "table": "t"}}]}'],
)  # fmt: skip
def test_what_is_no_listing_is_named(text: str) -> None:
    with pytest.raises(ParseError, match="nft's JSON is not as expected"):
        parse(text)
