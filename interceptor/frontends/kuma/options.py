"""The table of options: those of kumactl install transparent-proxy, and a few of ours after them.

Most are flags, keys of its configuration files and variables in one.
"""

from __future__ import annotations

from interceptor.frontends.kuma.reading import user_exclusion, virtual_network
from interceptor.frontends.kuma.run_options import REFUSED, RUN
from interceptor.frontends.kuma.variables import in_files
from interceptor.frontends.option import Option, ours
from interceptor.frontends.reading import (
    decimal_port,
    decimal_ports,
    networks,
    one_of,
)
from interceptor.frontends.row import Table

_RULES = in_files(
    Option(
        key="kuma-dp-user",
        path="kumaDPUser",
        kind="USER",
        help="who the proxy runs as; else 5678, or kuma-dp where only that is an account",
    ),
    Option(
        key="ip-family-mode",
        path="ipFamilyMode",
        kind="dualstack|ipv4",
        default="dualstack",
        read=lambda text: one_of("dualstack", "ipv4")(text.lower() or "dualstack"),
        help="dualstack adds IPv6 where there is such an address",
    ),
    Option(
        key="redirect-inbound",
        path="redirect.inbound.enabled",
        kind="",
        default="true",
        help="whether anything inbound is captured",
    ),
    Option(
        key="redirect-inbound-port",
        path="redirect.inbound.port",
        kind="PORT",
        default="15006",
        read=decimal_port,
        help="where the proxy takes inbound connections",
    ),
    Option(
        key="",
        path="redirect.inbound.includePorts",
        kind="PORTS",
        read=decimal_ports,
        help="inbound ports that are captured; without it, all are",
    ),
    Option(
        key="exclude-inbound-ports",
        path="redirect.inbound.excludePorts",
        kind="PORTS",
        read=decimal_ports,
        help="inbound ports that are not captured, if all others are",
    ),
    Option(
        key="exclude-inbound-ips",
        path="redirect.inbound.excludePortsForIPs",
        kind="CIDRS",
        read=networks,
        repeated=True,
        help="sources whose connections are not captured",
    ),
    Option(
        key="",
        path="redirect.inbound.excludePortsForUIDs",
        kind="RECORDS",
        read=user_exclusion,
        repeated=True,
        help="refused: an inbound connection has no user",
        lacks="what comes in has no user, and Kuma's rules would capture nothing inbound",
        instead="leave it out, or say redirect.inbound.enabled: false if that is meant",
    ),
    Option(
        key="",
        path="redirect.outbound.enabled",
        kind="",
        default="true",
        help="whether anything outbound is captured",
    ),
    Option(
        key="redirect-outbound-port",
        path="redirect.outbound.port",
        kind="PORT",
        default="15001",
        read=decimal_port,
        help="where the proxy takes outbound connections",
    ),
    Option(
        key="",
        path="redirect.outbound.includePorts",
        kind="PORTS",
        read=decimal_ports,
        help="outbound ports that are captured; without it, all are",
    ),
    Option(
        key="exclude-outbound-ports",
        path="redirect.outbound.excludePorts",
        kind="PORTS",
        read=decimal_ports,
        help="outbound ports that are not captured, if all others are",
    ),
    Option(
        key="exclude-outbound-ips",
        path="redirect.outbound.excludePortsForIPs",
        kind="CIDRS",
        read=networks,
        repeated=True,
        help="destinations that are not captured",
    ),
    Option(
        key="exclude-outbound-ports-for-uids",
        path="redirect.outbound.excludePortsForUIDs",
        kind="RECORDS",
        read=user_exclusion,
        repeated=True,
        help="[[PROTOCOL:]PORTS:]USERS that are not captured; one user or one range",
    ),
    Option(
        key="redirect-dns",
        path="redirect.dns.enabled",
        kind="",
        help="DNS queries to the servers of /etc/resolv.conf go to the proxy",
    ),
    Option(
        key="redirect-all-dns-traffic",
        path="redirect.dns.captureAll",
        kind="",
        help="those to any server do",
    ),
    Option(
        key="redirect-dns-port",
        path="redirect.dns.port",
        kind="PORT",
        default="15053",
        read=decimal_port,
        help="where the proxy takes DNS queries",
    ),
    Option(
        key="skip-dns-conntrack-zone-split",
        path="redirect.dns.skipConntrackZoneSplit",
        kind="",
        help="queries of the proxy and of others share a zone of conntrack",
    ),
    Option(
        key="",
        path="redirect.dns.resolvConfigPath",
        kind="PATH",
        default="/etc/resolv.conf",
        help="refused, if it is another file",
        lacks="servers are those of /etc/resolv.conf",
        instead="leave it out, or capture all DNS with --redirect-all-dns-traffic",
    ),
    Option(
        key="vnet",
        path="redirect.vnet.networks",
        kind="INTERFACE:CIDR",
        read=virtual_network,
        repeated=True,
        help="an interface from within, and its network: what comes in by it counts as outbound",
    ),
    Option(
        key="drop-invalid-packets",
        path="dropInvalidPackets",
        kind="",
        help="drop packets conntrack calls invalid, before they reset a connection",
    ),
    Option(
        key="redirect-inbound-insert-instead-of-append",
        path="redirect.inbound.insertRedirectInsteadOfAppend",
        kind="",
        help="the call of the inbound chain comes before what others have there",
    ),
    Option(
        key="redirect-outbound-insert-instead-of-append",
        path="redirect.outbound.insertRedirectInsteadOfAppend",
        kind="",
        help="that of the outbound chain does, and comes before the exception for DNS over TCP",
    ),
)

TABLE: Table[Option] = Table(
    "kuma-transparent-proxy",
    {
        "What is intercepted": _RULES,
        "What is done": RUN,
        "What is not": REFUSED,
        "Not Kuma's": ours("netns", "backend", "iptables_variant", "output", "timeout", "debug"),
    },
)
"""All options under headings for a person."""

HEAD = """\
  Do what kumactl install transparent-proxy does, from its own flags, variables and files: the
  rules of the sheet kuma, as one change that is made as a whole or not at all, whatever is there.

  A flag goes before a variable, a variable before a file, a file before the ones before it. Lists
  are replaced, not added to.
"""
