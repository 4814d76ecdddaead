"""The walk of one packet: order of chains, jumps and returns, translation once, unknown words."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from interceptor import model
from interceptor.analysis.packet import (
    Direct,
    Dropped,
    Packet,
    Redirected,
    Translated,
    Transparent,
    Unknown,
)
from interceptor.analysis.walk import walk, walk_sent
from interceptor.names import ChainType, Family, Hook
from interceptor.parse.iptables_save import parse
from tests.unit.common import rules


def packet(**fields: Any) -> Packet:
    given: dict[str, Any] = {
        "protocol": "tcp",
        "source": "10.1.0.1",
        "destination": "203.0.113.1",
        "destination_port": 80,
        "uid": 1000,
        "gid": 1000,
        "out_interface": "eth0",
    } | fields
    given["source"], given["destination"] = map(
        ip_address, (given["source"], given["destination"])
    )
    return Packet(**given)


@pytest.mark.parametrize(
    ("fields", "fate"),
    [
        ({}, Redirected(15001)),
        ({"protocol": "udp"}, Direct()),
        ({"uid": 1337}, Direct()),
        ({"gid": 1337}, Direct()),
        ({"uid": None, "gid": None}, Redirected(15001)),
        ({"out_interface": "lo", "destination": "10.1.0.1"}, Direct()),
        ({"out_interface": "lo", "destination": "10.1.0.1", "uid": 1337}, Redirected(15006)),
        ({"out_interface": "lo", "destination": "127.0.0.1", "uid": 1337}, Direct()),
        (
            {
                "out_interface": "lo",
                "destination": "10.1.0.1",
                "uid": 1337,
                "destination_port": 22,
            },
            Direct(),
        ),
        (
            {"out_interface": "lo", "destination": "10.1.0.1", "uid": 1337, "source": "127.0.0.6"},
            Direct(),
        ),
        ({"source": "fd00::1", "destination": "2001:db8::1"}, Redirected(15001)),
    ],
)
def test_the_default_sheet_outbound(fields: dict[str, Any], fate: object) -> None:
    found = walk(rules(), Hook.OUTPUT, packet(**fields))
    assert found.fate == fate
    if fate != Direct():
        assert found.path[-1].rule.action.port == fate.port  # type: ignore[union-attr]


def test_a_family_that_is_off_is_left_alone() -> None:
    ipv4 = rules(ip_families="ipv4")
    v6 = packet(source="fd00::1", destination="2001:db8::1")
    assert walk(ipv4, Hook.OUTPUT, v6).fate == Direct()
    assert walk(ipv4, Hook.OUTPUT, packet()).fate == Redirected(15001)


def fate_in(*lines: str, **fields: Any) -> object:
    """Walk a packet through hand-written output chains; A and B are there to jump to."""
    text = "\n".join(
        [
            *("*nat", ":OUTPUT ACCEPT [0:0]", ":A - [0:0]", ":B - [0:0]"),
            *(f"-A {line}" for line in lines if not line.startswith("filter ")),
            *("COMMIT", "*filter", ":OUTPUT ACCEPT [0:0]"),
            *(f"-A {line[7:]}" for line in lines if line.startswith("filter ")),
            "COMMIT",
        ]
    )
    return walk(parse(text, Family.IP), Hook.OUTPUT, packet(**fields)).fate


_NINE = ip_address("10.9.9.9")
_TO = "-p tcp -j REDIRECT --to-ports"


@pytest.mark.parametrize(
    ("lines", "fate"),
    [
        ((), Direct()),
        ((f"OUTPUT {_TO} 1",), Redirected(1)),
        ((f"OUTPUT {_TO} 1", f"OUTPUT {_TO} 2"), Redirected(1)),
        (("OUTPUT -j ACCEPT", f"OUTPUT {_TO} 1"), Direct()),
        (("OUTPUT -j RETURN", f"OUTPUT {_TO} 1"), Direct()),
        (("OUTPUT -p tcp", f"OUTPUT {_TO} 1"), Redirected(1)),
        (("OUTPUT -j A", f"OUTPUT {_TO} 1", "A -j RETURN"), Redirected(1)),
        (("OUTPUT -j A", f"OUTPUT {_TO} 1", "A -j ACCEPT"), Direct()),
        (("OUTPUT -j A", f"OUTPUT {_TO} 1", "A -g B", f"A {_TO} 2", "B -j RETURN"), Redirected(1)),
        (("OUTPUT -g A", f"OUTPUT {_TO} 1", "A -j RETURN"), Direct()),
        ((f"OUTPUT {_TO} 1", "filter OUTPUT -j DROP"), Dropped()),
        (("OUTPUT -j ACCEPT", "filter OUTPUT -j DROP"), Dropped()),
        (
            ("OUTPUT -m u32 --u32 1 -j ACCEPT", f"OUTPUT {_TO} 1"),
            Unknown("nat OUTPUT rule 1: -m u32 --u32 1 -j ACCEPT"),
        ),
        # Nobody can tell whether it matches, and it makes no difference.
        (("OUTPUT -m u32 --u32 1 -j ACCEPT",), Direct()),
        ((f"OUTPUT -m u32 --u32 1 {_TO} 1", f"OUTPUT {_TO} 1"), Redirected(1)),
        (("OUTPUT -p udp -m u32 --u32 1 -j ACCEPT",), Direct()),
        (("OUTPUT -p tcp -j FROB",), Unknown("nat OUTPUT rule 1: -p tcp -j FROB")),
        (("OUTPUT -p tcp -j LOG", f"OUTPUT {_TO} 1"), Redirected(1)),
        (("OUTPUT -p tcp -j DNAT --to-destination 10.9.9.9:81",), Translated(_NINE, 81)),
        (("OUTPUT -j ACCEPT", "filter OUTPUT -j REJECT"), Dropped()),
        (("OUTPUT -m addrtype --dst-type LOCAL -j ACCEPT", f"OUTPUT {_TO} 1"), Redirected(1)),
        (("OUTPUT -m addrtype ! --dst-type LOCAL -j ACCEPT", f"OUTPUT {_TO} 1"), Direct()),
    ],
)
def test_chains_in_order(lines: tuple[str, ...], fate: object) -> None:
    assert fate_in(*lines) == fate


def arrived(*lines: str, **fields: Any) -> object:
    """Walk a packet through hand-written prerouting chains of ``TABLE RULE``."""
    return walk(prerouting(*lines), Hook.PREROUTING, packet(**_ARRIVING | fields)).fate


def prerouting(*lines: str) -> model.Ruleset:
    """Read hand-written rules, each behind its table's name; a filter chain comes after nat."""
    text: list[str] = []
    for table in ("raw", "mangle", "nat"):
        own = [line.removeprefix(f"{table} ") for line in lines if line.startswith(f"{table} ")]
        text += [f"*{table}", ":PREROUTING ACCEPT [0:0]", ":A - [0:0]"]
        text += [
            *(f"-A {'' if rule[:2] == 'A ' else 'PREROUTING '}{rule}" for rule in own),
            "COMMIT",
        ]
    read = parse("\n".join(text), Family.IP)
    dropped = [line for line in lines if line.startswith("late ")]
    late = model.Chain(
        "late",
        tuple(model.Rule(action=model.Drop()) for _ in dropped),
        model.Base(ChainType.FILTER, Hook.PREROUTING, 0),
    )
    return model.Ruleset((*read.tables, model.Table(Family.IP, "theirs", (late,))))


