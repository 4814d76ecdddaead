"""Hand-made packets on every rule path: also such as no well-behaved client sends."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_Router_Alert
from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    PadN,
)

from tests.lab.craft import STRANGER, Wire, converse, syn_to, tap
from tests.lab.ebpf_node import ebpf_node
from tests.lab.paths import RULE_PATHS, RulePath
from tests.lab.pod import FAR, POD, POD_SIDE, Pod, new_pod
from tests.lab.traffic import as_user, connect, endpoint, recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scapy.packet import Packet

pytestmark = pytest.mark.root

EBPF = RulePath("ebpf", ("--backend", "ebpf"))


@pytest.fixture(scope="module", params=(*RULE_PATHS, EBPF), ids=str)
def path(request: pytest.FixtureRequest) -> RulePath:
    """Each backend there is."""
    given: RulePath = request.param
    return given


@pytest.fixture(scope="module")
def pod(path: RulePath) -> Iterator[Pod]:
    """A pod with the default rules, and somebody listening everywhere."""
    with (
        new_pod() as made,
        ebpf_node() as node,
        recorder(made.pod, 22, 8080, 15001, 15006, 15008, 15020, 15021, 15090),
        recorder(made.pod, 8080, protocol="udp"),
        recorder(made.outside, 80),
    ):
        # What is loaded for it is its own; rules are the pod's anyway.
        node.done_well("install", *path.flags, namespace=made.pod)
        yield made


@pytest.fixture
def wire(pod: Pod) -> Iterator[Wire]:
    made = Wire(pod)
    yield made
    made.tap.close()


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("port", [8080, 1, 80, 443, 15000, 15001, 15006, 15053, 65535])
def test_a_syn_to_any_port_reaches_the_proxy(wire: Wire, version: int, port: int) -> None:
    answer = converse(wire, syn_to(POD[version], port))
    assert answer["port"] == 15006
    assert answer["original"] == endpoint(POD[version], port)
    assert answer["peer"] == STRANGER[version]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("port", [22, 15008, 15020, 15021, 15090])
def test_a_syn_to_a_kept_port_reaches_its_listener(wire: Wire, version: int, port: int) -> None:
    answer = converse(wire, syn_to(POD[version], port))
    assert (answer["port"], answer["who"]) == (port, "pod")


@pytest.mark.parametrize(
    "syn_pre",
    [
        syn_to(POD[4], 8080, options=[IPOption_Router_Alert()]),
        syn_to(POD[4], 8080, tos=0xB8, ttl=1),
        syn_to(POD[6], 8080, IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)])),
        syn_to(POD[6], 22, IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)])),
    ],
    ids=["ip-option", "tos", "ipv6-extension-header", "ipv6-extension-header-to-ssh"],
)
def test_headers_in_between_hide_nothing(wire: Wire, syn_pre: IP | IPv6) -> None:
    wanted = 22 if syn_pre[TCP].dport == 22 else 15006
    assert converse(wire, syn_pre)["port"] == wanted


def test_a_first_packet_that_is_no_syn_is_reset_not_delivered(wire: Wire) -> None:
    ack_pre = syn_to(POD[4], 8080)
    ack_pre[TCP].flags = "A"
    wire.send(ack_pre)
    rst_post = wire.answer(ack_pre)
    assert rst_post is not None
    assert "R" in rst_post[TCP].flags


@pytest.mark.parametrize("version", [4, 6])
def test_icmp_is_untouched(wire: Wire, version: int) -> None:
    ip = (IP if version == 4 else IPv6)(src=STRANGER[version], dst=POD[version])
    echo_pre, reply = (
        (ICMP(id=7), ICMP) if version == 4 else (ICMPv6EchoRequest(id=7), ICMPv6EchoReply)
    )
    wire.send(ip / echo_pre)
    back_post = wire.tap.first(lambda p: reply in p and p.payload.src == POD[version])
    assert back_post is not None


@pytest.mark.parametrize("version", [4, 6])
def test_udp_is_untouched(wire: Wire, version: int) -> None:
    ip = (IP if version == 4 else IPv6)(src=STRANGER[version], dst=POD[version])
    wire.send(ip / UDP(sport=4444, dport=8080) / b"?")
    back_post = wire.tap.first(lambda p: UDP in p and p[UDP].dport == 4444)
    assert back_post is not None
    assert back_post[UDP].sport == 8080


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    ("uid", "gid", "leaves"),
    [(1000, 1000, False), (1337, 1000, True), (1000, 1337, True)],
    ids=["app", "proxy-uid", "proxy-gid"],
)
def test_what_leaves_by_the_wire(pod: Pod, version: int, uid: int, gid: int, leaves: bool) -> None:
    """An app's connection never shows outside; the proxy's goes there as it was made."""
    with tap(pod.outside) as outside:
        connect(pod.pod, FAR[version], 80, uid=uid, gid=gid)
        syn_post = outside.first(_is_syn_to(FAR[version], 80), timeout_s=0.3)
    assert (syn_post is not None) is leaves


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(("gid", "leaves"), [(1337, True), (1000, False)])
def test_a_hand_made_packet_is_its_sockets(
    pod: Pod, path: RulePath, version: int, gid: int, leaves: bool
) -> None:
    """From a raw socket inside the pod: the owner is whoever made the socket.

    It has no connection, so programs at sockets are not asked.
    """
    ip = IP if version == 4 else IPv6
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    syn_pre = ip(src=POD_SIDE[version], dst=FAR[version]) / TCP(sport=3333, dport=80, flags="S")
    with tap(pod.outside) as outside:
        with pod.pod, as_user(0, gid):
            sender = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
        with sender:
            sender.sendto(bytes(syn_pre), (FAR[version], 0))
        syn_post = outside.first(_is_syn_to(FAR[version], 80), timeout_s=0.3)
    assert (syn_post is not None) is (leaves or path is EBPF)


def _is_syn_to(address: str, port: int) -> Callable[[Packet], bool]:
    return lambda p: (
        TCP in p and p[TCP].flags == "S" and (p.payload.dst, p[TCP].dport) == (address, port)
    )
