"""The table of options: those of today's istio-iptables, and a few of ours after them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.frontends.istio.option import Kind, Option
from interceptor.frontends.row import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

_RULES = (
    Option(
        key="envoy-port",
        short="p",
        kind=Kind.PORT,
        default="15001",
        setting="outbound_port",
        help="where the proxy takes outbound connections",
        derived=False,
    ),
    Option(
        key="inbound-capture-port",
        short="z",
        kind=Kind.PORT,
        default="15006",
        setting="inbound_port",
        help="where the proxy takes inbound connections",
    ),
    Option(
        key="inbound-tunnel-port",
        short="e",
        kind=Kind.PORT,
        default="15008",
        setting="tunnel_port",
        help="the proxy's tunnel listener (HBONE), reached directly",
    ),
    Option(
        key="proxy-uid",
        short="u",
        kind=Kind.IDS,
        setting="proxy_uid",
        help="users the proxy runs as; empty is the account ENVOY_USER names, or 1337",
    ),
    Option(
        key="proxy-gid",
        short="g",
        kind=Kind.IDS,
        setting="proxy_gid",
        help="groups the proxy runs as; empty is the same numbers as its users",
    ),
    Option(
        key="ENVOY_USER",
        kind=Kind.TEXT,
        default="istio-proxy",
        setting="proxy_uid",
        help="the account of the proxy, looked up where this runs",
    ),
    Option(
        key="istio-inbound-interception-mode",
        short="m",
        kind=Kind.MODE,
        setting="mode",
        help="how inbound connections get to the proxy; empty is REDIRECT",
    ),
    Option(
        key="istio-inbound-ports",
        short="b",
        kind=Kind.PORTS,
        setting="include_inbound_ports",
        help="inbound ports that are captured; empty captures none",
    ),
    Option(
        key="istio-local-exclude-ports",
        short="d",
        kind=Kind.SOME_PORTS,
        setting="exclude_inbound_ports",
        help="inbound ports that are not captured, if all others are",
    ),
    Option(
        key="istio-exclude-interfaces",
        short="c",
        kind=Kind.NAMES,
        setting="exclude_interfaces",
        help="interfaces that are left alone, in and out",
    ),
    Option(
        key="istio-service-cidr",
        short="i",
        kind=Kind.CIDRS,
        setting="include_outbound_cidrs",
        help="destinations that are captured; empty captures none by address",
    ),
    Option(
        key="istio-service-exclude-cidr",
        short="x",
        kind=Kind.SOME_CIDRS,
        setting="exclude_outbound_cidrs",
        help="destinations that are not captured",
    ),
    Option(
        key="istio-outbound-ports",
        short="q",
        kind=Kind.SOME_PORTS,
        setting="include_outbound_ports",
        help="outbound TCP ports that are captured whatever the address",
    ),
    Option(
        key="istio-local-outbound-ports-exclude",
        short="o",
        kind=Kind.SOME_PORTS,
        setting="exclude_outbound_ports",
        help="outbound TCP and UDP ports that are not captured",
    ),
    Option(
        key="ISTIO_OUTBOUND_OWNER_GROUPS",
        kind=Kind.GROUPS,
        default="*",
        setting="include_outbound_owner_groups",
        help="groups whose outbound connections are captured, at most 64",
    ),
    Option(
        key="ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE",
        kind=Kind.SOME_GROUPS,
        setting="exclude_outbound_owner_groups",
        help="groups whose are not, if all others' are",
    ),
    Option(
        key="kube-virt-interfaces",
        short="k",
        kind=Kind.NAMES,
        setting="virtual_interfaces",
        help="interfaces of VMs within: what comes in by them counts as outbound",
    ),
    Option(
        key="redirect-dns",
        kind=Kind.SWITCH,
        setting="capture_dns",
        help="DNS queries to the servers of /etc/resolv.conf go to the proxy",
        also=("ISTIO_META_DNS_CAPTURE",),
    ),
    Option(
        key="capture-all-dns",
        kind=Kind.SWITCH,
        setting="capture_dns",
        help="with --redirect-dns: those to any server do",
    ),
    Option(
        key="drop-invalid",
        kind=Kind.SWITCH,
        setting="drop_invalid",
        help="drop packets conntrack calls invalid, before they reset a connection",
        also=("INVALID_DROP",),
    ),
    Option(
        key="dual-stack",
        kind=Kind.SWITCH,
        setting="ip_families",
        help="look for an IPv6 address behind the first one too",
        also=("ISTIO_DUAL_STACK",),
    ),
    Option(
        key="ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR",
        kind=Kind.LOOPBACK,
        default="127.0.0.1/32",
        setting="loopback_cidr",
        help="what counts as localhost for IPv4",
    ),
    Option(
        key="istio-inbound-tproxy-mark",
        short="t",
        kind=Kind.MARK,
        default="1337",
        setting="tproxy_mark",
        help="the mark of TPROXY's packets",
    ),
    Option(
        key="istio-inbound-tproxy-route-table",
        short="r",
        kind=Kind.TABLE,
        default="133",
        setting="tproxy_route_table",
        help="the routing table for packets of that mark",
    ),
)

_RUN = (
    Option(key="dry-run", short="n", kind=Kind.SWITCH, help="print the rules and touch nothing"),
    Option(
        key="DRY_RUN_FILE_PATH", kind=Kind.TEXT, help="a file a dry run writes them to as well"
    ),
    Option(key="skip-rule-apply", kind=Kind.SWITCH, help="leave rules and routes as they are"),
    Option(
        key="run-validation",
        kind=Kind.SWITCH,
        help="try whether connections are redirected; exit code 126 if not",
    ),
    Option(
        key="iptables-probe-port", kind=Kind.UINT16, default="15002", help="the port that is tried"
    ),
    Option(key="probe-timeout", kind=Kind.DURATION, default="5s", help="how long it is tried"),
    Option(
        key="network-namespace",
        kind=Kind.TEXT,
        setting="netns",
        help="path of the network namespace to work in, which Istio itself only locks",
    ),
    Option(key="cni-mode", kind=Kind.SWITCH, help="the files here are the host's, not the pod's"),
    Option(
        key="reconcile",
        kind=Kind.SWITCH,
        help="put right what differs, which is done in any case",
    ),
    Option(
        key="cleanup-only",
        kind=Kind.SWITCH,
        help="remove all that was ever installed, whatever else is given",
    ),
    Option(
        key="force-apply", kind=Kind.SWITCH, help="write rules though they are in force already"
    ),
    Option(
        key="native-nftables",
        kind=Kind.SWITCH,
        setting="backend",
        help="nftables' own rules instead of iptables'",
    ),
    Option(
        key="force-iptables-binary",
        kind=Kind.VARIANT,
        setting="iptables_variant",
        help="which iptables; empty takes the one that holds rules, else nft",
    ),
)

_OURS = (
    Option(
        key="lenient",
        kind=Kind.SWITCH,
        help="read mistakes as Istio does instead of refusing them",
        also=("INTERCEPTOR_LENIENT",),
        derived=False,
    ),
    *(
        Option(key=key, kind=kind, setting=key, help=said, also=also, derived=False)
        for key, kind, said, also in (
            ("output", Kind.TEXT, "human, or the facts as json", ("INTERCEPTOR_OUTPUT",)),
            ("timeout", Kind.TEXT, "seconds to give up after", ("INTERCEPTOR_TIMEOUT",)),
            ("debug", Kind.SWITCH, "show a traceback with an error", ("INTERCEPTOR_DEBUG",)),
        )
    ),
    Option(key="help", short="h", kind=Kind.SWITCH, help="show this and exit", derived=False),
)

_LOGGING = tuple(
    Option(key=key, kind=kind, help="without effect", derived=False)
    for key, kind in {
        "log_as_json": Kind.SWITCH,
        "log_caller": Kind.TEXT,
        "log_output_level": Kind.TEXT,
        "log_rotate": Kind.TEXT,
        "log_rotate_max_age": Kind.TEXT,
        "log_rotate_max_backups": Kind.TEXT,
        "log_rotate_max_size": Kind.TEXT,
        "log_stacktrace_level": Kind.TEXT,
        "log_target": Kind.TEXT,
        "vklog": Kind.TEXT,
    }.items()
)

TABLE = Table(
    "istio-iptables",
    {
        "What is intercepted": _RULES,
        "What is done": _RUN,
        "Not Istio's": _OURS,
        "How Istio logs": _LOGGING,
    },
)
"""All options under headings for a person."""

OPTIONS: Mapping[str, Option] = TABLE.rows
"""All options by key."""

NEVER_READ = {
    "ENVOY_PORT": "--envoy-port",
    "INBOUND_INTERCEPTION_MODE": "ISTIO_INBOUND_INTERCEPTION_MODE",
    "INBOUND_TPROXY_MARK": "ISTIO_INBOUND_TPROXY_MARK",
}
"""Variables that look as if Istio read them, and what it reads instead."""
