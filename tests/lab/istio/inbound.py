"""Rules for interfaces, for what comes from outside, and TPROXY's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.lab.istio.settings import PASSTHROUGH, split

if TYPE_CHECKING:
    from tests.lab.istio.settings import Istio
    from tests.lab.istio.texts import Rules

OUTBOUND_MARK = "1338"
_TCP = "meta l4proto tcp"


def interfaces(made: Rules, istio: Istio) -> None:
    """Record what leaves interfaces alone, and those to what runs within the pod."""
    for table in ("nat", "mangle") if istio.tproxy else ("nat",):
        for n in split(istio.exclude_interfaces):
            made.both(f"{table} PREROUTING", f"-i {n} -j RETURN", f"iifname {n} counter return")
            made.both(f"{table} OUTPUT", f"-o {n} -j RETURN", f"oifname {n} counter return")
    for k in split(istio.virtual_interfaces):
        made.both("nat PREROUTING", f"-i {k} -j RETURN", f"iifname {k} counter return", at=1)


def inbound(made: Rules, istio: Istio) -> None:
    """Record what captures inbound connections."""
    table = "mangle" if istio.tproxy else "nat"
    if istio.tproxy:
        _hand_over(made, istio)
    made.both(
        f"{table} PREROUTING", "-p tcp -j ISTIO_INBOUND", f"{_TCP} counter jump istio-inbound"
    )
    ports = [("", "")]
    if istio.include_inbound_ports != "*":
        ports = [(f" --dport {p}", f" tcp dport {p}") for p in split(istio.include_inbound_ports)]
    else:
        for port in split(istio.exclude_inbound_ports):
            made.both(
                f"{table} ISTIO_INBOUND",
                f"-p tcp --dport {port} -j RETURN",
                f"{_TCP} tcp dport {port} counter return",
            )
    for port, nft_port in ports:
        if istio.tproxy:
            made.both(
                "mangle ISTIO_INBOUND",
                f"-p tcp{port} -m conntrack --ctstate RELATED,ESTABLISHED -j ISTIO_DIVERT",
                f"{_TCP} ct state related,established{nft_port} counter jump istio-divert",
            )
            made.both(
                "mangle ISTIO_INBOUND",
                f"-p tcp{port} -j ISTIO_TPROXY",
                f"{_TCP}{nft_port} counter jump istio-tproxy",
            )
        else:
            made.both(
                "nat ISTIO_INBOUND",
                f"-p tcp{port} -j ISTIO_IN_REDIRECT",
                f"{_TCP}{nft_port} counter jump istio-in-redirect",
            )


def _hand_over(made: Rules, istio: Istio) -> None:
    """Record the two ways to the transparent listener: known connections, and new ones."""
    port, mark = istio.inbound_port, istio.mark
    marked = f"meta mark set {mark}"
    made.both("mangle ISTIO_DIVERT", f"-j MARK --set-mark {mark}", f"counter {marked}")
    made.both("mangle ISTIO_DIVERT", "-j ACCEPT", "counter accept")
    made.both(
        "mangle ISTIO_TPROXY",
        f"! -d {{}} -p tcp -j TPROXY --tproxy-mark {mark}/0xffffffff --on-port {port}",
        f"{_TCP} {{ip}} daddr != {{}} tproxy {{ip}} to :{port} {marked} counter accept",
        istio.localhost,
    )


def transparent(made: Rules, istio: Istio) -> None:
    """Record the marks by which TPROXY tells who is calling whom."""
    mark = istio.mark
    made.both(
        "mangle PREROUTING",
        f"-p tcp -m mark --mark {mark} -j CONNMARK --save-mark",
        f"{_TCP} mark {mark} counter ct mark set mark",
    )
    made.both(
        "mangle OUTPUT",
        f"-p tcp -o lo -m mark --mark {mark} -j RETURN",
        f"oifname lo {_TCP} mark {mark} counter return",
    )
    for kind, one in istio.owners:
        made.both(
            "mangle OUTPUT",
            f"! -d {{}} -p tcp -o lo -m owner --{kind}-owner {one} "
            f"-j MARK --set-mark {OUTBOUND_MARK}",
            f"oifname lo {_TCP} {{ip}} daddr != {{}} sk{kind} {one} counter "
            f"meta mark set {OUTBOUND_MARK}",
            istio.localhost,
        )
    made.both(
        "mangle OUTPUT",
        f"-p tcp -m connmark --mark {mark} -j CONNMARK --restore-mark",
        f"{_TCP} ct mark {mark} counter meta mark set ct mark",
    )
    made.both(
        "mangle ISTIO_INBOUND",
        f"-p tcp -m mark --mark {mark} -j RETURN",
        f"{_TCP} mark {mark} counter return",
        at=1,
    )
    made.both(
        "mangle ISTIO_INBOUND",
        "-p tcp -s {} -i lo -j RETURN",
        f"iifname lo {_TCP} {{ip}} saddr {{}} counter return",
        PASSTHROUGH,
        at=2,
    )
    made.both(
        "mangle ISTIO_INBOUND",
        f"-p tcp -i lo -m mark ! --mark {OUTBOUND_MARK} -j RETURN",
        f"iifname lo {_TCP} mark != {OUTBOUND_MARK} counter return",
        at=3,
    )
