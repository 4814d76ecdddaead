"""Sheet kuma with packets: who is reached, from where, and what the kernel remembers of it.

Recorders stand for the proxy, the app and the world, on every rule path and in both families.
"""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, NamedTuple

import pytest
from scapy.layers.inet import TCP

from tests.lab.craft import Wire, converse, syn_to
from tests.lab.paths import NFTABLES, RULE_PATHS, RulePath, done_well
from tests.lab.pod import CLIENT, FAR, OUTSIDE, POD, POD_SIDE, Pod, new_pod
from tests.lab.traffic import Recorder, as_user, connect, endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

KUMA = 5678
LOCALHOST = {4: "127.0.0.1", 6: "::1"}
HANDOVER = {4: "127.0.0.6", 6: "::6"}
APP = 8080
PORTS = {"proxy IN": 15006, "proxy OUT": 15001, "proxy DNS": 15053}


class Case(NamedTuple):
    """Who connects to what, and where that must end: ``direct`` or one of the proxy's ports."""

    what: str
    start: str
    to: dict[int, str]
    port: int
    expect: str
    uid: int = 1000
    source: dict[int, str] | None = None
    protocol: str = "tcp"

    def peer(self, version: int) -> str:
        """Give the address it must be seen to come from: nothing hides who calls."""
        if self.source:
            return self.source[version]
        if self.start != "pod":
            return {"client": CLIENT, "outside": OUTSIDE}[self.start][version]
        if self.to in (LOCALHOST, POD):
            return self.to[version]
        return (POD if self.to is CLIENT else POD_SIDE)[version]


DEFAULT = [
    Case("inbound to the app", "client", POD, APP, "proxy IN"),
    Case("inbound to the other address", "outside", POD_SIDE, APP, "proxy IN"),
    # Kuma keeps no port for others.
    Case("inbound ssh", "client", POD, 22, "proxy IN"),
    Case("inbound to the outbound listener", "client", POD, 15001, "proxy IN"),
    Case("inbound udp", "client", POD, APP, "direct", protocol="udp"),
    Case("outbound by the app", "pod", FAR, 80, "proxy OUT"),
    Case("outbound to a neighbour", "pod", CLIENT, 80, "proxy OUT"),
    Case("outbound by root", "pod", FAR, 80, "proxy OUT", uid=0),
    Case("outbound by Istio's user", "pod", FAR, 80, "proxy OUT", uid=1337),
    Case("outbound by the proxy", "pod", FAR, 80, "direct", uid=KUMA),
    Case("outbound udp", "pod", OUTSIDE, 80, "direct", protocol="udp"),
    Case("DNS over UDP", "pod", OUTSIDE, 53, "direct", protocol="udp"),
    Case("DNS over TCP", "pod", OUTSIDE, 53, "proxy OUT"),
    Case("app to localhost", "pod", LOCALHOST, APP, "direct"),
    Case("app to its own pod", "pod", POD, APP, "direct"),
    Case("proxy to localhost", "pod", LOCALHOST, APP, "direct", uid=KUMA),
    Case("proxy to its own pod", "pod", POD, APP, "proxy IN", uid=KUMA),
    Case("proxy to its pod's port 53", "pod", POD, 53, "proxy IN", uid=KUMA),
    Case("handover to the app", "pod", POD, APP, "direct", uid=KUMA, source=HANDOVER),
]
_DNS = [
    Case("query", "pod", OUTSIDE, 53, "proxy DNS", protocol="udp"),
    Case("query by root", "pod", OUTSIDE, 53, "proxy DNS", uid=0, protocol="udp"),
    Case("query of the pod", "pod", POD, 53, "proxy DNS", protocol="udp"),
    Case("query by the proxy", "pod", OUTSIDE, 53, "direct", uid=KUMA, protocol="udp"),
    Case("DNS over TCP", "pod", OUTSIDE, 53, "direct"),
    Case("DNS over TCP to anybody", "pod", FAR, 53, "direct"),
    Case("DNS over TCP by the proxy", "pod", OUTSIDE, 53, "direct", uid=KUMA),
    Case("DNS over TCP to the pod", "pod", POD, 53, "direct"),
    Case("proxy to its pod's port 53", "pod", POD, 53, "direct", uid=KUMA),
]
_VNET = "vnet=eth0:10.1.0.0/24,eth0:fd01::/64"

