"""A configuration of istio-iptables."""

from __future__ import annotations

from ipaddress import ip_interface
from typing import TYPE_CHECKING, NamedTuple

from tests.lab.istio.texts import V4, V6

if TYPE_CHECKING:
    from tests.lab.istio.texts import Each

PASSTHROUGH = {V4: "127.0.0.6/32", V6: "::6/128"}
"""From where the proxy hands over to the app."""


class Istio(NamedTuple):
    """What it was told, and what it took from the pod; lists are text, as it keeps them."""

    proxy_port: str = "15001"
    inbound_port: str = "15006"
    tunnel_port: str = "15008"
    uids: str = "1337"
    gids: str = "1337"
    tproxy: bool = False
    include_inbound_ports: str = ""
    exclude_inbound_ports: str = ""
    exclude_interfaces: str = ""
    include_cidrs: str = ""
    exclude_cidrs: str = ""
    include_outbound_ports: str = ""
    exclude_outbound_ports: str = ""
    virtual_interfaces: str = ""
    mark: str = "1337"
    table: str = "133"
    include_groups: str = "*"
    exclude_groups: str = ""
    loopback: str = "127.0.0.1/32"
    redirect_dns: bool = False
    capture_all_dns: bool = False
    dns_servers: tuple[str, ...] = ()
    drop_invalid: bool = False
    ipv6: bool = False

    @property
    def localhost(self) -> Each:
        """What counts as localhost."""
        return {V4: self.loopback, V6: "::1/128"}

    @property
    def families(self) -> tuple[int, ...]:
        """IPv4 rules are made also where there is only IPv6."""
        return (V4, V6) if self.ipv6 else (V4,)

    @property
    def owners(self) -> list[tuple[str, str]]:
        """The proxy's users, then its groups: ``("uid", "1337")``."""
        return [
            *(("uid", uid) for uid in split(self.uids)),
            *(("gid", gid) for gid in split(self.gids)),
        ]

    @property
    def dns(self) -> bool:
        """Without a server to capture there is no capture at all."""
        return self.redirect_dns and (self.capture_all_dns or bool(self.dns_servers))

    @property
    def servers(self) -> list[Each]:
        """Name servers as networks of one, IPv4 first."""
        return [
            *({V4: f"{server}/32"} for server in self.dns_servers if ":" not in server),
            *({V6: f"{server}/128"} for server in self.dns_servers if ":" in server),
        ]

    @property
    def includes_loopback(self) -> bool:
        """Whether a CIDR to capture, of either family, has a loopback address."""
        return any(ip_interface(c).ip.is_loopback for c in split(self.include_cidrs) if c != "*")


def split(text: str) -> list[str]:
    """Split a list; empty items are dropped."""
    return [item for item in text.split(",") if item]


def cidrs(text: str) -> list[Each]:
    """Give networks by family, IPv4 first, each family in its order."""
    found: list[Each] = [{ip_interface(cidr).version: cidr} for cidr in split(text)]
    return sorted(found, key=min)
