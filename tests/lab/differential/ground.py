"""A pod with several interfaces; at their other ends nobody lives, but packets are seen and made.

No interface asks who has an address, so any packet leaves by the interface it is routed to.
"""

from __future__ import annotations

import socket
from contextlib import ExitStack, contextmanager, suppress
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import TYPE_CHECKING, NamedTuple

from pyroute2 import IPRoute

from interceptor.config import Mode
from interceptor.errors import ConfigError
from interceptor.layers import DEFAULTS, Layer, resolve
from interceptor.model import Ruleset
from interceptor.names import Family
from interceptor.operations.install import install, uninstall
from interceptor.operations.site import Site
from interceptor.parse import iptables_save, nft_json
from interceptor.sheets.build import build
from interceptor.sheets.loader import load
from interceptor.sources import sheet_layer
from interceptor.system import host
from interceptor.system.deadline import Deadline
from interceptor.system.lock import private_xtables_lock
from tests.lab.differential.wire import ETHERTYPE
from tests.lab.netns import cable, namespaces
from tests.lab.traffic import make_transparent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.analysis.packet import Address
    from interceptor.config import Config
    from tests.lab.netns import Namespace
    from tests.lab.paths import RulePath

INTERFACES = ("eth0", "eth1", "vnet0", "br-lan.7")
HOSTS: dict[str, dict[int, Address]] = {
    name: {4: ip_address(f"10.{n}.0.1"), 6: ip_address(f"fd0{n}::1")}
    for n, name in enumerate(INTERFACES, 1)
}
"""The pod's address on each interface."""
OWN = (
    IPv4Network("10.96.0.0/16"),
    IPv4Network("192.0.2.0/24"),
    IPv6Network("fd96::/32"),
    IPv6Network("2001:db8:2::/48"),
)
"""Addresses beside, all of which are the pod's, and at which nobody listens."""
BEYOND = {
    "eth0": ("0.0.0.0/0", "::/0"),
    "eth1": ("128.0.0.0/2", "2001:db8:1::/48"),
    "vnet0": ("64.0.0.0/3", "fd80::/16"),
    "br-lan.7": ("192.168.0.0/16", "fd90::/16"),
}
"""What is reached by each interface."""
RESOLVERS = ("203.0.113.53", "10.96.0.53", "2001:db8::53", "fd96::53")

_LOOPBACK = tuple(ip_address(text) for text in ("127.0.0.1", "::1", "::6"))
LISTENED = frozenset((*_LOOPBACK, *(host for both in HOSTS.values() for host in both.values())))
"""Where a transparent proxy listens: at the addresses to which TPROXY looks for one."""

_SYSCTLS = {
    "ipv4/ip_forward": "1",
    "ipv6/conf/all/forwarding": "1",
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    "ipv4/conf/all/send_redirects": "0",
    "ipv4/conf/default/send_redirects": "0",
    "ipv4/icmp_ratemask": "0",
    "ipv6/icmp/ratelimit": "0",
    "ipv4/tcp_synack_retries": "1",
    "netfilter/nf_conntrack_events": "1",
}
"""Spoofed senders are let in, none is told of a better way, and everyone gets an answer."""
_SOL_PACKET, _IGNORE_OUTGOING = 263, 23
"""SOL_PACKET of linux/socket.h, PACKET_IGNORE_OUTGOING of linux/if_packet.h."""
_RCVBUFFORCE = 33
_ALL_PROTOCOLS = 3


class Installed(NamedTuple):
    """What is in force: the rules that were meant, and those the kernel shows.

    What was meant tells the fate of packets of these families.
    """

    settings: dict[str, str]
    config: Config
    meant: Ruleset
    held: Ruleset
    language: str
    families: tuple[Family, ...]


