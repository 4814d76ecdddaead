"""Random settings, as text: a few of all there are in each, near what the packets will be."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from tests.lab.differential.ground import HOSTS, INTERFACES, OWN, RESOLVERS

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

PORTS = (22, 53, 80, 443, 3306, 8080, 9090, 15001, 15006, 15008, 15020, 15021, 15053, 15090)
IDS = (0, 3, 500, 1000, 1337, 2000, 65534, 2**31, 2**32 - 2)
MARKS = (1, 7, 0x77, 0x539, 1338, 0x10000, 2**32 - 1)
NAMES = (*INTERFACES, "eth+", "br-lan+", "docker0", "vnet+")
FAR = (
    *("203.0.113.10", "198.51.100.10", "128.0.0.1", "64.9.9.9", "192.168.7.7", "172.16.5.4"),
    *("2001:db8::10", "2001:db8:1::10", "fd80::8", "fd90::9"),
)
NEAR = (
    *(str(address) for both in HOSTS.values() for address in both.values()),
    *(str(network[1]) for network in OWN),
    *RESOLVERS,
    *FAR,
)
"""Addresses around which networks are chosen."""
LOOPBACK = ("127.0.0.0/8", "127.0.0.1/32", "127.0.0.0/24", "127.1.2.0/28", "::1/128")
_SHEETS = ("sidecar", "sidecar", "sidecar", "istio")


def settings(random: Random) -> dict[str, str]:
    """Give settings, most of which are left out; some contradict one another."""
    chosen = {"sheet": random.choice(_SHEETS)}
    share = random.choice((0.1, 0.25, 0.5))
    for key, make in _ROWS.items():
        if random.random() < share:
            chosen[key] = make(random)
    # Half of what can happen happens only with these.
    for key, likely in (("mode", 0.5), ("capture_dns", 0.4)):
        if random.random() < likely:
            chosen[key] = _ROWS[key](random)
    if "include_outbound_ports" in chosen and random.random() < 0.7:
        # Where every address is included, it does not matter which ports are.
        chosen["include_outbound_cidrs"] = _networks(random)
    if chosen.get("mode") == "tproxy" and _outbound(chosen) == _inbound(chosen):
        # A packet may be handed over and translated as well (see compare); with one port for
        # both nobody can see which of them brought it there.
        del chosen["outbound_port" if "outbound_port" in chosen else "inbound_port"]
    return chosen


def _outbound(chosen: dict[str, str]) -> str:
    return chosen.get("outbound_port", "15001")


def _inbound(chosen: dict[str, str]) -> str:
    return chosen.get("inbound_port", "15006")


def _ranges(
    random: Random, near: tuple[int, ...], lowest: int, highest: int, most: int = 5
) -> str:
    parts = []
    for _ in range(random.randint(1, most)):
        low = random.choice(near) if random.random() < 0.7 else random.randint(lowest, highest)
        high = min(low + random.choice((0, 0, 0, 1, 2, 50, 1000)), highest)
        parts.append(f"{low}" if low == high else f"{low}-{high}")
    return ",".join(parts)


def _ports(random: Random) -> str:
    most = 25 if random.random() < 0.1 else 5
    return _ranges(random, PORTS, 1, 65535, most)


def _ids(random: Random) -> str:
    return _ranges(random, IDS, 0, 2**32 - 2, 4)


def _one_port(random: Random) -> str:
    return str(random.choice(PORTS) if random.random() < 0.3 else random.randint(1, 65535))


def network(random: Random) -> str:
    """Give a network around an address that is of interest."""
    if random.random() < 0.25:
        return random.choice(LOOPBACK)
    address = ip_address(random.choice(NEAR))
    lengths = (8, 12, 16, 20, 24, 28, 31, 32) if address.version == 4 else (16, 32, 64, 127, 128)
    return str(ip_network((address, random.choice(lengths)), strict=False))


def _networks(random: Random) -> str:
    return ",".join(network(random) for _ in range(random.randint(1, 5)))


def _names(random: Random) -> str:
    return ",".join(random.sample(NAMES, random.randint(1, 2)))


def _marks(random: Random) -> str:
    parts = []
    for _ in range(random.randint(1, 2)):
        mask = random.choice((2**32 - 1, 0xFFF, 0xFF, random.randint(1, 2**32 - 1)))
        value = random.choice((*MARKS, random.getrandbits(32))) & mask
        parts.append(f"{value or mask:#x}/{mask:#x}")
    return ",".join(parts)


def _often(*texts: str) -> Callable[[Random], str]:
    return lambda random: random.choice(texts)


_ROWS: dict[str, Callable[[Random], str]] = {
    "outbound_port": _one_port,
    "inbound_port": _one_port,
    "tunnel_port": _one_port,
    "dns_port": _one_port,
    "mode": _often("tproxy", "tproxy", "redirect", "none"),
    "proxy_uid": lambda random: "" if random.random() < 0.2 else _ids(random),
    "proxy_gid": lambda random: "" if random.random() < 0.2 else _ids(random),
    "exempt_mark": _marks,
    "include_inbound_ports": lambda random: "" if random.random() < 0.1 else _ports(random),
    "exclude_inbound_ports": _ports,
    "exclude_inbound_cidrs": _networks,
    "include_outbound_ports": _ports,
    "exclude_outbound_ports": _ports,
    "include_outbound_cidrs": lambda random: "" if random.random() < 0.1 else _networks(random),
    "exclude_outbound_cidrs": _networks,
    "exclude_outbound_uids": _ids,
    "include_outbound_owner_groups": _ids,
    "exclude_outbound_owner_groups": _ids,
    "exclude_interfaces": _names,
    "virtual_interfaces": _names,
    "capture_dns": _often("all", "resolv-conf"),
    "drop_invalid": _often("true"),
    "ip_families": _often("ipv4", "ipv6", "dual"),
    "loopback_cidr": _often("127.0.0.0/8", "127.0.0.0/24", "127.0.0.1/32", "127.0.0.0/30"),
    "tproxy_mark": lambda random: str(random.choice((*MARKS[1:5], random.getrandbits(31) + 1))),
    "tproxy_route_table": _often("133", "100"),
}