CONFIGURATIONS: dict[str, tuple[tuple[str, ...], list[Case]]] = {
    "default": ((), DEFAULT),
    "excluded ports": (
        ("--exclude-inbound-ports", "9090", "--exclude-outbound-ports", "3306,8080"),
        [
            Case("excluded inbound", "client", POD, 9090, "direct"),
            Case("not excluded inbound", "client", POD, APP, "proxy IN"),
            Case("excluded outbound", "pod", FAR, 3306, "direct"),
            Case("not excluded outbound", "pod", FAR, 80, "proxy OUT"),
            # Faults: its own pod's exceptions are not the proxy's, and outbound ones are.
            Case("excluded inbound, by the proxy", "pod", POD, 9090, "proxy IN", uid=KUMA),
            Case("excluded outbound, of the pod", "pod", POD, APP, "direct", uid=KUMA),
        ],
    ),
    "excluded addresses": (
        (
            *("--exclude-inbound-cidrs", f"{CLIENT[4]},{CLIENT[6]}", "--capture-dns", "all"),
            *("--exclude-outbound-cidrs", f"10.2.0.0/24,{OUTSIDE[6]}"),
        ),
        [
            Case("excluded source", "client", POD, APP, "direct"),
            Case("another source", "outside", POD_SIDE, APP, "proxy IN"),
            Case("excluded destination", "pod", OUTSIDE, 80, "direct"),
            Case("another destination", "pod", FAR, 80, "proxy OUT"),
            Case("query of one that is excluded", "pod", OUTSIDE, 53, "direct", protocol="udp"),
            Case("query of another", "pod", CLIENT, 53, "proxy DNS", protocol="udp"),
        ],
    ),
    "excluded for users": (
        (
            *("--option", "exclude_outbound_ports_for_uids=tcp:3306:4200-4201,udp:53:4201"),
            *("--exclude-outbound-uids", "4300", "--capture-dns", "all"),
        ),
        [
            Case("their port", "pod", FAR, 3306, "direct", uid=4200),
            Case("another port", "pod", FAR, 80, "proxy OUT", uid=4200),
            Case("another user", "pod", FAR, 3306, "proxy OUT", uid=4202),
            Case("their queries", "pod", OUTSIDE, 53, "direct", uid=4201, protocol="udp"),
            Case("another's", "pod", OUTSIDE, 53, "proxy DNS", uid=4200, protocol="udp"),
            Case("all of one", "pod", FAR, 80, "direct", uid=4300),
            Case("all queries of one", "pod", OUTSIDE, 53, "direct", uid=4300, protocol="udp"),
        ],
    ),
    "included ports": (
        (
            *("--include-inbound-ports", f"{APP},9090", "--exclude-inbound-ports", "9090"),
            *("--include-outbound-ports", "443", "--include-outbound-cidrs", ""),
        ),
        [
            Case("included inbound", "client", POD, APP, "proxy IN"),
            Case("not included inbound", "client", POD, 22, "direct"),
            Case("included outbound", "pod", FAR, 443, "proxy OUT"),
            Case("not included outbound", "pod", FAR, 80, "direct"),
            # Faults: exclusion counts for nothing, and the proxy's own calls are all inbound.
            Case("included and excluded", "client", POD, 9090, "proxy IN"),
            Case("not included, by the proxy", "pod", POD, 22, "proxy IN", uid=KUMA),
        ],
    ),
    "nothing inbound": (
        ("--include-inbound-ports", ""),
        [
            Case("inbound", "client", POD, APP, "direct"),
            Case("outbound", "pod", FAR, 80, "proxy OUT"),
            # A fault: the app is reached through the proxy, which nobody asked for.
            Case("proxy to its own pod", "pod", POD, APP, "proxy IN", uid=KUMA),
        ],
    ),
    "nothing outbound": (
        ("--include-outbound-cidrs", ""),
        [
            Case("inbound", "client", POD, APP, "proxy IN"),
            Case("outbound", "pod", FAR, 80, "direct"),
            Case("proxy to its own pod", "pod", POD, APP, "direct", uid=KUMA),
        ],
    ),
    "all DNS": (
        ("--capture-dns", "all"),
        [*(case for case in DEFAULT if case.port != 53), *_DNS],
    ),
    "DNS of resolv.conf": (
        ("--capture-dns", "resolv-conf"),
        [
            *(case for case in _DNS if case.to is OUTSIDE),
            Case("query of another server", "pod", CLIENT, 53, "direct", protocol="udp"),
            # A fault: TCP to port 53 passes by, whosever it is.
            Case("DNS over TCP to another server", "pod", FAR, 53, "direct"),
        ],
    ),
    "the call inserted": (
        (
            *("--capture-dns", "all"),
            *("--option", "redirect_outbound_insert_instead_of_append=true"),
        ),
        [
            Case("query", "pod", OUTSIDE, 53, "proxy DNS", protocol="udp"),
            Case("DNS over TCP", "pod", OUTSIDE, 53, "proxy OUT"),
        ],
    ),
    "networks behind interfaces": (
        ("--option", _VNET),
        [
            Case("from within, outwards", "client", FAR, 80, "proxy OUT"),
            Case("from within, to the pod", "client", POD, APP, "proxy IN"),
            Case("from outside", "outside", POD_SIDE, APP, "proxy IN"),
            # A fault: DNS is not captured, and theirs is.
            Case("a query from within", "client", OUTSIDE, 53, "proxy DNS", protocol="udp"),
            Case("a query by the app", "pod", OUTSIDE, 53, "direct", protocol="udp"),
        ],
    ),
    "IPv4 only": (
        ("--ip-families", "ipv4"),
        [
            Case("inbound", "client", {4: POD[4]}, APP, "proxy IN"),
            Case("outbound", "pod", {4: FAR[4]}, 80, "proxy OUT"),
            Case("inbound IPv6", "client", {6: POD[6]}, APP, "direct"),
            Case("outbound IPv6", "pod", {6: FAR[6]}, 80, "direct"),
        ],
    ),
}