class Ground:
    """A pod, its other ends, and one rule path.

    Args:
        pod: whose rules are put to the test.
        outside: where the cables end.
        path: in which language.
    """

    def __init__(self, pod: Namespace, outside: Namespace, path: RulePath) -> None:
        self.pod, self.outside, self.path = pod, outside, path
        for what in ("all", "default"):
            outside.sysctl(f"ipv6/conf/{what}/disable_ipv6", "1")
        for name, value in _SYSCTLS.items():
            pod.sysctl(name, value)
        for name in INTERFACES:
            cable(pod, name, outside, name)
        self._frame_heads = dict(self._open(name) for name in INTERFACES)
        for name, both in HOSTS.items():
            pod.address(name, f"{both[4]}/24", f"{both[6]}/64")
        routes = [f"route add local {network} dev lo" for network in OWN]
        routes += [f"route add {to} dev {name}" for name, both in BEYOND.items() for to in both]
        for version in ("-4", "-6"):
            ours = [line for line in routes if (":" in line) == (version == "-6")]
            pod.run("ip", version, "-batch", "-", stdin="\n".join(ours))
        pod.resolv_conf("".join(f"nameserver {address}\n" for address in RESOLVERS))

    def _open(self, name: str) -> tuple[str, dict[int, bytes]]:
        """Make an interface take every packet; give what precedes one on its way in."""
        ends = []
        for space in (self.pod, self.outside):
            space.run("ip", "link", "set", name, "arp", "off")
            with space, IPRoute() as here:
                [link] = here.link("get", ifname=name)
                ends.append(bytes.fromhex(str(link.get("address")).replace(":", "")))
        return name, {
            version: b"".join(ends) + kind.to_bytes(2, "big")
            for version, kind in ETHERTYPE.items()
        }

    def tap(self) -> socket.socket:
        """Give a socket that gets all that leaves the pod."""
        with self.outside:
            kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK
            made = socket.socket(socket.AF_PACKET, kind, socket.htons(_ALL_PROTOCOLS))
            made.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, 1 << 25)
            made.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
        return made

    def frame(self, interface: str, version: int, packet: bytes) -> bytes:
        """Make a frame of a packet that comes in by an interface."""
        return self._frame_heads[interface][version] + packet

    def install(self, settings: dict[str, str]) -> Installed | None:
        """Put settings in force; ``None`` if they contradict one another."""
        backend, *variant = self.path.name.split("-")
        # What rules do is to be known, whether it is what anybody wants or not.
        place = {"netns": self.pod.path, "backend": backend, "unproven": "true"}
        if variant:
            place["iptables_variant"] = variant[0]
        sheet = load(settings["sheet"])
        given = Layer({**settings, **place}, lambda key: key)
        try:
            config = resolve([DEFAULTS, sheet_layer(sheet), given]).config
        except ConfigError:
            return None
        with self.pod, private_xtables_lock(needed=True) as lock:
            try:
                build(sheet, config, host.observe(config))
            except ConfigError:
                return None
            deadline = Deadline(60)
            site = Site(deadline, legacy_lock=lock)
            done = install(config, sheet, site, deadline)
        assert done.backend == self.path.name, done
        # Istio's own nft rules are for both families whatever was chosen, and so is our copy.
        spills = sheet.verbatim and backend == "nftables"
        both = Family.INET.members
        families = done.family.members if spills and done.family is not Family.INET else both
        return Installed(settings, config, done.ruleset, self.held(), backend, families)

    def uninstall(self) -> None:
        """Take all away again."""
        with self.pod, private_xtables_lock(needed=True) as lock:
            deadline = Deadline(60)
            uninstall(Site(deadline, legacy_lock=lock), deadline)

    def held(self) -> Ruleset:
        """Read all rules there are, by the tools that list them."""
        if self.path.name == "nftables":
            return nft_json.parse(self.pod.run("nft", "-j", "list", "ruleset"))
        variant = self.path.name.partition("-")[2]
        tools = {Family.IP: f"iptables-{variant}-save", Family.IP6: f"ip6tables-{variant}-save"}
        found = [iptables_save.parse(self.pod.run(tool), f) for f, tool in tools.items()]
        return Ruleset(tuple(table for one in found for table in one.tables))


class Proxy:
    """Who takes connections by TPROXY; nobody listens where that is not the mode.

    Args:
        ground: where it is.
        config: what port it listens on, and whether for TPROXY.
        is_away: nobody listens, although somebody should.
    """

    def __init__(self, ground: Ground, config: Config, *, is_away: bool = False) -> None:
        self.is_away = is_away
        self.port = config.inbound_port if config.mode is Mode.TPROXY else 0
        self._stack = ExitStack()
        self._listeners = []
        with ground.pod:
            for address in LISTENED if self.port and not is_away else ():
                family = socket.AF_INET if address.version == 4 else socket.AF_INET6
                made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
                self._stack.callback(made.close)
                make_transparent(made)
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                made.bind((str(address), self.port))
                made.listen(4096)
                self._listeners.append(made)

    def hang_up(self) -> None:
        """Take and end all calls, so that there is room for others."""
        for listener in self._listeners:
            with suppress(BlockingIOError):
                while True:
                    listener.accept()[0].close()

    def close(self) -> None:
        """Listen no more."""
        self._stack.close()


@contextmanager
def new_ground(path: RulePath) -> Iterator[Ground]:
    """Have a pod for a while."""
    with namespaces("pod", "outside") as (pod, outside):
        yield Ground(pod, outside, path)
