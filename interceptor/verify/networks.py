"""In which of the networks that rules name the neighbour can stand in for somebody."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING

import msgspec

from interceptor.names import Family

if TYPE_CHECKING:
    from collections.abc import Iterable

    from interceptor.values import Network

SPACIOUS = 2**12
"""Networks with fewer addresses are not borrowed from: too many of theirs may be in use."""

_LOCALHOST: dict[Family, Network] = {
    Family.IP: IPv4Network("127.0.0.1/32"),
    Family.IP6: IPv6Network("::1/128"),
}
_LOOPBACK: dict[Family, Network] = {
    Family.IP: IPv4Network("127.0.0.0/8"),
    Family.IP6: _LOCALHOST[Family.IP6],
}
_NOT_ROUTED: dict[Family, tuple[Network, ...]] = {
    Family.IP: (
        IPv4Network("0.0.0.0/8"),
        _LOOPBACK[Family.IP],
        IPv4Network("169.254.0.0/16"),
        IPv4Network("224.0.0.0/4"),
        IPv4Network("255.255.255.255/32"),
    ),
    # The first has ::, ::1 and IPv4 in IPv6's clothes.
    Family.IP6: (IPv6Network("::/80"), IPv6Network("fe80::/10"), IPv6Network("ff00::/8")),
}
"""Unspecified, loopback, link-local, multicast: nothing there is one host beyond a route."""


class Chosen(msgspec.Struct, frozen=True):
    """Networks to borrow an address from, and those that are left out, by why.

    Of a network with addresses that no route leads to, ``networks`` has the largest other part.
    """

    networks: tuple[Network, ...] = ()
    not_routed: tuple[Network, ...] = ()
    too_small: tuple[Network, ...] = ()
    too_many: tuple[Network, ...] = ()


def choose(named: Iterable[Network], family: Family, most: int) -> Chosen:
    """Choose among networks of one family, the first ones first, at most so many.

    The network that is everything is passed over, as the neighbour's own address is in it, and
    so are those that hold localhost and nothing beyond this host, which is tried anyway.
    """
    networks: list[Network] = []
    not_routed: list[Network] = []
    too_small: list[Network] = []
    too_many: list[Network] = []
    for network in dict.fromkeys(named):
        if not network.prefixlen or _is_localhost(network, family):
            continue
        part = _largest_routed(network, family)
        if part is None:
            not_routed.append(network)
        elif part.num_addresses < SPACIOUS:
            too_small.append(network)
        elif len(networks) >= most:
            too_many.append(network)
        else:
            networks.append(part)
    return Chosen(tuple(networks), tuple(not_routed), tuple(too_small), tuple(too_many))


def _is_localhost(network: Network, family: Family) -> bool:
    return _is_within(network, _LOOPBACK[family]) and _is_within(_LOCALHOST[family], network)


def _largest_routed(network: Network, family: Family) -> Network | None:
    """Give the largest part of a network in which every address may be a host's elsewhere."""
    parts = [network]
    for bad in _NOT_ROUTED[family]:
        parts = [left for part in parts for left in _without(part, bad)]
    return max(parts, key=lambda part: part.num_addresses, default=None)


def _without(network: Network, bad: Network) -> list[Network]:
    if _is_within(network, bad):
        return []
    if _is_within(bad, network):
        return list(network.address_exclude(bad))  # type: ignore[arg-type]  # of one family
    return [network]


def _is_within(inner: Network, outer: Network) -> bool:
    return inner.subnet_of(outer)  # type: ignore[arg-type]  # callers pass one family
