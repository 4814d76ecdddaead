"""One rule of nft's JSON that is several of the model."""

from __future__ import annotations

import json
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interceptor.errors import ParseError
from interceptor.model import (
    Accept,
    Action,
    Aside,
    ConnectionState,
    Continue,
    Destination,
    DestinationIsLocal,
    DestinationPort,
    Drop,
    FamilyIs,
    InInterface,
    Jump,
    Match,
    MixMarks,
    Note,
    NoTrack,
    PacketMark,
    Protocol,
    Redirect,
    Reject,
    Rule,
    Ruleset,
    SetConnectionMark,
    SetMark,
    SetMarkBits,
    SetSource,
    TProxy,
    TranslateDestination,
    TranslateSource,
    Unreadable,
    UnreadableAction,
)
from interceptor.names import Family
from interceptor.parse.nft_json import parse
from interceptor.values import Interfaces, Mark, Marks, Networks, Ports
from tests.unit.test_nft_json import listing, match, meta, payload

if TYPE_CHECKING:
    from collections.abc import Sequence

Statement = dict[str, Any]

_ACCEPT: Statement = {"accept": None}
_DROP: Statement = {"drop": None}
_JUMP: Statement = {"jump": {"target": "x"}}
_STATE: Statement = {"ct": {"key": "state"}}
_PORT = payload("tcp", "dport")
_LIMIT: Statement = {"limit": {"rate": 5, "per": "second"}}
_CT_MARK = {"ct": {"key": "mark"}}
_LOG: Statement = {"log": {"prefix": "x"}}
_TCP, _UDP = Protocol("tcp"), Protocol("udp")


def rules(*expressions: Statement, sets: tuple[Statement, ...] = ()) -> tuple[Rule, ...]:
    return parse(listing(*expressions, sets=sets)).tables[0].chains[0].rules


def meanings(found: Sequence[Rule]) -> list[tuple[set[Match], Action]]:
    return [(set(rule.matches), rule.action) for rule in found]


def vmap(key: Statement, data: object) -> Statement:
    return {"vmap": {"key": key, "data": data}}


def mangle(key: Statement, value: object) -> Statement:
    return {"mangle": {"key": key, "value": value}}


def ports(*numbers: int) -> DestinationPort:
    return DestinationPort(Ports.of(*numbers))


def to(address: str) -> Destination:
    return Destination(Networks.parse(address))


_CONCAT: Statement = {"concat": [payload("ip", "daddr"), _PORT]}
_LOCAL = match({"fib": {"result": "type", "flags": ["daddr"]}}, "local", "!=")

