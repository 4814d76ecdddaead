"""How this namespace gets to somebody else's address."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from interceptor.analysis.packet import Address


class Host(msgspec.Struct, frozen=True):
    """Somebody's address, and the interface and the source of what is sent there."""

    address: Address
    interface: str
    source: Address


def reachable_hosts(addresses: Iterable[Address]) -> tuple[Host, ...]:
    """Give those of some addresses that a route leads to; asking sends nothing."""
    wanted = [*addresses]
    return tuple(_routed(wanted)) if wanted else ()


def _routed(addresses: list[Address]) -> list[Host]:
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    found: list[Host] = []
    with IPRoute() as here:
        for address in addresses:
            with suppress(NetlinkError):
                for route in here.route("get", dst=str(address)):
                    out, source = route.get_attr("RTA_OIF"), route.get_attr("RTA_PREFSRC")
                    if out and source:
                        [link] = here.get_links(out)
                        found.append(
                            Host(address, link.get_attr("IFLA_IFNAME"), ip_address(source))
                        )
    return found
