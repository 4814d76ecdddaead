"""Values: what they read, how they write it, and that sets behave as sets."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from interceptor.names import Family
from interceptor.values import Accounts, Ids, Interfaces, Mark, Marks, Networks, Ports


@pytest.mark.parametrize(
    ("text", "ranges", "shown"),
    [
        ("", (), ""),
        ("80", ((80, 80),), "80"),
        ("443,80", ((80, 80), (443, 443)), "80,443"),
        (" 80 , 443 ", ((80, 80), (443, 443)), "80,443"),
        ("80,81,82", ((80, 82),), "80-82"),
        ("8000-8100", ((8000, 8100),), "8000-8100"),
        ("8000:8100", ((8000, 8100),), "8000-8100"),
        ("10-20,15-30,31", ((10, 31),), "10-31"),
        ("1-65535", ((1, 65535),), "1-65535"),
        ("*", ((0, 65535),), "*"),
    ],
)
def test_ports(text: str, ranges: tuple[tuple[int, int], ...], shown: str) -> None:
    ports = Ports.parse(text)
    assert ports.ranges == ranges
    assert str(ports) == shown
    assert Ports.parse(str(ports)) == ports


def test_ports_are_a_set() -> None:
    ports = Ports.parse("10-20,30")
    assert 10 in ports
    assert 25 not in ports
    assert str(ports - Ports.parse("15")) == "10-14,16-20,30"
    assert str(ports - Ports.parse("1-100")) == ""
    assert str(ports - Ports.parse("5-12,20-30")) == "13-19"
    assert str(ports + Ports.parse("21-29")) == "10-30"
    assert not Ports()
    assert Ports.parse("*").is_everything
    assert not Ports.parse("1-65535").is_everything


def test_ids_have_other_bounds() -> None:
    assert Ids.parse("0,4294967294").ranges == ((0, 0), (4294967294, 4294967294))
    with pytest.raises(ValueError, match="not within"):
        Ids.parse("4294967295")


def test_accounts_keep_names_until_they_are_known() -> None:
    accounts = Accounts.parse("1337,envoy,2000-2010")
    assert accounts.names == ("envoy",)
    assert str(accounts) == "1337,2000-2010,envoy"
    assert str(accounts.resolve({"envoy": 101})) == "101,1337,2000-2010"
    with pytest.raises(KeyError, match="envoy"):
        accounts.resolve({})
    assert Accounts.parse("_chrony").names == ("_chrony",)
    assert not Accounts.parse("")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.1.2.3", "10.1.2.3/32"),
        ("fd00::1,10.0.0.1", "10.0.0.1/32,fd00::1/128"),
        ("10.0.0.0/9,10.128.0.0/9", "10.0.0.0/8"),
        ("10.0.0.0/8,10.1.0.0/16", "10.0.0.0/8"),
        ("FD00::/8", "fd00::/8"),
        ("*", "*"),
        ("0.0.0.0/0,::/0", "*"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("", ""),
    ],
)
def test_networks(text: str, shown: str) -> None:
    networks = Networks.parse(text)
    assert str(networks) == shown
    assert Networks.parse(str(networks)) == networks


def test_networks_know_their_families() -> None:
    networks = Networks.parse("0.0.0.0/0,fd00::/8")
    assert networks.covers(Family.IP)
    assert not networks.covers(Family.IP6)
    assert networks.part(Family.IP6) == (ip_network("fd00::/8"),)
    assert not networks.is_everything


def test_networks_within_and_outside_others() -> None:
    networks = Networks.parse("127.1.0.0/16,10.0.0.0/8,::1,fd00::/8")
    loopback = Networks.parse("127.0.0.0/8,::1")
    assert str(networks.within(loopback)) == "127.1.0.0/16,::1/128"
    assert str(networks.within(loopback, inside=False)) == "10.0.0.0/8,fd00::/8"
    assert not Networks.everything().within(loopback)


@pytest.mark.parametrize(
    ("text", "mark", "shown"),
    [
        ("1337", Mark(1337), "0x539"),
        ("0x539/0xfff", Mark(0x539, 0xFFF), "0x539/0xfff"),
        ("0/1", Mark(0, 1), "0x0/0x1"),
        ("0x1/0xffffffff", Mark(1), "0x1"),
    ],
)
def test_marks(text: str, mark: Mark, shown: str) -> None:
    assert Mark.parse(text) == mark
    assert str(mark) == shown
    assert Marks.parse(f"{text},{text}") == Marks((mark,))


def test_interfaces_are_sorted_and_single() -> None:
    assert str(Interfaces.parse("eth1,docker+,eth1")) == "docker+,eth1"
    assert str(Interfaces.parse("eth0,eth+")) == "eth+"
    assert str(Interfaces.parse("eth+,eth0+,et,lo")) == "et,eth+,lo"
    assert Interfaces.parse("lo.100@if3").names == ("lo.100@if3",)
    for bad in ("eth 0", 'eth"0', "eth+0", "+", "éth0", "eth0{", "eth0;", "a" * 16):
        with pytest.raises(ValueError, match="is no interface name"):
            Interfaces.parse(bad)