@pytest.fixture(scope="module")
def world() -> Iterator[Pod]:
    """One pod for all cases: each case installs, and what it installs replaces the last."""
    with new_pod() as made:
        made.pod.resolv_conf(f"nameserver {OUTSIDE[4]}\nnameserver {OUTSIDE[6]}\n")
        made.pod.forward()
        recorders = [
            Recorder(made.pod, 22, 53, APP, 9090, 15001, 15006),
            Recorder(made.pod, APP, protocol="udp"),
            # An answer must come from where it was asked: here by lo, and by eth0.
            Recorder(made.pod, 15053, protocol="udp", on=LOCALHOST, uid=KUMA),
            Recorder(made.pod, 15053, protocol="udp", on=POD, uid=KUMA),
            Recorder(made.outside, 53, 80, 443, 3306),
            Recorder(made.outside, 53, 80, protocol="udp"),
            Recorder(made.client, 80),
            Recorder(made.client, 53, protocol="udp"),
        ]
        yield made
        for recorder in recorders:
            recorder.close()


@pytest.mark.parametrize("path", RULE_PATHS, ids=str)
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_every_connection_meets_its_fate(world: Pod, path: RulePath, name: str) -> None:
    flags, cases = CONFIGURATIONS[name]
    done_well("install", "--sheet", "kuma", *path.flags, *flags, namespace=world.pod)
    wrong = [
        f"{case.what} (IPv{version}): {found}, not {case.expect}"
        for case in cases
        for version in case.to
        if (found := _fate(world, case, version)) != case.expect
    ]
    done_well("uninstall", namespace=world.pod)
    assert not wrong, "\n".join(wrong)


