"""Random packets, most of them at an edge of what a configuration names."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING

import msgspec

from interceptor.analysis.packet import Address, Packet
from interceptor.config import Mode
from interceptor.names import LOOPBACK_INTERFACE
from tests.lab.differential import configs
from tests.lab.differential.ground import HOSTS, INTERFACES, OWN, RESOLVERS
from tests.lab.differential.wire import Ends

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from interceptor.config import Config
    from interceptor.values import Accounts, Ports
    from tests.lab.differential.routes import Routes

_LOWEST_SOURCE, _HIGHEST_SOURCE = 20000, 59999
_HIGHEST_ID = 2**32 - 2
_INBOUND, _UDP, _INVALID, _AT_AN_EDGE = 0.4, 0.3, 0.15, 0.75
"""Shares of packets."""
_LOOPBACKS: dict[int, tuple[Address, ...]] = {
    4: tuple(ip_address(text) for text in ("127.0.0.1", "127.0.0.6", "127.1.2.3")),
    6: (ip_address("::1"), ip_address("::6")),
}
_STRANGERS: dict[int, tuple[Address, ...]] = {
    4: tuple(map(ip_address, ("10.1.0.2", "203.0.113.10", "203.0.113.53", "64.1.2.3"))),
    6: tuple(map(ip_address, ("fd01::2", "2001:db8::10", "2001:db8::53", "fd80::77", "::6"))),
}
_FAR = {
    version: [address for text in configs.FAR if (address := ip_address(text)).version == version]
    for version in (4, 6)
}
_UNUSABLE: tuple[IPv4Network | IPv6Network, ...] = (
    *map(IPv4Network, ("0.0.0.0/8", "127.255.255.255/32", "169.254.0.0/16", "224.0.0.0/3")),
    *map(IPv6Network, ("::/128", "::ffff:0:0/96", "fe80::/10", "ff00::/8")),
    *(IPv4Network((int(both[4]) & ~255, 32)) for both in HOSTS.values()),
    *(IPv4Network((int(both[4]) | 255, 32)) for both in HOSTS.values()),
    *(IPv6Network((int(both[6]) & ~0xFFFF, 128)) for both in HOSTS.values()),
)
"""Where no ordinary packet goes: groups, links, broadcast, any router, IPv4 in IPv6's clothes."""
_LOOPBACK4 = IPv4Network("127.0.0.0/8")
_LOCALHOST6 = IPv6Address("::1")
_LOOPBACK6 = IPv6Network("::/125")
_COMPATIBLE = IPv6Network("::/96")
"""IPv4-compatible addresses. What comes in for one is dropped by REDIRECT, which looks on the
interface for an address of the same scope: theirs is none of the usual ones
(nf_nat_redirect_ipv6_usable in nf_nat_redirect.c)."""


class SourcePorts:
    """One after the other, so that none is used again before its connection is forgotten."""

    def __init__(self) -> None:
        self._next = _LOWEST_SOURCE

    def take(self) -> int:
        """Give the next one."""
        taken = self._next
        self._next = taken + 1 if taken < _HIGHEST_SOURCE else _LOWEST_SOURCE
        return taken


