"""A neighbour for the pod: a namespace of our own, a cable to it, addresses on both ends.

Nothing is left behind, whatever happens: the namespace lives only as long as this process holds
it open, and with it go both ends of the cable and every address and route on them.
"""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager, suppress
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING

import msgspec

from interceptor.errors import HostError
from interceptor.names import FAMILY_NAMES, Family
from interceptor.system import host, netns
from interceptor.verify.cable import ADDRESS_BITS, Ends, cable

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

_ADDRESS_PATIENCE_S = 2.0
"""How long new addresses may take to be usable, all together."""


class Stage(msgspec.Struct, frozen=True):
    """The neighbour: its namespace, the pod's end of the cable, addresses by family.

    ``not_lent`` says which addresses had to be left to others.
    """

    outside: int
    interface: str
    ends: dict[Family, Ends]
    not_lent: tuple[str, ...]


@contextmanager
def stage(named: Named, families: tuple[Family, ...], longest_s: float) -> Iterator[Stage]:
    """Make a neighbour for the namespace this thread is in, in so many seconds.

    Raises:
        HostError: no namespace can be made here, or no cable.
    """
    outside = netns.make()
    with netns.closing(outside):
        name = f"iv{secrets.token_hex(4)}"
        patience_s = min(_ADDRESS_PATIENCE_S, longest_s)
        chosen = addresses(named, families)
        try:
            yield _connect(chosen, outside, (f"{name}a", f"{name}b"), patience_s)
        finally:
            _disconnect(f"{name}a")


def addresses(named: Named, families: tuple[Family, ...]) -> dict[Family, Ends]:
    """Choose addresses, at random so that two verifications can go on at once."""
    return {
        family: Ends(
            *_on_cable(family, len(named.handovers[family])),
            tuple(_random_address(network) for network in named.networks[family].networks),
            named.sources[family],
        )
        for family in families
    }


def _on_cable(family: Family, clients: int) -> tuple[Address, Address, tuple[Address, ...]]:
    """Choose a network for the cable; give the pod's address in it, the neighbour's, clients'."""
    network = _RANGES[family]
    size = 1 << ADDRESS_BITS
    # The first address and the last one are nobody's in IPv4.
    first = size * secrets.randbelow(network.num_addresses // size) + 1
    pod, outside, *others = (network[first + n] for n in range(size - 2))
    return pod, outside, tuple(others[:clients])


def _random_address(network: Network) -> Address:
    return network[1 + secrets.randbelow(network.num_addresses - 2)]


def _connect(
    chosen: dict[Family, Ends], outside: int, names: tuple[str, str], longest_s: float
) -> Stage:
    from pyroute2.netlink.exceptions import NetlinkError

    interface, peer = names
    made: dict[Family, Ends] = {}
    try:
        with cable(interface, peer, outside) as connected:
            if host.has_ipv6():
                _allow_ipv6(interface)
            for family, ends in chosen.items():
                if connected.carry(ends):
                    lent = tuple(one for one in ends.borrowed if connected.lend(one, ends))
                    made[family] = msgspec.structs.replace(ends, borrowed=lent)
            connected.wait(longest_s)
    except NetlinkError as error:
        raise HostError(
            f"no test interface can be made in the namespace: {os.strerror(error.code)}",
            hint="verify needs CAP_NET_ADMIN there, and veth in the kernel",
        ) from None
    not_lent = tuple(
        f"{FAMILY_NAMES[family]} {address}: somebody in the namespace has or uses it"
        for family, ends in made.items()
        for address in chosen[family].borrowed
        if address not in ends.borrowed
    )
    return Stage(outside, interface, made, not_lent)


def _allow_ipv6(interface: str) -> None:
    """Switch IPv6 on where only new interfaces have it off.

    If that is not allowed, as with a /proc that is read-only, IPv6 is not tried.
    """
    path = f"/proc/sys/net/ipv6/conf/{interface}/disable_ipv6"
    with suppress(OSError), open(path, "w", encoding="ascii") as file:
        file.write("0")


def _disconnect(interface: str) -> None:
    """Take the cable away at once instead of when the kernel gets to the namespace's end."""
    from pyroute2 import IPRoute

    with suppress(Exception), IPRoute() as here:
        for index in here.link_lookup(ifname=interface):
            here.link("del", index=index)