_CASES: dict[str, tuple[list[Statement], list[tuple[set[Match], Action]]]] = {
    "a map of verdicts": (
        [vmap(_PORT, {"set": [[22, _ACCEPT], [80, _JUMP], [23, _ACCEPT]]})],
        [({_TCP, ports(22, 23)}, Accept()), ({_TCP, ports(80)}, Jump("x"))],
    ),
    "what comes before it": (
        [match(meta("iifname"), "lo"), _LOG, vmap(_STATE, {"set": [["new", _ACCEPT]]})],
        [({InInterface(Interfaces(("lo",))), ConnectionState(("NEW",))}, Accept())],
    ),
    "what comes after it is for those that continue": (
        [vmap(_PORT, {"set": [[22, {"continue": None}], [80, _ACCEPT]]}), _DROP],
        [({_TCP, ports(22)}, Drop()), ({_TCP, ports(80)}, Accept())],
    ),
    "all others": (
        [vmap(_PORT, {"set": [[22, _ACCEPT], ["*", _DROP]]})],
        [
            ({_TCP, ports(22)}, Accept()),
            ({_TCP, DestinationPort(Ports.of(22), negated=True)}, Drop()),
        ],
    ),
    "nothing in it": ([vmap(_PORT, {"set": []})], [(set(), Continue())]),
    "rows of verdicts": (
        [vmap(_CONCAT, {"set": [[{"concat": ["10.0.0.1", 80]}, _ACCEPT]]})],
        [({to("10.0.0.1"), _TCP, ports(80)}, Accept())],
    ),
    "rows": (
        [
            match(_CONCAT, {"set": [{"concat": ["10.0.0.1", 80]}, {"concat": ["10.0.0.2", 81]}]}),
            _DROP,
        ],
        [
            ({to("10.0.0.1"), _TCP, ports(80)}, Drop()),
            ({to("10.0.0.2"), _TCP, ports(81)}, Drop()),
        ],
    ),
    "protocols": (
        [match(meta("l4proto"), {"set": ["tcp", 17]}), _DROP],
        [({_TCP}, Drop()), ({_UDP}, Drop())],
    ),
    "no such protocols": (
        [match(meta("l4proto"), {"set": ["tcp", "udp"]}, "!="), _DROP],
        [({Protocol("tcp", negated=True), Protocol("udp", negated=True)}, Drop())],
    ),
    "a protocol of one family": (
        [match(payload("ip", "protocol"), "tcp"), _DROP],
        [({_TCP, FamilyIs(Family.IP)}, Drop())],
    ),
    "a destination elsewhere": (
        [_LOCAL, _DROP],
        [
            (
                {
                    DestinationIsLocal(
                        '{"match":{"left":{"fib":{"flags":["daddr"],"result":"type"}},'
                        '"op":"==","right":"local"}}',
                        negated=True,
                    )
                },
                Drop(),
            )
        ],
    ),
    "a log before a verdict": (
        [_LOG, _DROP],
        [({Aside('[{"log":{"prefix":"x"}}]')}, Drop())],
    ),
    "a log alone": ([_LOG], [(set(), Note('[{"log":{"prefix":"x"}}]'))]),
    "a limit": (
        [_LIMIT, _DROP],
        [({Unreadable('{"limit":{"per":"second","rate":5}}')}, Drop())],
    ),
    "a limit with nothing behind it": (
        [_LIMIT],
        [(set(), Note('[{"limit":{"per":"second","rate":5}}]'))],
    ),
    "several things done": (
        [mangle(meta("mark"), 1), match(_PORT, 80), _ACCEPT],
        [(set(), SetMark(1)), ({_TCP, ports(80)}, Accept())],
    ),
    "a mark that is looked at before it is set": (
        [match(meta("mark"), 0), mangle(meta("mark"), 1), _ACCEPT],
        [
            (
                {PacketMark(Marks((Mark(0),)))},
                UnreadableAction(
                    '[{"mangle":{"key":{"meta":{"key":"mark"}},"value":1}},{"accept":null}]'
                ),
            )
        ],
    ),
    "a mark with a mask of the highest bits": (
        [match(meta("mark"), {"prefix": {"addr": 2, "len": 31}}), _ACCEPT],
        [({PacketMark(Marks((Mark(2, 0xFFFFFFFE),)))}, Accept())],
    ),
    "bits of a connection's mark": (
        [mangle(_CT_MARK, {"|": [{"&": [_CT_MARK, 0xFFFFF111]}, 0x111]})],
        [(set(), SetConnectionMark(0x111, 0xFFF))],
    ),
    "bits of a connection's mark out of the packet's": (
        [mangle(_CT_MARK, {"|": [{"&": [meta("mark"), 0xFFFFF111]}, 0x111]})],
        [
            (
                set(),
                MixMarks(
                    '{"mangle":{"key":{"ct":{"key":"mark"}},"value":{"|":[{"&":[{"meta":'
                    '{"key":"mark"}},4294963473]},273]}}}'
                ),
            )
        ],
    ),
    "another source": (
        [{"snat": {"family": "ip6", "addr": "fd00::1"}}],
        [({FamilyIs(Family.IP6)}, SetSource(IPv6Address("fd00::1")))],
    ),
    "bits of a mark": (
        [mangle(meta("mark"), {"|": [{"&": [meta("mark"), 0xFFFFFF00]}, 5]})],
        [
            (
                set(),
                SetMarkBits(
                    '{"mangle":{"key":{"meta":{"key":"mark"}},"value":'
                    '{"|":[{"&":[{"meta":{"key":"mark"}},4294967040]},5]}}}',
                    5,
                    0xFF,
                ),
            )
        ],
    ),
    "a hand-over after its mark": (
        [mangle(meta("mark"), 1), {"tproxy": {"port": 9}}, _ACCEPT],
        [(set(), SetMark(1)), (set(), TProxy(9, 1))],
    ),
    "a translation of one family": (
        [{"dnat": {"family": "ip", "port": 9}}],
        [
            (
                {FamilyIs(Family.IP)},
                TranslateDestination(None, 9),
            )
        ],
    ),
    "what cannot be met": (
        [match(_CONCAT, {"set": []}), _DROP],
        [({Destination(Networks()), FamilyIs(Family.IP)}, Continue())],
    ),
    "a map of marks that comes back": (
        [vmap(meta("mark"), {"set": [[1, _JUMP], [2, _DROP]]})],
        [
            (
                set(),
                UnreadableAction(
                    '[{"vmap":{"data":{"set":[[1,{"jump":{"target":"x"}}],[2,{"drop":null}]]},'
                    '"key":{"meta":{"key":"mark"}}}}]'
                ),
            )
        ],
    ),
}


