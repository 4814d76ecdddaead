"""What beside rules has to be there for packets to get where rules send them.

The kernel keeps with each of these who made it, as a number: ``protocol`` (``rtm_protocol``,
``FRA_PROTOCOL``, ``IFA_PROTO``). By it ours are found again.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import msgspec

from interceptor.names import FAMILY_NAMES, LOOPBACK_INTERFACE, Family
from interceptor.values import FULL_MASK, Mark

OWN_PROTOCOL = 173
"""Nobody's in linux/rtnetlink.h and iproute2's rt_protos; daemons have theirs below 200."""


class MarkRule(msgspec.Struct, frozen=True, order=True):
    """Packets of this mark, in the bits of ``mask``, are routed by this table (``ip rule``).

    ``priority`` is where it is among others; 0 leaves that open.
    """

    family: Family
    mark: int
    table: int
    protocol: int = OWN_PROTOCOL
    priority: int = 0
    mask: int = FULL_MASK

    def __str__(self) -> str:
        mark = Mark(self.mark, self.mask)
        place = f" pref {self.priority}" if self.priority else ""
        return f"{_ip(self.family)} rule fwmark {mark}{place} lookup {self.table}"


class LocalRoute(msgspec.Struct, frozen=True, order=True):
    """In this table every destination is this host itself (``ip route``, type local)."""

    family: Family
    table: int
    protocol: int = OWN_PROTOCOL

    def __str__(self) -> str:
        lo = LOOPBACK_INTERFACE
        return f"{_ip(self.family)} route local default dev {lo} table {self.table}"


class LoopbackAddress(msgspec.Struct, frozen=True, order=True):
    """An address ``lo`` has, alone in its network."""

    address: IPv4Address | IPv6Address
    protocol: int = OWN_PROTOCOL

    @property
    def family(self) -> Family:
        """The family it is of."""
        return Family.IP if isinstance(self.address, IPv4Address) else Family.IP6

    def __str__(self) -> str:
        bits = self.address.max_prefixlen
        return f"{_ip(self.family)} address {self.address}/{bits} dev {LOOPBACK_INTERFACE}"


Routing = MarkRule | LocalRoute | LoopbackAddress


def _ip(family: Family) -> str:
    """Give the command that shows it, without what it is to show."""
    return f"ip -{FAMILY_NAMES[family][-1]}"
