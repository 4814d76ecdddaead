"""Hand-made packets: a TCP client of single packets, at an address no kernel answers for."""

from __future__ import annotations

import json
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pyroute2 import IPRoute
from scapy.config import conf
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from tests.lab.traffic import version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scapy.packet import Packet

    from tests.lab.netns import Namespace
    from tests.lab.pod import Pod

STRANGER = {4: "10.1.0.77", 6: "fd01::77"}
"""On the client's side of the pod; its own kernel does not know it, so it resets nothing."""


class Tap:
    """An interface of a namespace: what passes is kept from now on, and packets can be sent."""

    def __init__(self, namespace: Namespace, interface: str = "eth0") -> None:
        with namespace:
            self._socket = conf.L2socket(iface=interface, promisc=False)

    def send(self, frame: Packet) -> None:
        self._socket.send(frame)

    def first(self, wanted: Callable[[Packet], bool], timeout_s: float = 1.0) -> Packet | None:
        """Give the first packet that is wanted, if one comes in time."""
        found = self._socket.sniff(lfilter=wanted, count=1, timeout=timeout_s)
        return found[0] if found else None

    def close(self) -> None:
        self._socket.close()


@contextmanager
def tap(namespace: Namespace, interface: str = "eth0") -> Iterator[Tap]:
    """Tap an interface for a while."""
    made = Tap(namespace, interface)
    try:
        yield made
    finally:
        made.close()


class Wire:
    """The client's end of the pod's cable, in the name of a stranger beside it."""

    def __init__(self, pod: Pod) -> None:
        self._mac = _mac(pod.pod, "eth0")
        mine = _mac(pod.client, "eth0")
        with pod.pod, IPRoute() as here:
            index = here.link_lookup(ifname="eth0")[0]
            for address in STRANGER.values():
                here.neigh("replace", dst=address, lladdr=mine, ifindex=index, state="permanent")
        self.tap = Tap(pod.client)

    def send(self, packet: Packet) -> None:
        self.tap.send(Ether(dst=self._mac) / packet)

    def answer(self, sent_pre: Packet, timeout_s: float = 1.0) -> Packet | None:
        """Give the next TCP packet that goes back to the sender's port, if one does."""
        wanted = sent_pre[TCP].sport
        return self.tap.first(lambda p: TCP in p and p[TCP].dport == wanted, timeout_s)


def syn_to(address: str, port: int, *layers: Packet, **ip_fields: Any) -> Packet:
    """Make the first packet of a connection; ``layers`` come between IP and TCP."""
    kind, stranger = (IP, STRANGER[4]) if version(address) == 4 else (IPv6, STRANGER[6])
    packet = kind(src=stranger, dst=address, **ip_fields)
    for layer in layers:
        packet /= layer
    source_port = 20000 + secrets.randbelow(40000)
    return packet / TCP(sport=source_port, dport=port, flags="S", seq=1000)


def converse(wire: Wire, syn_pre: Packet) -> dict[str, Any]:
    """Shake hands, and give what the recorder at the other end says of itself."""
    wire.send(syn_pre)
    synack_post = wire.answer(syn_pre)
    if synack_post is None:
        return {"error": "no answer"}
    tcp = synack_post[TCP]
    if "R" in tcp.flags:
        return {"error": "reset"}
    # Translation must be undone on the way back: the answer is from where we called.
    assert tcp.sport == syn_pre[TCP].dport
    assert synack_post.payload.src == syn_pre.dst
    ack_pre = syn_pre.copy()
    ack_pre[TCP].flags, ack_pre[TCP].seq, ack_pre[TCP].ack = "A", 1001, tcp.seq + 1
    wire.send(ack_pre)
    data_post = wire.answer(syn_pre)
    rst_pre = ack_pre.copy()
    rst_pre[TCP].flags = "R"
    wire.send(rst_pre)
    assert data_post is not None
    return dict(json.loads(bytes(data_post[TCP].payload)))


def _mac(namespace: Namespace, interface: str) -> str:
    with namespace, IPRoute() as here:
        [link] = here.link("get", ifname=interface)
        return str(link.get("address"))
