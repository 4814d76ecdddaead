"""A neighbour for the pod: a namespace of our own, a cable to it, addresses on both ends.

Nothing is left behind, whatever happens: the namespace lives only as long as this process holds
it open, and with it go both ends of the cable and every address and route on them.
"""

from __future__ import annotations

import os
import secrets
import socket
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import TYPE_CHECKING, Any

import msgspec

from interceptor.errors import HostError
from interceptor.names import Family
from interceptor.system import netns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.analysis.packet import Address
    from interceptor.values import Network
    from interceptor.verify.named import Named

_RANGES: dict[Family, Network] = {
    Family.IP: IPv4Network("198.18.0.0/15"),
    Family.IP6: IPv6Network("2001:2::/96"),
}
"""Where test traffic belongs, within RFC 2544 and RFC 5180; routed nowhere."""

_NO_DAD = 0x02
"""IFA_F_NODAD of linux/if_addr.h: usable at once."""


class Ends(msgspec.Struct, frozen=True):
    """One family's addresses on the cable.

    ``borrowed`` are answered outside, ``handover`` are made local to the pod where they are not.
    """

    pod: Address
    outside: Address
    borrowed: tuple[Address, ...]
    handover: tuple[Address, ...]


class Stage(msgspec.Struct, frozen=True):
    """The neighbour: its namespace, the pod's end of the cable, addresses by family."""

    outside: int
    interface: str
    ends: dict[Family, Ends]


@contextmanager
def stage(named: Named, families: tuple[Family, ...]) -> Iterator[Stage]:
    """Make a neighbour for the namespace this thread is in.

    Raises:
        HostError: no namespace can be made here, or no cable.
    """
    outside = netns.make()
    with netns.closing(outside):
        interface, peer = (f"iv{secrets.token_hex(4)}{end}" for end in "ab")
        try:
            yield Stage(outside, interface, _connect(named, families, outside, interface, peer))
        finally:
            _disconnect(interface)


def addresses(named: Named, families: tuple[Family, ...]) -> dict[Family, Ends]:
    """Choose addresses, at random so that two verifications can go on at once."""
    return {
        family: Ends(
            *_pair(family),
            tuple(_random_address(network) for network in named.networks[family]),
            named.sources[family],
        )
        for family in families
    }


def _pair(family: Family) -> tuple[Address, Address]:
    network = _RANGES[family]
    slots = network.num_addresses // 4
    first = 4 * secrets.randbelow(slots) + 1
    return network[first], network[first + 1]


def _random_address(network: Network) -> Address:
    return network[1 + secrets.randbelow(network.num_addresses - 2)]


def _connect(
    named: Named, families: tuple[Family, ...], outside: int, interface: str, peer: str
) -> dict[Family, Ends]:
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    chosen = addresses(named, families)
    try:
        with IPRoute() as here:
            here.link(
                "add", ifname=interface, kind="veth", peer={"ifname": peer, "net_ns_fd": outside}
            )
            _bring_up(here, interface)
            with netns.inside(outside):
                there = IPRoute()
            with there:
                _bring_up(there, "lo")
                _bring_up(there, peer)
                return {
                    family: ends
                    for family, ends in chosen.items()
                    if _address(here, interface, there, peer, ends)
                }
    except NetlinkError as error:
        raise HostError(
            f"no test interface can be made in the namespace: {os.strerror(error.code)}",
            hint="verify needs CAP_NET_ADMIN there, and veth in the kernel",
        ) from None


def _bring_up(ipr: Any, name: str) -> None:
    ipr.link("set", index=ipr.link_lookup(ifname=name)[0], state="up")


def _address(here: Any, interface: str, there: Any, peer: str, ends: Ends) -> bool:
    """Put one family's addresses on both ends; false if the namespace has that family off."""
    from pyroute2.netlink.exceptions import NetlinkError

    index = here.link_lookup(ifname=interface)[0]
    peer_index = there.link_lookup(ifname=peer)[0]
    host = ends.pod.max_prefixlen
    try:
        here.addr("add", index=index, address=str(ends.pod), prefixlen=host - 2, flags=_NO_DAD)
    except NetlinkError:
        return False
    there.addr(
        "add", index=peer_index, address=str(ends.outside), prefixlen=host - 2, flags=_NO_DAD
    )
    for address in ends.handover:
        if not _is_local(address):
            here.addr("add", index=index, address=str(address), prefixlen=host, flags=_NO_DAD)
    for address in ends.borrowed:
        there.addr("add", index=peer_index, address=str(address), prefixlen=host, flags=_NO_DAD)
        here.route("add", dst=f"{address}/{host}", oif=index)
    return True


def _is_local(address: Address) -> bool:
    """Whether the namespace lets a socket bind it."""
    kind = socket.AF_INET if isinstance(address, IPv4Address) else socket.AF_INET6
    with socket.socket(kind, socket.SOCK_DGRAM) as asking:
        try:
            asking.bind((str(address), 0))
        except OSError:
            return False
    return True


def _disconnect(interface: str) -> None:
    """Take the cable away at once instead of when the kernel gets to the namespace's end."""
    from pyroute2 import IPRoute

    with suppress(Exception), IPRoute() as here:
        for index in here.link_lookup(ifname=interface):
            here.link("del", index=index)
