"""The table of options: those of today's redirect-traffic, and a few of ours after them."""

from __future__ import annotations

import re

from interceptor.frontends.gotext import parse_int
from interceptor.frontends.option import Option, ours
from interceptor.frontends.reading import address, network, port, ports, user
from interceptor.frontends.row import Table

SERVICE = re.compile(r"(?=[0-9-]*[A-Za-z])[A-Za-z0-9](?:[A-Za-z0-9+._-]{0,62}[A-Za-z0-9])?")
"""A name in /etc/services: it has a letter (RFC 6335)."""

_API = "it needs Consul's API server, which is asked for nothing here"


def _port_or_service(text: str) -> str:
    """Read a port, a range, or what may be the name of a service."""
    if "," in text:
        raise ValueError(f"{text!r} is several: give the flag once for each")
    return text if SERVICE.fullmatch(text) else ports(":")(text)


def _port_or_none(text: str) -> str:
    """Read a port, or 0 for none, which is the empty text."""
    return port(text) if parse_int(text) else ""


_RULES = (
    Option(
        key="proxy-uid",
        kind="UID",
        read=user,
        help="the user the proxy runs as, by its number; needed",
    ),
    Option(
        key="proxy-inbound-port",
        kind="PORT",
        read=_port_or_none,
        help="where the proxy takes inbound connections; needed",
    ),
    Option(
        key="proxy-outbound-port",
        kind="PORT",
        default="15001",
        read=port,
        help="where the proxy takes outbound connections",
    ),
    Option(
        key="exclude-inbound-port",
        kind="PORT",
        read=_port_or_service,
        repeated=True,
        help="an inbound port, a range as 80:90 or a service's name that is not captured",
    ),
    Option(
        key="exclude-outbound-port",
        kind="PORT",
        read=_port_or_service,
        repeated=True,
        help="an outbound port, a range as 80:90 or a service's name that is not captured",
    ),
    Option(
        key="exclude-outbound-cidr",
        kind="CIDR",
        read=network,
        repeated=True,
        help="a destination that is not captured",
    ),
    Option(
        key="exclude-uid",
        kind="UID",
        read=user,
        repeated=True,
        help="another user whose connections are not captured, by its number",
    ),
    Option(
        key="consul-dns-ip",
        kind="ADDRESS",
        read=address,
        help="where Consul answers DNS: with no port, every query goes there",
    ),
    Option(
        key="consul-dns-port",
        kind="PORT",
        read=_port_or_none,
        help="its port: then only queries to that address, or else localhost, go there",
    ),
)

_RUN = (Option(key="netns", kind="PATH", help="network namespace to work in"),)

_SERVER = (
    Option(
        key="proxy-id",
        kind="ID",
        help="refused: the ports of a registered proxy are asked of Consul",
        lacks=_API,
        instead="give -proxy-inbound-port, and -exclude-inbound-port for the ports it exposes",
    ),
    Option(
        key="node-name",
        kind="NAME",
        help="refused, as the one before",
        lacks=_API,
        instead="leave it out: it goes with -proxy-id",
    ),
    *(
        Option(
            key=key,
            kind=kind,
            help="without effect",
            idle="Consul's API server is not asked",
        )
        for key, kind in {
            "http-addr": "ADDRESS",
            "token": "TOKEN",
            "token-file": "PATH",
            "ca-file": "PATH",
            "ca-path": "PATH",
            "client-cert": "PATH",
            "client-key": "PATH",
            "tls-server-name": "NAME",
            "namespace": "NAME",
            "partition": "NAME",
        }.items()
    ),
)

_DUAL_STACK = Option(
    key="dual-stack",
    kind="",
    help="intercept IPv6 as well; Consul asks its agent",
)

TABLE: Table[Option] = Table(
    "consul-redirect-traffic",
    {
        "What is intercepted": _RULES,
        "What is done": _RUN,
        "Consul's server": _SERVER,
        "Not Consul's": (
            _DUAL_STACK,
            *ours("backend", "iptables_variant", "dry_run", "output", "timeout", "debug"),
        ),
    },
    dashes="-",
)
"""All options under headings for a person."""

HEAD = """\
  Do what consul connect redirect-traffic does, from its own flags: the rules of the sheet consul,
  as one change that is made as a whole or not at all, whatever is there.

  It asks no server: what Consul would look up has to be given.
"""
