"""The field's own words: address families, hooks, chain types, and the iptables tables.

Hooks, types and priorities are nftables' (nft(8), "CHAINS"); the numbers behind the iptables
tables are the kernel's (``enum nf_ip_hook_priorities`` in linux/netfilter_ipv4.h).
"""

from __future__ import annotations

from enum import StrEnum

LOOPBACK_INTERFACE = "lo"

CHAIN_NAME_MAX = 28
"""Characters iptables takes: XT_EXTENSION_MAXNAMELEN (29) less the closing NUL."""

COMMENT_MAX = 127
"""Characters both languages take: nft keeps 128 with the NUL, iptables 256."""

INTERFACE_NAME_MAX = 15
"""IFNAMSIZ (16) less the closing NUL."""


class Family(StrEnum):
    """Which packets a table sees; ``inet`` is both."""

    IP = "ip"
    IP6 = "ip6"
    INET = "inet"

    @property
    def members(self) -> tuple[Family, ...]:
        """The single families in it: ``inet`` is ``(ip, ip6)``."""
        return (Family.IP, Family.IP6) if self is Family.INET else (self,)


FAMILY_NAMES = {Family.IP: "IPv4", Family.IP6: "IPv6"}
"""Single families as people call them."""


class Hook(StrEnum):
    """Where in the packet's way a base chain sits."""

    PREROUTING = "prerouting"
    INPUT = "input"
    FORWARD = "forward"
    OUTPUT = "output"
    POSTROUTING = "postrouting"


class ChainType(StrEnum):
    """What a base chain may do: plain verdicts, re-routing of local output, or translation."""

    FILTER = "filter"
    ROUTE = "route"
    NAT = "nat"


_RAW, _MANGLE, _DSTNAT, _FILTER, _SECURITY, _SRCNAT = -300, -150, -100, 0, 50, 100

PRIORITIES: dict[str, dict[Hook, int]] = {
    "raw": {Hook.PREROUTING: _RAW, Hook.OUTPUT: _RAW},
    "mangle": dict.fromkeys(Hook, _MANGLE),
    "nat": {
        Hook.PREROUTING: _DSTNAT,
        Hook.INPUT: _SRCNAT,
        Hook.OUTPUT: _DSTNAT,
        Hook.POSTROUTING: _SRCNAT,
    },
    "filter": {Hook.INPUT: _FILTER, Hook.FORWARD: _FILTER, Hook.OUTPUT: _FILTER},
    "security": {Hook.INPUT: _SECURITY, Hook.FORWARD: _SECURITY, Hook.OUTPUT: _SECURITY},
}
"""iptables table -> hook -> priority of its built-in chain there."""


def builtin_type(table: str, hook: Hook) -> ChainType:
    """Give the nft type of an iptables built-in chain."""
    if table == "nat":
        return ChainType.NAT
    if table == "mangle" and hook is Hook.OUTPUT:
        return ChainType.ROUTE
    return ChainType.FILTER
