"""What istio-iptables hands to the kernel's tools, made here again from what it is known to do.

Written apart from ``interceptor`` and its sheets on purpose: it is what those are checked against.
Rules come in the order Istio records them and in its words, its faults included.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.lab.istio.inbound import inbound, interfaces, transparent
from tests.lab.istio.outbound import outbound
from tests.lab.istio.settings import PASSTHROUGH, Istio
from tests.lab.istio.texts import V4, V6, Rules

if TYPE_CHECKING:
    from tests.lab.netns import Namespace

__all__ = ["TOOLS", "V4", "V6", "Istio", "Rules", "commands", "put", "rules"]

TOOLS = ("iptables-nft", "iptables-legacy", "nft")
"""What Istio can install with."""


def rules(istio: Istio) -> Rules:
    """Give all rules of a configuration."""
    made = Rules(istio.families)
    interfaces(made, istio)
    if istio.drop_invalid:
        invalid = "-m conntrack --ctstate INVALID -j ISTIO_DROP"
        made.for_iptables("mangle PREROUTING", invalid)
        # Every protocol there, and here only TCP.
        only_tcp = "meta l4proto tcp ct state invalid counter jump istio-drop"
        made.for_nft("mangle PREROUTING", only_tcp)
        made.both("mangle ISTIO_DROP", "-j DROP", "counter drop")
    made.both(
        "nat ISTIO_INBOUND",
        f"-p tcp --dport {istio.tunnel_port} -j RETURN",
        f"meta l4proto tcp tcp dport {istio.tunnel_port} counter return",
    )
    for chain, port in (
        ("ISTIO_REDIRECT", istio.proxy_port),
        ("ISTIO_IN_REDIRECT", istio.inbound_port),
    ):
        made.both(
            f"nat {chain}",
            f"-p tcp -j REDIRECT --to-ports {port}",
            f"meta l4proto tcp counter redirect to :{port}",
        )
    if istio.include_inbound_ports:
        inbound(made, istio)
    made.both("nat OUTPUT", "-j ISTIO_OUTPUT", "counter jump istio-output")
    outbound(made, istio)
    if istio.tproxy:
        transparent(made, istio)
    return made


def commands(istio: Istio) -> list[tuple[str, ...]]:
    """Give what is done beside the rules, as commands of iproute2."""
    done: list[tuple[str, ...]] = []
    if istio.ipv6:
        done.append(("ip", "-6", "addr", "add", PASSTHROUGH[V6], "dev", "lo"))
    if istio.tproxy and istio.include_inbound_ports:
        for version in istio.families:
            ip, to = ("ip", f"-{version}"), "0.0.0.0/0" if version == V4 else "0::0/0"
            table = istio.table
            done.append((*ip, "rule", "add", "fwmark", istio.mark, "lookup", table))
            done.append((*ip, "route", "add", "local", to, "dev", "lo", "table", table))
    return done


def put(namespace: Namespace, istio: Istio, tool: str) -> None:
    """Install as Istio would, by one of its tools."""
    made = rules(istio)
    if tool == "nft":
        namespace.run("nft", "-f", "-", stdin=made.nft_text())
    else:
        variant = tool.partition("-")[2]
        for version in istio.families:
            family = "iptables" if version == V4 else "ip6tables"
            restore = f"{family}-{variant}-restore"
            namespace.run(restore, "--noflush", stdin=made.restore_text(version))
    for command in commands(istio):
        namespace.run(*command)
