"""One table of connections, made for real through every backend: all must meet the same fate.

Each case is a configuration, who connects from where to what, and who must answer. The answer
comes from a recorder: in the pod on the proxy's ports it stands for the proxy, elsewhere for the
app or the world outside, and says what original destination the kernel remembers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.lab.paths import RULE_PATHS, RulePath, done_well
from tests.lab.pod import CLIENT, FAR, FAR_OTHER, OUTSIDE, POD, POD_SIDE, PROXY_UID, Pod, new_pod
from tests.lab.traffic import Recorder, connect, endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

INBOUND, OUTBOUND, DNS = 15006, 15001, 15053
APP = 8080
POD_PORTS = (22, 53, APP, 9090, 9091, 15008, 15020, 15021, 15090, INBOUND, OUTBOUND)
OUTSIDE_PORTS = (22, 53, 80, 443, 3306, 5432)


class Case(NamedTuple):
    """Who connects to what, and where that must end.

    That is ``proxy IN``, ``proxy OUT``, ``proxy DNS`` or ``direct``. ``transparent`` clients may
    have addresses that are not theirs.
    """

    what: str
    start: str
    to: dict[int, str]
    port: int
    expect: str
    uid: int = 1000
    gid: int = 1000
    mark: int = 0
    source: dict[int, str] | None = None
    protocol: str = "tcp"
    transparent: bool = False


LOCALHOST = {4: "127.0.0.1", 6: "::1"}
HANDOVER = {4: "127.0.0.6", 6: "::6"}

DEFAULT = [
    Case("inbound to the app", "client", POD, APP, "proxy IN"),
    Case("inbound to the pod's other address", "client", POD_SIDE, APP, "proxy IN"),
    Case("inbound from the other side", "outside", POD_SIDE, APP, "proxy IN"),
    Case("inbound ssh", "client", POD, 22, "direct"),
    Case("inbound tunnel", "client", POD, 15008, "direct"),
    Case("inbound metrics", "client", POD, 15020, "direct"),
    Case("inbound health", "client", POD, 15021, "direct"),
    Case("inbound telemetry", "client", POD, 15090, "direct"),
    Case("inbound to the outbound listener", "client", POD, OUTBOUND, "proxy IN"),
    Case("inbound udp", "client", POD, APP, "direct", protocol="udp"),
    Case("outbound by the app", "pod", FAR, 80, "proxy OUT"),
    Case("outbound to a neighbour", "pod", OUTSIDE, 80, "proxy OUT"),
    Case("outbound ssh", "pod", FAR, 22, "proxy OUT"),
    Case("outbound by root", "pod", FAR, 80, "proxy OUT", uid=0, gid=0),
    Case("outbound udp", "pod", OUTSIDE, 80, "direct", protocol="udp"),
    Case("outbound by the proxy's user", "pod", FAR, 80, "direct", uid=1337),
    Case("outbound by the proxy's group", "pod", FAR, 80, "direct", gid=1337),
    Case("outbound by both", "pod", FAR, 80, "direct", uid=1337, gid=1337),
    Case("app to localhost", "pod", LOCALHOST, APP, "direct"),
    Case("app to its own pod", "pod", POD, APP, "direct"),
    Case("proxy to localhost", "pod", LOCALHOST, APP, "direct", uid=1337),
    Case("proxy's user to its own pod", "pod", POD, APP, "proxy IN", uid=1337),
    Case("proxy's group to its own pod", "pod", POD, APP, "proxy IN", gid=1337),
    Case("proxy to its pod's ssh", "pod", POD, 22, "direct", uid=1337),
    Case("proxy to its pod's tunnel", "pod", POD, 15008, "direct", uid=1337),
    Case("handover to the app", "pod", POD, APP, "direct", uid=1337, source=HANDOVER),
    Case("handover by the group", "pod", POD, APP, "direct", gid=1337, source=HANDOVER),
]

NAMED_CLIENT = Case(
    "handover in the client's name",
    "pod",
    POD,
    APP,
    "direct",
    uid=1337,
    gid=1337,
    mark=1337,
    source=CLIENT,
    transparent=True,
)

CONFIGURATIONS: dict[str, tuple[tuple[str, ...], list[Case]]] = {
    "default": ((), DEFAULT),
    "lists of ids": (
        ("--proxy-uid", "3,4,2000-2002", "--proxy-gid", "5,6"),
        [
            Case(f"uid {uid}, gid {gid} {what}", "pod", to, port, expect, uid=uid, gid=gid)
            for uid, gid in (
                *((uid, 1000) for uid in (3, 4, 2000, 2001, 2002)),
                *((1000, gid) for gid in (5, 6)),
            )
            for what, to, port, expect in (
                ("outbound", FAR, 80, "direct"),
                ("to its own pod", POD, APP, "proxy IN"),
            )
        ]
        + [
            Case("the default uid is nobody now", "pod", FAR, 80, "proxy OUT", uid=1337),
            Case("the default gid is nobody now", "pod", FAR, 80, "proxy OUT", gid=1337),
            Case("beyond the range", "pod", FAR, 80, "proxy OUT", uid=2003),
        ],
    ),
    "by mark alone": (
        ("--proxy-uid", "", "--proxy-gid", "", "--exempt-mark", "0x539/0xfff,7"),
        [
            Case("marked", "pod", FAR, 80, "direct", mark=0x539),
            Case("marked, more bits", "pod", FAR, 80, "direct", mark=0x11539),
            Case("the other mark", "pod", FAR, 80, "direct", mark=7),
            Case("another mark", "pod", FAR, 80, "proxy OUT", mark=0x53A),
            Case("no mark", "pod", FAR, 80, "proxy OUT", uid=1337, gid=1337),
            Case("marked, to its own pod", "pod", POD, APP, "proxy IN", mark=0x539),
        ],
    ),
    "excluded ports": (
        (
            "--exclude-inbound-ports",
            "9090-9099,15020",
            "--exclude-outbound-ports",
            "3306,5400-5500",
        ),
        [
            Case("excluded inbound", "client", POD, 9090, "direct"),
            Case("excluded inbound, within", "client", POD, 9091, "direct"),
            Case("excluded inbound, doubly", "client", POD, 15020, "direct"),
            Case("not excluded inbound", "client", POD, APP, "proxy IN"),
            Case("excluded outbound", "pod", FAR, 3306, "direct"),
            Case("excluded outbound, within", "pod", FAR, 5432, "direct"),
            Case("not excluded outbound", "pod", FAR, 443, "proxy OUT"),
            Case("an excluded port for the proxy", "pod", POD, 9090, "direct", uid=1337),
        ],
    ),
    "excluded sources": (
        ("--exclude-inbound-cidrs", f"{CLIENT[4]},fd01::2/127"),
        [
            Case("excluded source", "client", POD, APP, "direct"),
            Case("excluded source, to the other address", "client", POD_SIDE, APP, "direct"),
            Case("another source", "outside", POD_SIDE, APP, "proxy IN"),
            Case("the proxy from another source", "pod", POD, APP, "proxy IN", uid=1337),
            Case("outbound", "pod", FAR, 80, "proxy OUT"),
        ],
    ),
    "the pod itself an excluded source": (
        ("--exclude-inbound-cidrs", f"{POD[4]},{POD[6]},127.0.0.1,::1"),
        [
            Case("the proxy calls that address", "pod", POD, APP, "direct", uid=1337),
            Case("and its other one", "pod", POD_SIDE, APP, "proxy IN", uid=1337),
            Case(
                *("the other one, from that", "pod", POD_SIDE, APP, "direct"),
                uid=1337,
                source=POD,
            ),
            Case(
                *("that, from the other one", "pod", POD, APP, "proxy IN"),
                uid=1337,
                source=POD_SIDE,
            ),
            Case("a loopback address", "pod", {4: "127.0.0.5"}, APP, "direct", uid=1337),
            Case(
                *("a loopback address, from another", "pod", {4: "127.0.0.5"}, APP, "proxy IN"),
                uid=1337,
                source={4: "127.0.0.7"},
            ),
            Case("inbound", "client", POD, APP, "proxy IN"),
        ],
    ),
    "tproxy, excluded sources": (
        ("--mode", "tproxy", "--exclude-inbound-cidrs", f"{CLIENT[4]},{CLIENT[6]}"),
        [
            Case("excluded source", "client", POD, APP, "direct"),
            Case("another source", "outside", POD_SIDE, APP, "proxy IN"),
        ],
    ),
    "included ports": (
        (
            *("--include-inbound-ports", "8000-9090", "--exclude-inbound-ports", "9090"),
            *("--include-outbound-ports", "443", "--include-outbound-cidrs", ""),
        ),
        [
            Case("included inbound", "client", POD, APP, "proxy IN"),
            Case("not included inbound", "client", POD, 9091, "direct"),
            Case("included and excluded", "client", POD, 9090, "direct"),
            Case("included outbound", "pod", FAR, 443, "proxy OUT"),
            Case("not included outbound", "pod", FAR, 80, "direct"),
            Case("included, on loopback", "pod", POD, APP, "direct"),
        ],
    ),
    "nothing inbound": (
        ("--include-inbound-ports", ""),
        [
            Case("inbound", "client", POD, APP, "direct"),
            Case("outbound", "pod", FAR, 80, "proxy OUT"),
            Case("proxy to its own pod", "pod", POD, APP, "direct", uid=1337),
        ],
    ),
    "excluded networks": (
        ("--exclude-outbound-cidrs", f"203.0.113.0/24,{FAR[6]}"),
        [
            Case("excluded destination", "pod", FAR, 80, "direct"),
            Case("another destination", "pod", FAR_OTHER, 80, "proxy OUT"),
        ],
    ),
    "included networks": (
        (
            *("--include-outbound-cidrs", "198.51.100.0/24,2001:db8:1::/64"),
            *("--include-outbound-ports", "5432", "--exclude-outbound-ports", "3306"),
        ),
        [
            Case("included destination", "pod", FAR_OTHER, 80, "proxy OUT"),
            Case("another destination", "pod", FAR, 80, "direct"),
            Case("another destination, included port", "pod", FAR, 5432, "proxy OUT"),
            Case("included destination, excluded port", "pod", FAR_OTHER, 3306, "direct"),
        ],
    ),
    "excluded users": (
        ("--exclude-outbound-uids", "0,500-600"),
        [
            Case("root", "pod", FAR, 80, "direct", uid=0, gid=0),
            Case("within the range", "pod", FAR, 80, "direct", uid=550),
            Case("beyond it", "pod", FAR, 80, "proxy OUT", uid=601),
            Case("an excluded user to its own pod", "pod", POD, APP, "direct", uid=550),
        ],
    ),
    "excluded interfaces": (
        ("--exclude-interfaces", "eth1,dummy+"),
        [
            Case("in by eth1", "outside", POD_SIDE, APP, "direct"),
            Case("in by eth0", "client", POD, APP, "proxy IN"),
            Case("out by eth1", "pod", FAR, 80, "direct"),
            Case("out by eth0", "pod", CLIENT, 80, "proxy OUT"),
        ],
    ),
    "excluded interfaces by beginning": (
        ("--exclude-interfaces", "eth+"),
        [
            Case("in by eth1", "outside", POD_SIDE, APP, "direct"),
            Case("in by eth0", "client", POD, APP, "direct"),
            Case("out", "pod", FAR, 80, "direct"),
            Case("proxy to its own pod", "pod", POD, APP, "proxy IN", uid=1337),
        ],
    ),
    "loopback included": (
        (
            *("--include-outbound-cidrs", "127.0.0.0/8,::1/128,203.0.113.0/24"),
            *("--loopback-cidr", "127.0.0.1/32"),
        ),
        [
            Case("another loopback address", "pod", {4: "127.1.2.3"}, APP, "proxy OUT"),
            Case("localhost", "pod", LOCALHOST, APP, "direct"),
            Case("the app's own pod", "pod", POD, APP, "direct"),
            Case("included outside", "pod", {4: FAR[4]}, 80, "proxy OUT"),
        ],
    ),
    "wider localhost": (
        ("--loopback-cidr", "127.0.0.0/8"),
        [
            Case(
                "proxy to another loopback address",
                "pod",
                {4: "127.0.0.9"},
                APP,
                "direct",
                uid=1337,
            ),
            Case("proxy to its own pod", "pod", POD, APP, "proxy IN", uid=1337),
        ],
    ),
    "other ports": (
        ("--inbound-port", "25006", "--outbound-port", "25001", "--tunnel-port", "9090"),
        [
            Case("the new tunnel", "client", POD, 9090, "direct"),
            Case("the old tunnel", "client", POD, 15008, "proxy IN"),
            Case("inbound", "client", POD, APP, "proxy IN"),
            Case("outbound", "pod", FAR, 80, "proxy OUT"),
        ],
    ),
    "tproxy": (
        ("--mode", "tproxy"),
        [*DEFAULT, NAMED_CLIENT, Case("ssh by the proxy", "pod", FAR, 22, "direct", uid=1337)],
    ),
    "tproxy, other mark and table, ports": (
        (
            *("--mode", "tproxy", "--tproxy-mark", "0x77", "--tproxy-route-table", "99"),
            *("--include-inbound-ports", f"{APP},9090", "--exclude-inbound-ports", "9090"),
            *("--exclude-interfaces", "eth1"),
        ),
        [
            NAMED_CLIENT._replace(mark=0x77),
            Case("included", "client", POD, APP, "proxy IN"),
            Case("included and excluded", "client", POD, 9090, "direct"),
            Case("not included", "client", POD, 9091, "direct"),
            Case("excluded interface", "outside", POD_SIDE, APP, "direct"),
            Case("outbound by an excluded interface", "pod", FAR, 80, "direct"),
        ],
    ),
    "nothing inbound by mode": (
        ("--mode", "none"),
        [
            Case("inbound", "client", POD, APP, "direct"),
            Case("outbound", "pod", FAR, 80, "proxy OUT"),
            Case("proxy to its own pod", "pod", POD, APP, "direct", uid=1337),
        ],
    ),
    "all DNS": (
        ("--capture-dns", "all"),
        [
            *DEFAULT,
            Case("query", "pod", OUTSIDE, 53, "proxy DNS", protocol="udp"),
            Case("query far away", "pod", FAR, 53, "proxy DNS", protocol="udp"),
            Case("query by tcp", "pod", FAR, 53, "proxy DNS"),
            Case("query of a resolver in the pod", "pod", POD, 53, "proxy DNS", protocol="udp"),
            Case("query by root", "pod", OUTSIDE, 53, "proxy DNS", protocol="udp", uid=0, gid=0),
            Case("the proxy's user", "pod", OUTSIDE, 53, "direct", protocol="udp", uid=1337),
            Case("the proxy's group", "pod", OUTSIDE, 53, "direct", protocol="udp", gid=1337),
            Case("the proxy by tcp", "pod", FAR, 53, "direct", uid=1337),
            Case("other udp", "pod", OUTSIDE, 80, "direct", protocol="udp"),
        ],
    ),
    "DNS of resolv.conf, with exceptions": (
        (
            *("--capture-dns", "resolv-conf", "--exclude-outbound-uids", "500"),
            *("--exclude-outbound-owner-groups", "600", "--exempt-mark", "0x99"),
        ),
        [
            Case("query", "pod", OUTSIDE, 53, "proxy DNS", protocol="udp"),
            Case("query by tcp", "pod", OUTSIDE, 53, "proxy DNS"),
            Case("query of another resolver", "pod", CLIENT, 53, "direct", protocol="udp"),
            Case("the same by tcp", "pod", FAR, 53, "proxy OUT"),
            Case("an excluded user", "pod", OUTSIDE, 53, "direct", protocol="udp", uid=500),
            Case("an excluded group", "pod", OUTSIDE, 53, "direct", protocol="udp", gid=600),
            Case("the exempt mark", "pod", OUTSIDE, 53, "direct", protocol="udp", mark=0x99),
            Case("the proxy's user", "pod", OUTSIDE, 53, "direct", protocol="udp", uid=1337),
        ],
    ),
    "DNS by an excluded interface": (
        ("--capture-dns", "all", "--exclude-interfaces", "eth1"),
        [
            Case("query", "pod", OUTSIDE, 53, "direct", protocol="udp"),
            Case("query by tcp", "pod", OUTSIDE, 53, "direct"),
        ],
    ),
    "included groups": (
        (
            *("--include-outbound-owner-groups", "2000,2002-2003", "--capture-dns", "all"),
            *("--exclude-outbound-owner-groups", "2003"),
        ),
        [
            Case("an included group", "pod", FAR, 80, "proxy OUT", gid=2000),
            Case("another included group", "pod", FAR, 80, "proxy OUT", gid=2002),
            Case("included and excluded", "pod", FAR, 80, "direct", gid=2003),
            Case("not included", "pod", FAR, 80, "direct", gid=2001),
            Case("the proxy", "pod", FAR, 80, "direct", gid=1337),
            Case("its query", "pod", OUTSIDE, 53, "proxy DNS", gid=2000, protocol="udp"),
            Case("query, not included", "pod", OUTSIDE, 53, "direct", protocol="udp"),
            Case("inbound", "client", POD, APP, "proxy IN"),
        ],
    ),
    "excluded groups": (
        ("--exclude-outbound-owner-groups", "2000,2002-2003"),
        [
            Case("an excluded group", "pod", FAR, 80, "direct", gid=2003),
            Case("not excluded", "pod", FAR, 80, "proxy OUT", gid=2001),
            Case("an excluded group to its own pod", "pod", POD, APP, "direct", gid=2000),
        ],
    ),
    "virtual interfaces": (
        ("--virtual-interfaces", "eth0", "--exclude-outbound-cidrs", f"{FAR[4]},{FAR[6]}"),
        [
            Case("from within, outwards", "client", FAR_OTHER, 80, "proxy OUT"),
            Case("from within, excluded", "client", FAR, 80, "direct"),
            Case("from within, to the pod", "client", POD, APP, "proxy OUT"),
            Case("from outside", "outside", POD_SIDE, APP, "proxy IN"),
            Case("outbound by the app", "pod", FAR_OTHER, 80, "proxy OUT"),
        ],
    ),
    "virtual interfaces, tproxy": (
        (
            *("--virtual-interfaces", "eth0", "--mode", "tproxy"),
            *("--include-outbound-cidrs", "198.51.100.0/24,2001:db8:1::/64"),
        ),
        [
            Case("from within, outwards", "client", FAR_OTHER, 80, "proxy OUT"),
            Case("from within, elsewhere", "client", FAR, 80, "direct"),
            Case("from within, to the pod", "client", POD, APP, "direct"),
            Case("from outside", "outside", POD_SIDE, APP, "proxy IN"),
        ],
    ),
    "IPv4 only": (
        ("--ip-families", "ipv4"),
        [
            Case("inbound", "client", {4: POD[4]}, APP, "proxy IN"),
            Case("outbound", "pod", {4: FAR[4]}, 80, "proxy OUT"),
            Case("inbound IPv6", "client", {6: POD[6]}, APP, "direct"),
            Case("outbound IPv6", "pod", {6: FAR[6]}, 80, "direct"),
            Case("proxy to its own pod, IPv6", "pod", {6: POD[6]}, APP, "direct", uid=1337),
        ],
    ),
    "IPv6 only": (
        ("--ip-families", "ipv6"),
        [
            Case("inbound", "client", {6: POD[6]}, APP, "proxy IN"),
            Case("outbound", "pod", {6: FAR[6]}, 80, "proxy OUT"),
            Case("inbound IPv4", "client", {4: POD[4]}, APP, "direct"),
            Case("outbound IPv4", "pod", {4: FAR[4]}, 80, "direct"),
        ],
    ),
}

PARAMETERS = [
    pytest.param(path, name, id=f"{path}-{name.replace(' ', '-')}")
    for path in RULE_PATHS
    for name in CONFIGURATIONS
]


class World(NamedTuple):
    """A pod with recorders everywhere."""

    pod: Pod
    inbound_port: int
    outbound_port: int


@pytest.fixture(scope="module")
def world() -> Iterator[Pod]:
    """One pod for all cases: each case installs, and what it installs replaces the last."""
    with new_pod() as made:
        made.pod.resolv_conf(f"nameserver {OUTSIDE[4]}\nnameserver {OUTSIDE[6]}\n")
        made.pod.forward()
        recorders = [
            Recorder(made.pod, *POD_PORTS, 25001, 25006),
            Recorder(made.pod, APP, 53, protocol="udp"),
            # Where istio-agent's and others' are: an answer must come from where it was asked.
            Recorder(made.pod, DNS, protocol="udp", on=LOCALHOST, uid=PROXY_UID),
            Recorder(made.pod, DNS),
            Recorder(made.outside, *OUTSIDE_PORTS),
            Recorder(made.outside, 80, 53, protocol="udp"),
            Recorder(made.client, 80),
            Recorder(made.client, 53, protocol="udp"),
        ]
        yield made
        for recorder in recorders:
            recorder.close()


@pytest.mark.parametrize(("path", "name"), PARAMETERS)
def test_every_connection_meets_its_fate(world: Pod, path: RulePath, name: str) -> None:
    flags, cases = CONFIGURATIONS[name]
    done_well("install", *path.flags, *flags, namespace=world.pod)
    changed = name == "other ports"
    ports = {
        "proxy IN": 25006 if changed else INBOUND,
        "proxy OUT": 25001 if changed else OUTBOUND,
        "proxy DNS": DNS,
    }
    wrong = [
        f"{case.what} (IPv{version}): {found}, not {case.expect}"
        for case in cases
        for version in case.to
        if (found := _fate(world, case, version, ports)) != case.expect
    ]
    done_well("uninstall", namespace=world.pod)
    assert not wrong, "\n".join(wrong)


def _fate(world: Pod, case: Case, version: int, ports: dict[str, int]) -> str:
    """Make the connection and say where it ended, with its original destination intact."""
    to = case.to[version]
    answer = connect(
        getattr(world, case.start),
        to,
        case.port,
        uid=case.uid,
        gid=case.gid,
        mark=case.mark,
        source=case.source[version] if case.source else "",
        protocol=case.protocol,
        transparent=case.transparent,
    )
    if "error" in answer:
        return str(answer["error"])
    if answer["port"] == case.port and case.expect == "direct":
        return "direct"
    names = {port: name for name, port in ports.items()}
    fate = (
        names.get(answer["port"], f"port {answer['port']}") if answer["who"] == "pod" else "direct"
    )
    is_tcp = case.protocol == "tcp"
    if is_tcp and fate != "direct" and answer["original"] != endpoint(to, case.port):
        return f"{fate} with the original destination {answer['original']}"
    return fate
