"""What verify finds in rules to try, and what it says of the rest."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from interceptor.model import Ruleset
from interceptor.names import Family
from interceptor.parse.iptables_save import parse
from interceptor.verify.named import MOST_OF_A_KIND, MOST_PORTS, Named
from interceptor.verify.networks import SPACIOUS, choose
from interceptor.verify.stage import addresses
from tests.unit.common import rules

FAMILIES = Family.INET.members


def family_of(network: str) -> Family:
    return Family.IP6 if ":" in network else Family.IP


@pytest.mark.parametrize(
    "network",
    [
        *("0.0.0.0/8", "0.0.0.0/7", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "232.0.0.0/8"),
        *("fe80::/10", "fe80::/64", "ff00::/8", "ff02::/16", "::/96", "::ffff:0:0/96"),
    ],
)
def test_no_address_is_borrowed_where_none_is_a_hosts(network: str) -> None:
    family = family_of(network)
    borrowed = choose([ip_network(network)], family, MOST_OF_A_KIND).networks
    if network == "0.0.0.0/7":
        assert borrowed == (ip_network("1.0.0.0/8"),)
    else:
        assert not borrowed


@pytest.mark.parametrize(
    "network",
    [
        *("0.0.0.0/1", "128.0.0.0/1", "192.0.0.0/2", "169.0.0.0/8", "112.0.0.0/4", "224.0.0.0/3"),
        *("10.0.0.0/8", "198.18.0.0/15", "240.0.0.0/4"),
        *("::/1", "8000::/1", "fe00::/8", "f000::/4", "64:ff9b::/96", "fd00::/8"),
    ],
)
def test_what_is_borrowed_of_wide_networks_is_a_hosts_address(network: str) -> None:
    """As Python's own tables have it, which are not what the choice is made by."""
    whole = ip_network(network)
    (part,) = choose([whole], family_of(network), MOST_OF_A_KIND).networks
    assert part.subnet_of(whole)  # type: ignore[arg-type]  # of one family
    for address in (part[0], part[part.num_addresses // 3], part[-2]):
        assert not address.is_multicast
        assert not address.is_link_local
        assert not address.is_loopback
        assert not address.is_unspecified


def test_every_network_is_tried_or_said_not_to_be() -> None:
    named = [f"10.{n}.0.0/16" for n in range(0, 20, 2)]
    small = ["192.0.2.0/24", "203.0.113.7/32"]
    bad = ["224.0.0.0/4", "169.254.0.0/16"]
    # Tried anyway: the neighbour's own address, and localhost.
    other = ["0.0.0.0/0", "127.0.0.1/32", "127.0.0.0/8"]
    networks = [ip_network(text) for text in (*small, *named, *bad, *other)]
    chosen = choose(networks, Family.IP, MOST_OF_A_KIND)
    assert [*map(str, chosen.networks)] == named[:MOST_OF_A_KIND]
    assert [*map(str, chosen.too_many)] == named[MOST_OF_A_KIND:]
    assert [*map(str, chosen.too_small)] == small
    assert [*map(str, chosen.not_routed)] == bad
    assert all(network.num_addresses >= SPACIOUS for network in chosen.networks)


def test_other_loopback_networks_are_not_tried() -> None:
    chosen = choose([ip_network("127.5.0.0/16")], Family.IP, MOST_OF_A_KIND)
    assert [*map(str, chosen.not_routed)] == ["127.5.0.0/16"]


def test_nothing_is_left_out_of_the_default_policy() -> None:
    named = Named.of(rules())
    assert named.left_out(FAMILIES) == []
    assert named.redirect_ports == (15006, 15001)
    assert [i.name for i in named.identities(named.stranger())] == ["uid 1337", "gid 1337"]


def test_what_is_left_out_is_said_for_those_families_alone() -> None:
    named = Named.of(rules(exclude_outbound_cidrs="224.0.0.0/4,ff00::/8,192.0.2.0/24"))
    what = "networks that are unspecified, loopback, link-local or multicast"
    assert named.left_out([Family.IP6]) == [f"IPv6 {what}: ff00::/8"]
    assert named.left_out([Family.IP]) == [
        "IPv4 networks too small to borrow an address from: 192.0.2.0/24",
        f"IPv4 {what}: 224.0.0.0/4",
    ]


def test_long_lists_are_counted() -> None:
    ports = ",".join(str(port) for port in range(2000, 2100, 2))
    named = Named.of(rules(exclude_inbound_ports=ports))
    assert len(named.inbound_ports) == MOST_PORTS
    (line,) = [line for line in named.left_out(FAMILIES) if line.startswith("inbound")]
    assert line.startswith("inbound ports beyond the 16 that are: 20")
    # Five are the policy's own.
    assert line.endswith(f" and {50 + 5 - MOST_PORTS - 6} more")


def test_the_proxys_own_users_come_first() -> None:
    """Whatever numbers others have: these are the ones that must not be left out."""
    named = Named.of(rules(exclude_outbound_uids="1,3,5,7,9,11,13", proxy_uid="4000"))
    assert named.identities(named.stranger())[0].name == "uid 4000"


def test_addresses_lie_in_the_networks() -> None:
    named = Named.of(rules(exclude_outbound_cidrs="10.0.0.0/8,192.0.0.0/2,fd00::/8"))
    for _ in range(50):
        for family, ends in addresses(named, FAMILIES).items():
            networks = named.networks[family].networks
            assert all(a in n for a, n in zip(ends.borrowed, networks, strict=True))
            assert ends.pod != ends.outside


def test_nothing_is_left_out_of_tproxy_and_dns() -> None:
    named = Named.of(rules(mode="tproxy", capture_dns="all"))
    assert named.left_out(FAMILIES) == []
    assert sorted(named.redirect_ports) == [15001, 15006, 15053]
    assert named.tproxy_ports == (15006,)
    assert named.udp_redirect_ports == (15053,)


def test_ports_of_udp_are_tried_by_udp() -> None:
    named = Named.of(rules(capture_dns="all", exclude_outbound_ports="3306"))
    assert named.udp_outbound_ports == (53,)
    assert named.udp_inbound_ports == ()
    assert set(named.outbound_ports) >= {53, 3306}, "by tcp too, as DNS is"
    off = Named.of(rules())
    assert (off.udp_outbound_ports, 53 in off.outbound_ports) == ((), False)


def test_a_port_that_udp_alone_names_is_not_tried_by_tcp() -> None:
    rule = "-A OUTPUT -p udp --dport 4000 -j REDIRECT --to-ports 5"
    text = f"*nat\n:OUTPUT ACCEPT [0:0]\n{rule}\nCOMMIT"
    named = Named.of(parse(text, Family.IP))
    assert named.outbound_ports == ()
    assert named.udp_outbound_ports == (4000,)
    assert (named.redirect_ports, named.udp_redirect_ports) == ((), (5,))


def test_what_others_hold_is_tried_too() -> None:
    text = (
        "*mangle\n:PREROUTING ACCEPT [0:0]\n"
        "-A PREROUTING -p tcp -j TPROXY --on-port 9 --on-ip 0.0.0.0 --tproxy-mark 0x5/0xffffffff\n"
        "COMMIT\n*raw\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -p udp --dport 161 -j ACCEPT\nCOMMIT"
    )
    named = Named.of(rules(), parse(text, Family.IP))
    assert named.udp_outbound_ports == (161,)
    assert named.tproxy_ports == (9,)
    assert named.redirect_ports == (15006, 15001), "where the policy leads"


def test_the_policys_own_mark_is_no_ones_identity() -> None:
    """A route leads what carries it back here; what it is for is tried as the proxy does."""
    named = Named.of(rules(mode="tproxy", exempt_mark="7"))
    assert [str(mark) for mark in named.marks] == ["0x7"]
    assert named.handovers == {Family.IP: (1337,), Family.IP6: (1337,)}
    one = Named.of(rules(mode="tproxy", ip_families="ipv4"))
    assert one.handovers == {Family.IP: (1337,), Family.IP6: ()}
    assert Named.of(rules()).handovers == {Family.IP: (), Family.IP6: ()}


def test_the_mark_of_the_proxys_sockets_may_be_another_than_that_of_its_connections() -> None:
    named = Named.of(rules("ambient"))
    assert named.handovers == {Family.IP: (0x539,), Family.IP6: (0x539,)}
    assert [str(mark) for mark in named.marks] == ["0x539/0xfff"]
    assert not [line for line in named.left_out(FAMILIES) if "mark" in line]


def test_without_a_way_back_nobody_hands_over() -> None:
    whole = rules(mode="tproxy")
    lone = Ruleset(tuple(t for t in whole.tables if t.name != "mangle"), whole.routing)
    named = Named.of(lone)
    assert not any(named.handovers.values())
    what = "marks that the rules give to packets themselves: 0x539"
    assert named.left_out(FAMILIES) == [what]


def test_resolvers_are_hosts() -> None:
    named = Named.of(rules(capture_dns="resolv-conf"))
    localhost = [ip_address("127.0.0.1")]
    assert [h for h in named.hosts[Family.IP] if h not in localhost] == [ip_address("10.0.0.53")]
    assert ip_address("fd00::53") in named.hosts[Family.IP6]
    small = "IPv4 networks too small to borrow an address from"
    assert [f"{small}: 10.0.0.53/32"] == named.left_out([Family.IP])
    assert named.left_out([Family.IP], {ip_address("10.0.0.53")}) == []


def test_clients_have_addresses_of_their_own() -> None:
    named = Named.of(rules(mode="tproxy"))
    for ends in addresses(named, FAMILIES).values():
        assert len({ends.pod, ends.outside, *ends.clients}) == 3
    for ends in addresses(Named.of(rules()), FAMILIES).values():
        assert ends.clients == ()