@pytest.mark.parametrize("name", _CASES)
def test_it_becomes(name: str) -> None:
    statements, expected = _CASES[name]
    assert meanings(rules(*statements)) == expected


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ({"reject": {"type": "tcp reset"}}, Reject),
        ({"notrack": None}, NoTrack),
        ({"snat": {"addr": "10.0.0.1"}}, SetSource),
        ({"masquerade": None}, TranslateSource),
        ({"redirect": {"port": 9}}, Redirect),
        (mangle({"ct": {"key": "mark"}}, 5), SetConnectionMark),
        (mangle(meta("mark"), {"&": [{"ct": {"key": "mark"}}, 5]}), MixMarks),
        (mangle(meta("nftrace"), 1), Note),
        (mangle(payload("ip", "dscp"), "cs1"), Note),
        (mangle(meta("mark"), {"map": {"key": _PORT, "data": "@m"}}), UnreadableAction),
    ],
)
def test_actions_of_others(statement: Statement, kind: type[Action]) -> None:
    [found] = rules({"counter": None}, statement)
    assert type(found.action) is kind
    assert not found.matches


def test_a_named_map_is_looked_up_unless_packets_change_it() -> None:
    elements = [[{"elem": {"val": 22, "comment": "x"}}, _ACCEPT]]
    named = ({"name": "m", "elem": elements},)
    asks = vmap(_PORT, "@m")
    assert meanings(rules(asks, sets=named)) == [({_TCP, ports(22)}, Accept())]
    puts = {"map": {"op": "add", "elem": _PORT, "data": _DROP, "map": "@m"}}
    [found] = rules(puts, asks, sets=named)
    assert isinstance(found.action, UnreadableAction)


def test_elements_with_conditions_of_their_own_are_unread() -> None:
    limited = {"elem": {"val": 80, "limit": {"rate": 1}}}
    [found] = rules(match(_PORT, {"set": [limited]}), _DROP)
    assert isinstance(found.matches[0], Unreadable)


def test_a_listing_that_would_be_very_many_rules_is_unread() -> None:
    rows = [{"concat": [f"10.0.{n >> 8}.{n & 255}", n]} for n in range(1000)]
    [found] = rules(match(_CONCAT, {"set": rows}), match(_CONCAT, {"set": rows}), _DROP)
    assert isinstance(found.action, UnreadableAction)


_SEEDS = [case[0] for case in _CASES.values()]


def mangled(draw: st.DrawFn, part: Any) -> Any:
    """Change or drop some parts of a listing."""
    dice = draw(st.integers(0, 19))
    if dice == 0:
        return draw(st.sampled_from([None, 5, -1, "x", "@m", [], {}, 2**70, 1.5, True, "*"]))
    if isinstance(part, dict):
        return {
            key: mangled(draw, value) for key, value in part.items() if draw(st.integers(0, 30))
        }
    if isinstance(part, list):
        return [mangled(draw, value) for value in part if draw(st.integers(0, 30))]
    return part


@given(st.data(), st.sampled_from(_SEEDS))
@settings(max_examples=300, deadline=None)
def test_nothing_else_than_an_error_or_rules_comes_out(
    data: st.DataObject, seed: list[Statement]
) -> None:
    named = ({"name": "m", "elem": [[22, _ACCEPT]]}, {"name": "s", "elem": [22]})
    whole = json.loads(listing(*seed, sets=named))
    text = json.dumps({"nftables": data.draw(st.composite(mangled)(whole["nftables"]))})
    try:
        assert isinstance(parse(text), Ruleset)
    except ParseError:
        return