_ARRIVING = {"uid": None, "gid": None, "in_interface": "eth0", "out_interface": ""}
_TPROXY = "mangle -p tcp -j TPROXY --on-port 15006 --on-ip 0.0.0.0 --tproxy-mark 0x539/0xffffffff"
_SET = "mangle -j MARK --set-xmark 0x{:x}/0xffffffff"
_SAVE, _RESTORE = (
    f"mangle -j CONNMARK --{what}-mark --nfmask 0xffffffff --ctmask 0xffffffff"
    for what in ("save", "restore")
)
_IF_MARKED = "nat -p tcp -m mark --mark 0x{:x} -j REDIRECT --to-ports 7"
_IF_CONNECTION = "nat -p tcp -m connmark --mark 0x{:x} -j REDIRECT --to-ports 8"


@pytest.mark.parametrize(
    ("lines", "fate"),
    [
        ((_TPROXY,), Transparent(15006)),
        ((_TPROXY, "mangle -j DROP"), Transparent(15006)),
        (("mangle -j DROP", _TPROXY), Dropped()),
        ((_TPROXY, "late drop"), Dropped()),
        ((_TPROXY, "nat -p tcp -j REDIRECT --to-ports 7"), Transparent(15006)),
        ((f"mangle A {_TPROXY.removeprefix('mangle ')}", "mangle -j A"), Transparent(15006)),
        (("mangle -p tcp -j ACCEPT", _TPROXY), Direct()),
        ((_SET.format(5), _IF_MARKED.format(5)), Redirected(7)),
        ((_SET.format(5), _IF_MARKED.format(6)), Direct()),
        ((_SET.format(5), _SAVE, _IF_CONNECTION.format(5)), Redirected(8)),
        ((_SET.format(5), _IF_CONNECTION.format(5)), Direct()),
        ((_SAVE, _SET.format(5), _RESTORE, _IF_MARKED.format(5)), Direct()),
        (
            (_SET.format(5), _SAVE, _SET.format(6), _RESTORE, _IF_MARKED.format(5)),
            Redirected(7),
        ),
        (("raw -j CT --zone 3", "raw -p tcp -j ACCEPT", _TPROXY), Transparent(15006)),
        (
            (
                "mangle -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j ACCEPT",
                _TPROXY,
            ),
            Direct(),
        ),
        (("mangle -p tcp -m tcp --tcp-flags SYN,ACK ACK -j ACCEPT", _TPROXY), Transparent(15006)),
        (("mangle -p tcp -m socket --transparent -j ACCEPT", _TPROXY), Transparent(15006)),
    ],
)
def test_marks_and_hand_overs(lines: tuple[str, ...], fate: object) -> None:
    assert arrived(*lines) == fate