class Maker:
    """Makes packets for a configuration; no two are of one connection.

    Args:
        random: the dice.
        config: what has edges.
        routes: where packets leave.
        sources: where source ports come from.
    """

    def __init__(
        self, random: Random, config: Config, routes: Routes, sources: SourcePorts
    ) -> None:
        self._random, self._routes, self._sources = random, routes, sources
        self._config = config
        self._ports = _edges_of_ports(config)
        self._uids = _edges_of_ids(config.proxy_uid, config.exclude_outbound_uids)
        self._gids = _edges_of_ids(
            config.proxy_gid,
            config.include_outbound_owner_groups,
            config.exclude_outbound_owner_groups,
        )
        self._marks = _edges_of_marks(config)
        self._addresses = {version: _edges_of_networks(config, version) for version in (4, 6)}
        self._used: set[Ends] = set()

    def packets(self, count: int) -> list[Packet]:
        """Give some."""
        found: list[Packet] = []
        while len(found) < count:
            is_inbound = self._random.random() < _INBOUND
            made = self._inbound() if is_inbound else self._sent()
            if made is None or made.source_port == made.destination_port:
                continue
            ends = Ends.of(made)
            if self._used.isdisjoint((ends, ends.back)):
                self._used.add(ends)
                found.append(made)
        return found

    def _inbound(self) -> Packet | None:
        random = self._random
        version = random.choice((4, 6))
        interface = random.choice(INTERFACES)
        destination = self._destination(version)
        source = random.choice(_STRANGERS[version])
        if _is_loopback(destination) or destination in _COMPATIBLE or destination == source:
            return None
        protocol, source_port, port = self._transport()
        # Only of connections it is known what comes of an answer to an address of the pod.
        may_be_invalid = protocol == "tcp" and source not in _LOOPBACKS[version]
        # What only looks like an answer is nobody's first packet, which TPROXY's rules ask for.
        may_be_invalid = may_be_invalid and self._config.mode is not Mode.TPROXY
        return Packet(
            protocol=protocol,
            source=source,
            destination=destination,
            source_port=source_port,
            destination_port=port,
            in_interface=interface,
            state="INVALID" if may_be_invalid and random.random() < _INVALID else "NEW",
        )

    def _sent(self) -> Packet | None:
        random = self._random
        version = random.choice((4, 6))
        destination = self._destination(version, with_loopback=True)
        protocol, source_port, port = self._transport()
        share = 0.5 if self._config.exempt_mark else 0.25
        mark = random.choice(self._marks) if random.random() < share else 0
        interface = self._routes.interface(destination, mark)
        source = self._source(version, destination, interface)
        is_only_marked = interface == LOOPBACK_INTERFACE and self._is_far(destination)
        # Where nobody listens, none resets in the name of an address that is here by a mark alone.
        if source is None or (is_only_marked and protocol == "tcp"):
            return None
        return Packet(
            protocol=protocol,
            source=source,
            destination=destination,
            source_port=source_port,
            destination_port=port,
            uid=random.choice(self._uids),
            gid=random.choice(self._gids),
            mark=mark,
            out_interface=interface,
        )

    def _source(self, version: int, destination: Address, interface: str) -> Address | None:
        """Choose an address to send from, so that what answers can answer.

        What is of loopback never leaves the host, and ::1 is answered on ``lo`` alone.
        """
        random = self._random
        kinds: list[tuple[Address, ...]] = [tuple(both[version] for both in HOSTS.values())]
        if not _is_loopback(destination):
            kinds.append(_STRANGERS[version][:2])
        if interface == LOOPBACK_INTERFACE and not self._is_far(destination):
            on_lo = any(destination in network for network in (*OWN, _LOOPBACK6))
            kinds += [_LOOPBACKS[version][0 if version == 4 or on_lo else 1 :]] * 3
        found = random.choice(random.choice(kinds))
        return None if found == destination else found

    def _is_far(self, destination: Address) -> bool:
        """Whether it is here only because of its mark."""
        return self._routes.interface(destination, 0) != LOOPBACK_INTERFACE

    def _transport(self) -> tuple[str, int, int]:
        """Choose protocol, source port and port."""
        random = self._random
        port = random.choice(self._ports) if random.random() < _AT_AN_EDGE else self._any_port()
        if random.random() >= _UDP:
            return "tcp", self._sources.take(), port
        if random.random() < 0.7:
            port = 53
        if random.random() < 0.3:
            # As a resolver's or the proxy's answer has it; it is told from others by its port.
            source = random.choice((53, self._config.dns_port))
            return "udp", source, random.randint(_HIGHEST_SOURCE + 1, 65535)
        return "udp", self._sources.take(), port

    def _any_port(self) -> int:
        return self._random.randint(1, 65535)

    def _destination(self, version: int, *, with_loopback: bool = False) -> Address:
        random = self._random
        while True:
            kind = random.random()
            found: Address
            if kind < 0.35:
                found = random.choice(self._addresses[version])
            elif kind < 0.6:
                owns = [network for network in OWN if network.version == version]
                own = random.choice(owns)
                # Mostly the pod's very own.
                found = random.choice(
                    [*(both[version] for both in HOSTS.values()), own[5], own[-9]]
                )
            elif kind < 0.7 and with_loopback:
                found = random.choice(_LOOPBACKS[version])
            elif kind < 0.75:
                found = ip_address(random.choice(RESOLVERS))
            else:
                found = random.choice(_FAR[version])
            if found.version == version and not any(found in n for n in _UNUSABLE):
                return found


def is_of_stranger(packet: Packet) -> bool:
    """Whether this host sends it from an address that is not its own."""
    hosts = [both[packet.source.version] for both in HOSTS.values()]
    is_own = packet.source in hosts or packet.source in _LOOPBACKS[packet.source.version]
    return packet.uid is not None and not is_own


def _is_loopback(address: Address) -> bool:
    return address in _LOOPBACK4 if isinstance(address, IPv4Address) else address == _LOCALHOST6


def _around(ranges: tuple[tuple[int, int], ...], lowest: int, highest: int) -> Iterator[int]:
    """Give the ends of ranges, and what is just beyond."""
    for low, high in ranges:
        for number in (low - 1, low, high, high + 1):
            if lowest <= number <= highest:
                yield number


def _edges_of_ports(config: Config) -> list[int]:
    found = list(configs.PORTS)
    for row in (config.outbound_port, config.inbound_port, config.tunnel_port, config.dns_port):
        found += _around(((row, row),), 1, 65535)
    named: tuple[Ports, ...] = (
        config.include_inbound_ports,
        config.exclude_inbound_ports,
        config.include_outbound_ports,
        config.exclude_outbound_ports,
    )
    for ports in named:
        found += _around(ports.ranges, 1, 65535)
    return found


def _edges_of_ids(*named: Accounts) -> list[int]:
    found = [0, 1000, 1337, 77777]
    for accounts in named:
        found += _around(accounts.ids.ranges, 0, _HIGHEST_ID)
    return found


def _edges_of_marks(config: Config) -> list[int]:
    """Give marks, the same with other bits, and one bit of each wrong."""
    found = [*configs.MARKS, *[config.tproxy_mark] * 4]
    for mark in config.exempt_mark.marks:
        full = mark.value | (~mark.mask & 0xFFFFFFFF)
        lowest_bit = mark.mask & -mark.mask
        found += [mark.value, full] * 4 + [mark.value ^ lowest_bit, full ^ lowest_bit]
    return [mark for mark in found if mark]


def _edges_of_networks(config: Config, version: int) -> list[Address]:
    found = [*_FAR[version]]
    loopback = config.loopback_cidr
    networks = [*config.include_outbound_cidrs.written, *config.exclude_outbound_cidrs.written]
    for network in (*networks, loopback):
        if network.version != version or not network.prefixlen:
            continue
        first, last = int(network[0]), int(network[-1])
        kind = type(network[0])
        highest = (1 << network.max_prefixlen) - 1
        found += [kind(n) for n in (first - 1, first, last, last + 1) if 0 < n < highest]
    return found


def show(packet: Packet) -> str:
    """Write a packet in one line."""
    fields = msgspec.structs.asdict(packet)
    return " ".join(f"{key}={value}" for key, value in fields.items() if value not in ("", None))