def _fate(world: Pod, case: Case, version: int) -> str:
    """Make the connection; say where it ended, and what of it was not as it should be."""
    to = case.to[version]
    answer = connect(
        getattr(world, case.start),
        to,
        case.port,
        uid=case.uid,
        source=case.source[version] if case.source else "",
        protocol=case.protocol,
    )
    if "error" in answer:
        return str(answer["error"])
    if answer["peer"] != case.peer(version):
        return f"port {answer['port']} from {answer['peer']}"
    if answer["port"] == case.port and case.expect == "direct":
        return "direct"
    names = {port: name for name, port in PORTS.items()}
    fate = names.get(answer["port"], "direct") if answer["who"] == "pod" else "direct"
    is_tcp = case.protocol == "tcp"
    if is_tcp and fate != "direct" and answer["original"] != endpoint(to, case.port):
        return f"{fate} with the original destination {answer['original']}"
    return fate


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("path", RULE_PATHS, ids=str)
def test_zones_keep_queries_from_the_same_port_apart(
    world: Pod, path: RulePath, version: int
) -> None:
    """Without them the proxy's query goes the way of the app's before it: to the proxy."""
    kuma = ("install", "--sheet", "kuma", *path.flags, "--capture-dns", "all")
    for number, (more, reached) in enumerate(
        [((), 53), (("--option", "skip_dns_conntrack_zone_split=true"), 15053)]
    ):
        done_well(*kuma, *more, namespace=world.pod)
        port = 20000 + version * 100 + RULE_PATHS.index(path) * 10 + number
        assert _ask(world, version, 1000, port) == 15053
        assert _ask(world, version, KUMA, port) == reached
    done_well("uninstall", namespace=world.pod)


def _ask(world: Pod, version: int, uid: int, source_port: int) -> int:
    """Send a query from a port and give the port it was answered at."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with world.pod, as_user(uid, uid):
        client = socket.socket(family, socket.SOCK_DGRAM)
    with client:
        client.settimeout(2)
        client.bind((POD_SIDE[version], source_port))
        client.sendto(b"?", (OUTSIDE[version], 53))
        answer, where = client.recvfrom(4096)
    assert where[:2] == (OUTSIDE[version], 53)
    return int(json.loads(answer)["port"])


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("path", RULE_PATHS, ids=str)
def test_what_belongs_to_no_connection_is_dropped(
    world: Pod, path: RulePath, version: int
) -> None:
    wire = Wire(world)
    kuma = ("install", "--sheet", "kuma", *path.flags)
    stray = syn_to(POD[version], APP)
    stray[TCP].flags, stray[TCP].ack = "SA", 77
    for more, is_answered in (((), True), (("--drop-invalid",), False)):
        done_well(*kuma, *more, namespace=world.pod)
        wire.send(stray)
        assert (wire.answer(stray, timeout_s=0.3) is not None) is is_answered
    assert converse(wire, syn_to(POD[version], APP))["port"] == PORTS["proxy IN"]
    wire.tap.close()
    done_well("uninstall", namespace=world.pod)


_DOCKER = """\
*nat
:DOCKER_OUTPUT - [0:0]
-A OUTPUT -d 127.0.0.11/32 -j DOCKER_OUTPUT
-A DOCKER_OUTPUT -d 127.0.0.11/32 -p udp --dport 53 -j DNAT --to-destination 127.0.0.11:4053
COMMIT
"""


@pytest.mark.parametrize("path", RULE_PATHS, ids=str)
def test_beside_dockers_own_server(pod: Pod, path: RulePath) -> None:
    """Its queries are captured: ours come first. The proxy's are answered in nftables alone.

    There Docker's chain is asked after ours, which in iptables returned for both.
    """
    variant = "legacy" if path.name.endswith("legacy") else "nft"
    pod.pod.run(f"iptables-{variant}-restore", "--noflush", stdin=_DOCKER)
    pod.pod.resolv_conf("nameserver 127.0.0.11\n")
    flags = ("--capture-dns", "resolv-conf", "--ip-families", "ipv4")
    done_well("install", "--sheet", "kuma", *path.flags, *flags, namespace=pod.pod)
    recorders = [
        Recorder(pod.pod, 4053, protocol="udp", on={4: "127.0.0.11", 6: "::1"}),
        Recorder(pod.pod, 15053, protocol="udp", on=LOCALHOST, uid=KUMA),
    ]
    asked = {
        uid: connect(pod.pod, "127.0.0.11", 53, uid=uid, protocol="udp") for uid in (1000, KUMA)
    }
    for recorder in recorders:
        recorder.close()
    assert asked[1000]["port"] == 15053
    by_proxy = {"port": 4053} if path is NFTABLES else {"error": "ConnectionRefusedError"}
    assert by_proxy.items() <= asked[KUMA].items()