def test_a_connections_mark_is_there_from_before() -> None:
    line = _IF_CONNECTION.format(5)
    assert arrived(line, connection_mark=5) == Redirected(8)
    assert arrived(_RESTORE, _IF_MARKED.format(5), connection_mark=5) == Redirected(7)


def test_what_rules_changed_is_told() -> None:
    lines = ("raw -j CT --zone 3", "raw -j CT --zone 4", _TPROXY)
    found = walk(prerouting(*lines), Hook.PREROUTING, packet(**_ARRIVING))
    assert (found.packet.zone, found.packet.mark) == (3, 0x539), "the first zone, the last mark"
    none = walk(prerouting(), Hook.PREROUTING, packet(**_ARRIVING))
    assert none.packet.zone is None


@pytest.mark.parametrize(
    ("state", "fate"),
    [
        ("NEW", Redirected(7)),
        ("RELATED", Redirected(7)),
        ("ESTABLISHED", Direct()),
        ("INVALID", Direct()),
        ("UNTRACKED", Direct()),
    ],
)
def test_only_a_first_packet_is_translated(state: str, fate: object) -> None:
    assert arrived("nat -p tcp -j REDIRECT --to-ports 7", state=state) == fate


@pytest.mark.parametrize(
    ("language", "fate"),
    [("", Dropped()), ("nftables", Dropped()), ("iptables", Redirected(7))],
)
def test_rules_for_one_language_alone(language: str, fate: object) -> None:
    read = prerouting("nat -p tcp -j REDIRECT --to-ports 7")
    base = model.Base(ChainType.FILTER, Hook.PREROUTING, -150)
    rule = model.Rule(action=model.Drop(), only="nftables")
    ours = model.Table(Family.IP, "ours", (model.Chain("c", (rule,), base),))
    both = model.Ruleset((*read.tables, ours))
    assert walk(both, Hook.PREROUTING, packet(**_ARRIVING), language).fate == fate


_POD, _CLIENT = "10.1.0.1", "10.1.0.2"
_OWN = {"out_interface": "lo", "destination": _POD, "source": _POD}


