"""Rules for what is sent here, and for DNS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.lab.istio.settings import PASSTHROUGH, cidrs, split

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.istio.settings import Istio
    from tests.lab.istio.texts import Each, Rules

DNS_LISTENER = "15053"
_HERE = "nat ISTIO_OUTPUT"


def outbound(made: Rules, istio: Istio) -> None:
    """Record all that decides about outbound connections."""
    for port in split(istio.exclude_outbound_ports):
        for name in ("tcp", "udp"):
            made.both(
                _HERE, f"-p {name} --dport {port} -j RETURN", f"{name} dport {port} counter return"
            )
    made.both(
        _HERE, "-o lo -s {} -j RETURN", "oifname lo {ip} saddr {} counter return", PASSTHROUGH
    )
    for kind, one in istio.owners:
        _owner(made, istio, kind, one)
    _groups(made, istio)
    if istio.dns:
        _dns(made, istio)
        _zones(made, istio)
    for each in (istio.localhost, *cidrs(istio.exclude_cidrs)):
        made.both(_HERE, "-d {} -j RETURN", "{ip} daddr {} counter return", each)
    for port in split(istio.include_outbound_ports):
        made.both(
            _HERE,
            f"-p tcp --dport {port} -j ISTIO_REDIRECT",
            f"tcp dport {port} counter jump istio-redirect",
        )
    _included(made, istio)


def _owner(made: Rules, istio: Istio, kind: str, one: str) -> None:
    """Record the three rules for one of the proxy's users or groups."""
    tunnel = istio.tunnel_port
    ports, nft_ports = f"! --dport {tunnel}", f"!= {tunnel}"
    if istio.dns and kind == "uid":
        ports, nft_ports = f"-m multiport ! --dports 53,{tunnel}", f"!= {{ 53, {tunnel} }}"
    made.both(
        _HERE,
        f"-o lo ! -d {{}} -p tcp {ports} -m owner --{kind}-owner {one} -j ISTIO_IN_REDIRECT",
        f"oifname lo meta l4proto tcp {{ip}} daddr != {{}} tcp dport {nft_ports} "
        f"sk{kind} {one} counter jump istio-in-redirect",
        istio.localhost,
    )
    if not istio.includes_loopback:
        but_dns = "-p tcp ! --dport 53 " if istio.dns else ""
        nft_but_dns = "meta l4proto tcp tcp dport != 53 " if istio.dns else ""
        made.both(
            _HERE,
            f"-o lo {but_dns}-m owner ! --{kind}-owner {one} -j RETURN",
            f"oifname lo {nft_but_dns}sk{kind} != {one} counter return",
        )
    made.both(_HERE, f"-m owner --{kind}-owner {one} -j RETURN", f"sk{kind} {one} counter return")


def _groups(made: Rules, istio: Istio) -> None:
    """Record which groups are captured, all but some or only some."""
    if istio.include_groups == "*":
        for g in split(istio.exclude_groups):
            made.both(_HERE, f"-m owner --gid-owner {g} -j RETURN", f"skgid {g} counter return")
        return
    groups = split(istio.include_groups)
    made.both(
        _HERE,
        " ".join([*(f"-m owner ! --gid-owner {g}" for g in groups), "-j RETURN"]),
        " ".join([*(f"skgid != {g}" for g in groups), "counter return"]),
    )


def _dns(made: Rules, istio: Istio) -> None:
    """Record what sends queries to the agent."""
    made.both("raw OUTPUT", "-j ISTIO_OUTPUT_DNS", "counter jump istio-output-dns")
    made.for_iptables(_HERE, "-j ISTIO_OUTPUT_DNS", _with_servers(istio))
    made.for_nft(_HERE, "counter jump istio-output-dns")
    # Once an option is spelled as it is, and once cut short.
    for name, option in (("tcp", "--to-ports"), ("udp", "--to-port")):
        for to, nft_to, each in _servers(istio, "-d", "daddr"):
            made.both(
                "nat ISTIO_OUTPUT_DNS",
                f"-p {name} --dport 53{to} -j REDIRECT {option} {DNS_LISTENER}",
                f"{nft_to}{name} dport 53 counter redirect to :{DNS_LISTENER}",
                each,
            )


def _zones(made: Rules, istio: Istio) -> None:
    """Record what keeps the agent's queries (zone 1) apart from those of the app (zone 2)."""
    for kind, one in istio.owners:
        for port, zone in (("dport 53", 1), (f"sport {DNS_LISTENER}", 2)):
            made.both(
                "raw ISTIO_OUTPUT_DNS",
                f"-p udp --{port} -m owner --{kind}-owner {one} -j CT --zone {zone}",
                f"udp {port} meta sk{kind} {one} counter ct zone set {zone}",
            )
    made.for_iptables("raw PREROUTING", "-j ISTIO_INBOUND", _with_servers(istio))
    made.for_nft("raw PREROUTING", "counter jump istio-inbound")
    for (to, nft_to, each), (of, nft_of, _) in zip(
        _servers(istio, "-d", "daddr"), _servers(istio, "-s", "saddr"), strict=True
    ):
        made.both(
            "raw ISTIO_OUTPUT_DNS",
            f"-p udp --dport 53{to} -j CT --zone 2",
            f"udp dport 53 {nft_to}counter ct zone set 2",
            each,
        )
        made.both(
            "raw ISTIO_INBOUND",
            f"-p udp --sport 53{of} -j CT --zone 1",
            f"udp sport 53 {nft_of}counter ct zone set 1",
            each,
        )


def _with_servers(istio: Istio) -> Each | None:
    """Give the families that have a server to capture; ``None`` is all."""
    if istio.capture_all_dns:
        return None
    return {version: "" for each in istio.servers for version in each}


def _servers(istio: Istio, option: str, field: str) -> Iterator[tuple[str, str, Each | None]]:
    """Give the words for each server and its address, or none for anywhere."""
    if istio.capture_all_dns:
        yield "", "", None
        return
    for each in istio.servers:
        yield f" {option} {{}}", f"{{ip}} {field} {{}} ", each


def _included(made: Rules, istio: Istio) -> None:
    """Record the destinations that are captured."""
    virtual = split(istio.virtual_interfaces)
    if istio.include_cidrs == "*":
        made.both(_HERE, "-j ISTIO_REDIRECT", "counter jump istio-redirect")
        for k in virtual:
            to = f"iifname {k} counter jump istio-redirect"
            made.both("nat PREROUTING", f"-i {k} -j ISTIO_REDIRECT", to, at=1)
        return
    for each in cidrs(istio.include_cidrs):
        for k in virtual:
            made.both(
                "nat PREROUTING",
                f"-i {k} -d {{}} -j ISTIO_REDIRECT",
                f"iifname {k} {{ip}} daddr {{}} counter jump istio-redirect",
                each,
                at=1,
            )
        made.both(
            _HERE, "-d {} -j ISTIO_REDIRECT", "{ip} daddr {} counter jump istio-redirect", each
        )
