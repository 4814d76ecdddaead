"""The walk of one packet: order of chains, jumps and returns, translation once, unknown words."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from interceptor.analysis.packet import Direct, Dropped, Packet, Redirected, Unknown
from interceptor.analysis.walk import walk
from interceptor.names import Family, Hook
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
            ("OUTPUT -m u32 --u32 1 -j ACCEPT",),
            Unknown("nat OUTPUT rule 1: -m u32 --u32 1 -j ACCEPT"),
        ),
        (("OUTPUT -p udp -m u32 --u32 1 -j ACCEPT",), Direct()),
        (("OUTPUT -p tcp -j SNAT --to 1",), Unknown("nat OUTPUT rule 1: SNAT --to 1")),
    ],
)
def test_chains_in_order(lines: tuple[str, ...], fate: object) -> None:
    assert fate_in(*lines) == fate