@pytest.mark.parametrize(
    ("fields", "fate"),
    [
        ({}, Redirected(15001)),
        (_OWN, Direct()),
        (_OWN | {"uid": 1337}, Redirected(15006)),
        (_OWN | {"uid": 1337, "source": "127.0.0.6"}, Direct()),
        (_OWN | {"uid": 1337, "source": _CLIENT, "mark": 1337}, Direct()),
        (_OWN | {"uid": 1337, "source": _CLIENT}, Redirected(15006)),
        (_OWN | {"uid": 1337, "destination_port": 22}, Direct()),
    ],
)
def test_the_default_sheet_by_tproxy_outbound(fields: dict[str, Any], fate: object) -> None:
    assert walk_sent(rules(mode="tproxy"), packet(**fields)).fate == fate


@pytest.mark.parametrize(
    ("fields", "fate"),
    [
        ({}, Transparent(15006)),
        ({"destination_port": 22}, Direct()),
        ({"protocol": "udp"}, Direct()),
        ({"in_interface": "lo", "mark": 1337}, Direct()),
        ({"source": "fd00::1", "destination": "2001:db8::1"}, Transparent(15006)),
    ],
)
def test_the_default_sheet_by_tproxy_inbound(fields: dict[str, Any], fate: object) -> None:
    given = packet(**_ARRIVING | fields)
    assert walk(rules(mode="tproxy"), Hook.PREROUTING, given).fate == fate


@pytest.mark.parametrize(
    ("fields", "zone", "fate"),
    [
        ({"uid": 1000}, 2, Redirected(15053)),
        ({"uid": 1337}, 1, Direct()),
        ({"gid": 1337}, 1, Direct()),
        ({"destination_port": 54}, None, Direct()),
        ({"uid": 1337, "source_port": 15053, "destination_port": 40000}, 2, Direct()),
        ({"uid": 1000, "source_port": 15053, "destination_port": 40000}, None, Direct()),
    ],
)
def test_queries_and_answers(fields: dict[str, Any], zone: int | None, fate: object) -> None:
    given = packet(**{"protocol": "udp", "destination_port": 53} | fields)
    found = walk_sent(rules(capture_dns="all"), given)
    assert (found.packet.zone, found.fate) == (zone, fate)


def test_what_stays_here_comes_in_by_lo() -> None:
    """Without an exception for lo, TPROXY catches it there; nat is not asked again."""
    ruleset = prerouting(_TPROXY, "nat -p tcp -j REDIRECT --to-ports 7")
    assert walk_sent(ruleset, packet(**_OWN)).fate == Transparent(15006)
    assert walk_sent(ruleset, packet()).fate == Direct(), "it leaves"
    by_lo = prerouting("nat -p tcp -j REDIRECT --to-ports 7")
    assert walk_sent(by_lo, packet(**_OWN)).fate == Direct()


@pytest.mark.parametrize(
    ("at_lo", "fate"),
    [
        ("-p tcp --dport 15001 -d 127.0.0.1/32 -j DROP", Dropped()),
        ("-p tcp --dport 80 -j DROP", Redirected(15001)),
        ("-i eth0 -j DROP", Redirected(15001)),
        ("-m owner ! --uid-owner 7 -j DROP", Redirected(15001)),
    ],
)
def test_what_is_redirected_comes_in_by_lo(at_lo: str, fate: object) -> None:
    redirect = "-A OUTPUT -p tcp -j REDIRECT --to-ports 15001"
    text = "\n".join(
        [
            *("*mangle", ":PREROUTING ACCEPT [0:0]", f"-A PREROUTING {at_lo}", "COMMIT"),
            *("*nat", ":OUTPUT ACCEPT [0:0]", redirect, "COMMIT"),
        ]
    )
    assert walk_sent(parse(text, Family.IP), packet()).fate == fate


def test_what_is_unknown_anyway_is_not_tried_in_every_way() -> None:
    """Forty rules that cannot be read would be a million million ways."""
    doubts = tuple(f"OUTPUT -m u32 --u32 {n} -j ACCEPT" for n in range(40))
    assert isinstance(fate_in(*doubts, "OUTPUT -p tcp -j FROB"), Unknown)
    assert isinstance(fate_in(*doubts, f"OUTPUT {_TO} 1"), Unknown)
