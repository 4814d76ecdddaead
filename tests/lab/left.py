"""What other meshes' own tools leave, as ``iptables-restore`` and ``nft`` take it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from tests.lab import dumps

if TYPE_CHECKING:
    from tests.lab.netns import Namespace

_KUMA_COMMENT = '-m comment --comment "kuma/mesh/transparent/proxy/some reason"'
_CONSUL_NFT = """\
table inet consul_tproxy {
	chain CONSUL_PROXY_INBOUND { tcp dport 21000 return; jump CONSUL_PROXY_IN_REDIRECT; }
	chain CONSUL_PROXY_IN_REDIRECT { meta l4proto tcp redirect to :20000; }
	chain CONSUL_PROXY_OUTPUT { meta skuid 5995 return; jump CONSUL_PROXY_REDIRECT; }
	chain CONSUL_PROXY_REDIRECT { meta l4proto tcp redirect to :15001; }
	chain CONSUL_DNS_REDIRECT { udp dport 53 dnat ip to 127.0.0.1:8600; }
	chain CONSUL_NAT_OUTPUT {
		type nat hook output priority -100; policy accept;
		meta nfproto ipv6 return
		udp dport 53 jump CONSUL_DNS_REDIRECT
		meta l4proto tcp jump CONSUL_PROXY_OUTPUT
	}
	chain CONSUL_NAT_PREROUTING {
		type nat hook prerouting priority -100; policy accept;
		meta l4proto tcp jump CONSUL_PROXY_INBOUND
	}
}
"""


class Left(NamedTuple):
    """Texts for the tool of each family, or one for ``nft``."""

    chains: str
    ip: str = ""
    ip6: str = ""
    nft: str = ""
    commands: tuple[str, ...] = ()

    @property
    def tools(self) -> tuple[str, ...]:
        """The tools that can put it there."""
        return ("nft",) if self.nft else ("iptables-nft", "iptables-legacy")

    def put(self, namespace: Namespace, tool: str) -> None:
        """Put it into a namespace."""
        if tool == "nft":
            namespace.run("nft", "-f", "-", stdin=self.nft)
        for name, text in {"iptables": self.ip, "ip6tables": self.ip6}.items():
            if text:
                restore = f"{name}-{tool.removeprefix('iptables-')}-restore"
                namespace.run(restore, "--noflush", stdin=text)
        for command in self.commands:
            namespace.run(*command.split())


def _of(name: str) -> str:
    """Give a dump without the lines of built-in chains, which would set their policies."""
    return re.sub(
        r"(?m)^:(PREROUTING|INPUT|FORWARD|OUTPUT|POSTROUTING) .*\n", "", dumps.small(name)
    )


def _commented(text: str) -> str:
    return re.sub(r"(?m)^(-A .*?) (-j .*)$", rf"\1 {_KUMA_COMMENT} \2", text)


def _in_ip6(text: str) -> str:
    return text.replace("127.0.0.6/32", "::6/128").replace("127.0.0.1/32", "::1/128")


_KUMA_IP6 = _in_ip6(_of("kuma.ip"))

LEFT = {
    "linkerd": Left("PROXY_INIT", ip=_of("linkerd.ip"), ip6=_of("linkerd.ip")),
    "kuma": Left(
        "KUMA_MESH",
        ip=_commented(_of("kuma.ip")),
        ip6=_commented(_KUMA_IP6.replace("172.17.0.0/16", "fd17::/64")),
        commands=("ip -6 address add ::6/128 dev lo nodad",),
    ),
    "osm": Left("OSM_PROXY", ip=_of("osm.ip")),
    "osm with the pod's address": Left("OSM_PROXY", ip=_of("osm-pod-ip.ip")),
    "osm twice": Left("OSM_PROXY", ip=_of("osm.ip") * 2),
    "istio-1.5": Left("ISTIO_", ip=_of("istio-1.5.ip"), ip6=_in_ip6(_of("istio-1.5.ip"))),
    "istio-0.1": Left("ISTIO_", ip=_of("istio-0.1.ip")),
    "consul": Left("CONSUL", ip=_of("consul.ip")),
    "consul in nft": Left("consul", nft=_CONSUL_NFT),
}
