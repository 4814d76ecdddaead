"""Connections that define the dialects of old meshes, made for real through every rule path.

As in ``test_fates``; what each mesh gets wrong is here as it gets it wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.contract.test_fates import APP, HANDOVER, LOCALHOST, Case, _fate
from tests.lab.paths import RULE_PATHS, RulePath, done_well
from tests.lab.pod import CLIENT, FAR, FAR_OTHER, OUTSIDE, POD, POD_SIDE, Pod, new_pod
from tests.lab.traffic import Recorder

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

_OSM_PORTS = {"proxy IN": 15003, "proxy OUT": 15001}
_1_5_PORTS = {"proxy IN": 15006, "proxy OUT": 15001}
_0_1_PORTS = {"proxy": 15001}
_POD_PORTS = (22, APP, 9090, 15000, 15001, 15003, 15006, 15008, 15010, 15020, 15021, 15901, 15904)
_AT_ITS_ADDRESS = 8181
"""A port on which the app listens on the pod's own addresses, and not on localhost."""
_OUTSIDE_PORTS = (22, 80, 443, 3306, 5432, 15000)
_OF_IP = 4


class World(NamedTuple):
    """A sheet with settings, which ports are the proxy's, and what becomes of connections."""

    sheet: str
    flags: tuple[str, ...]
    ports: dict[str, int]
    cases: list[Case]


def _only(version: int, addresses: dict[int, str]) -> dict[int, str]:
    return {version: addresses[version]}


_OSM = [
    Case("inbound to the app", "client", POD, APP, "proxy IN"),
    Case("inbound to the pod's other address", "client", POD_SIDE, APP, "proxy IN"),
    Case("inbound from the other side", "outside", POD_SIDE, APP, "proxy IN"),
    Case("inbound ssh", "client", POD, 22, "proxy IN"),
    Case("inbound to the admin port", "client", POD, 15000, "proxy IN"),
    Case("inbound to the outbound listener", "client", POD, 15001, "proxy IN"),
    Case("inbound metrics", "client", POD, 15010, "direct"),
    Case("inbound liveness", "client", POD, 15901, "direct"),
    Case("inbound TCP probe", "client", POD, 15904, "direct"),
    Case("inbound udp", "client", POD, APP, "direct", protocol="udp"),
    Case("outbound by the app", "pod", FAR, 80, "proxy OUT"),
    Case("outbound to a neighbour", "pod", OUTSIDE, 80, "proxy OUT"),
    Case("outbound by root", "pod", FAR, 80, "proxy OUT", uid=0, gid=0),
    Case("outbound to somebody's port 15000", "pod", FAR, 15000, "proxy OUT"),
    Case("outbound udp, as DNS", "pod", OUTSIDE, 53, "direct", protocol="udp"),
    Case("outbound by the proxy", "pod", FAR, 80, "direct", uid=1500),
    Case("outbound by a group of that number", "pod", FAR, 80, "proxy OUT", gid=1500),
    Case("outbound by Istio's user", "pod", FAR, 80, "proxy OUT", uid=1337),
    Case("app to localhost", "pod", LOCALHOST, APP, "direct"),
    Case("app to its own pod", "pod", POD, APP, "direct"),
    Case("proxy to localhost", "pod", LOCALHOST, APP, "direct", uid=1500),
    Case("proxy to its own pod", "pod", POD, APP, "proxy IN", uid=1500),
    # Faults: what is direct from outside is not if the proxy calls, and there is no hand-over.
    Case("proxy to its own metrics", "pod", POD, 15010, "proxy IN", uid=1500),
    Case(
        *("handover to the app", "pod", _only(4, POD), APP, "proxy IN"),
        uid=1500,
        source=_only(4, HANDOVER),
    ),
]
_1_5 = [
    Case("inbound to the app", "client", POD, APP, "proxy IN"),
    Case("inbound from the other side", "outside", POD_SIDE, APP, "proxy IN"),
    Case("inbound ssh", "client", POD, 22, "direct"),
    Case("inbound metrics", "client", POD, 15020, "direct"),
    Case("inbound to what is health today", "client", POD, 15021, "proxy IN"),
    Case("inbound to what is the tunnel today", "client", POD, 15008, "proxy IN"),
    Case("inbound udp", "client", POD, APP, "direct", protocol="udp"),
    Case("outbound by the app", "pod", FAR, 80, "proxy OUT"),
    Case("outbound to a neighbour", "pod", OUTSIDE, 80, "proxy OUT"),
    Case("outbound by root", "pod", FAR, 80, "proxy OUT", uid=0, gid=0),
    Case("outbound udp, as DNS", "pod", OUTSIDE, 53, "direct", protocol="udp"),
    Case("outbound by the proxy's user", "pod", FAR, 80, "direct", uid=1337),
    Case("outbound by the proxy's group", "pod", FAR, 80, "direct", gid=1337),
    Case("app to localhost", "pod", LOCALHOST, APP, "direct"),
    Case("proxy to localhost", "pod", LOCALHOST, APP, "direct", uid=1337),
    Case("proxy's user to its own pod", "pod", POD, APP, "proxy IN", uid=1337),
    Case("proxy's group to its own pod", "pod", POD, APP, "proxy IN", gid=1337),
    Case("handover to the app", "pod", POD, APP, "direct", uid=1337, source=HANDOVER),
    # Faults: nobody asks who calls the pod by lo, nor what is left alone from outside.
    Case("app to its own pod", "pod", POD, APP, "proxy IN"),
    Case("app to its pod's ssh", "pod", POD, 22, "proxy IN"),
    Case("proxy to its pod's metrics", "pod", POD, 15020, "proxy IN", uid=1337),
]
_0_1 = [
    Case("inbound to the app", "client", POD, APP, "proxy"),
    Case("inbound to the pod's other address", "client", POD_SIDE, APP, "proxy"),
    Case("inbound ssh", "client", POD, 22, "proxy"),
    Case("inbound to the listener", "client", POD, 15001, "proxy"),
    Case("inbound udp", "client", POD, APP, "direct", protocol="udp"),
    Case("outbound by the app", "pod", FAR, 80, "proxy"),
    Case("outbound by root", "pod", FAR, 80, "proxy", uid=0, gid=0),
    Case("outbound udp, as DNS", "pod", OUTSIDE, 53, "direct", protocol="udp"),
    Case("outbound by the proxy", "pod", FAR, 80, "direct", uid=1337),
    Case("outbound by a group of that number", "pod", FAR, 80, "proxy", gid=1337),
    Case("app to localhost", "pod", LOCALHOST, APP, "direct"),
    Case("proxy to localhost", "pod", LOCALHOST, APP, "direct", uid=1337),
    Case("app to its own pod", "pod", POD, APP, "proxy"),
    Case("proxy to its own pod", "pod", POD, APP, "proxy", uid=1337),
    Case(
        *("handover to the app", "pod", _only(4, POD), APP, "proxy"),
        uid=1337,
        source=_only(4, HANDOVER),
    ),
]
_IP4_ALONE = [
    Case("inbound IPv6", "client", _only(6, POD), APP, "direct"),
    Case("outbound IPv6", "pod", _only(6, FAR), 80, "direct"),
]
_DUAL = ("--ip-families", "dual")

WORLDS = {
    "osm": World("osm", _DUAL, _OSM_PORTS, _OSM),
    "osm of itself": World("osm", (), _OSM_PORTS, [*_IP4_ALONE, _OSM[0]._replace(to={4: POD[4]})]),
    "osm, ports and destinations excluded": World(
        "osm",
        (
            *_DUAL,
            *("--exclude-inbound-ports", f"22,{APP}", "--exclude-outbound-ports", "3306,5432"),
            *("--exclude-outbound-cidrs", f"{FAR_OTHER[4]},{FAR_OTHER[6]}"),
        ),
        _OSM_PORTS,
        [
            Case("excluded inbound", "client", POD, APP, "direct"),
            Case("not excluded inbound", "client", POD, 9090, "proxy IN"),
            Case("excluded outbound", "pod", FAR, 5432, "direct"),
            Case("not excluded outbound", "pod", FAR, 443, "proxy OUT"),
            Case("excluded destination", "pod", FAR_OTHER, 80, "direct"),
            Case("proxy to its own pod, excluded", "pod", POD, APP, "proxy IN", uid=1500),
        ],
    ),
    "osm, an interface excluded": World(
        "osm",
        (*_DUAL, "--exclude-interfaces", "net9,eth1"),
        _OSM_PORTS,
        [
            Case("in by it", "outside", POD_SIDE, APP, "direct"),
            Case("out by it", "pod", FAR, 80, "direct"),
            Case("in by another", "client", POD, APP, "proxy IN"),
            Case("out by another", "pod", CLIENT, 80, "proxy OUT"),
        ],
    ),
    "osm, destinations included": World(
        "osm",
        (*_DUAL, "--include-outbound-cidrs", "203.0.113.0/24,2001:db8::/64"),
        _OSM_PORTS,
        [
            Case("included", "pod", FAR, 80, "proxy OUT"),
            Case("not included", "pod", FAR_OTHER, 80, "direct"),
            Case("inbound all the same", "client", POD, APP, "proxy IN"),
        ],
    ),
    "osm, at the pod's address": World(
        "osm",
        (*_DUAL, "--option", f"pod_address={POD[4]},{POD[6]}"),
        _OSM_PORTS,
        [
            Case("proxy to localhost", "pod", LOCALHOST, _AT_ITS_ADDRESS, "direct", uid=1500),
            Case("app to localhost", "pod", LOCALHOST, _AT_ITS_ADDRESS, "ConnectionRefusedError"),
            *(case for case in _OSM if case.what != "proxy to localhost"),
        ],
    ),
    "osm, where the proxy reaches localhost": World(
        "osm",
        _DUAL,
        _OSM_PORTS,
        [
            Case(
                *("proxy to localhost", "pod", LOCALHOST, _AT_ITS_ADDRESS),
                *("ConnectionRefusedError", 1500),
            ),
        ],
    ),
    "istio-1.5": World("istio-1.5", (), _1_5_PORTS, _1_5),
    "istio-1.5, excluded": World(
        "istio-1.5",
        (
            *("--exclude-inbound-ports", "15020,9090", "--exclude-outbound-ports", "3306,5432"),
            *("--exclude-outbound-cidrs", f"{FAR_OTHER[4]},{FAR_OTHER[6]},{POD[4]},{POD[6]}"),
            *("--proxy-uid", "1337,0"),
        ),
        _1_5_PORTS,
        [
            Case("excluded inbound", "client", POD, 9090, "direct"),
            Case("excluded outbound", "pod", FAR, 5432, "direct"),
            Case("not excluded outbound", "pod", FAR, 443, "proxy OUT"),
            Case("excluded destination", "pod", FAR_OTHER, 80, "direct"),
            Case("another user of the proxy", "pod", FAR, 80, "direct", uid=0),
            Case("app to its own pod, excluded", "pod", POD, APP, "proxy IN"),
            Case("proxy to its pod, port excluded", "pod", POD, 5432, "ConnectionRefusedError"),
        ],
    ),
    "istio-1.5, included": World(
        "istio-1.5",
        (
            *("--include-inbound-ports", f"22,{APP}", "--exclude-inbound-ports", f"{APP}"),
            *("--include-outbound-cidrs", "203.0.113.0/24,2001:db8::/64"),
        ),
        _1_5_PORTS,
        [
            Case("included inbound, SSH too", "client", POD, 22, "proxy IN"),
            Case("included and excluded", "client", POD, APP, "proxy IN"),
            Case("not included inbound", "client", POD, 9090, "direct"),
            Case("included outbound", "pod", FAR, 80, "proxy OUT"),
            Case("not included outbound", "pod", FAR_OTHER, 80, "direct"),
        ],
    ),
    "istio-1.5, nothing": World(
        "istio-1.5",
        ("--include-inbound-ports", "", "--include-outbound-cidrs", ""),
        _1_5_PORTS,
        [
            Case("inbound", "client", POD, APP, "direct"),
            Case("outbound", "pod", FAR, 80, "direct"),
            Case("proxy to its own pod", "pod", POD, APP, "proxy IN", uid=1337),
        ],
    ),
    "istio-1.5, from within": World(
        "istio-1.5",
        ("--virtual-interfaces", "eth0", "--exclude-outbound-ports", "443"),
        _1_5_PORTS,
        [
            Case("outwards", "client", FAR_OTHER, 80, "proxy OUT"),
            Case("outwards, excluded all the same", "client", FAR, 443, "proxy OUT"),
            Case("to the pod", "client", POD, APP, "proxy OUT"),
            Case("from outside", "outside", POD_SIDE, APP, "proxy IN"),
        ],
    ),
    "istio-1.5, from within to some": World(
        "istio-1.5",
        (
            *("--virtual-interfaces", "eth0"),
            *("--include-outbound-cidrs", "203.0.113.0/24,2001:db8::/64"),
        ),
        _1_5_PORTS,
        [
            Case("outwards", "client", FAR, 80, "proxy OUT"),
            Case("elsewhere", "client", FAR_OTHER, 80, "direct"),
            Case("to the pod", "client", POD, APP, "direct"),
        ],
    ),
    "istio-1.5, lo left alone": World(
        "istio-1.5",
        ("--option", "disable_redirection_on_local_loopback=true"),
        _1_5_PORTS,
        [
            Case("app to its own pod", "pod", POD, APP, "proxy OUT"),
            Case("proxy to its own pod", "pod", POD, APP, "direct", uid=1337),
        ],
    ),
    "istio-0.1": World("istio-0.1", _DUAL, _0_1_PORTS, _0_1),
    "istio-0.1 of itself": World(
        "istio-0.1", (), _0_1_PORTS, [*_IP4_ALONE, _0_1[0]._replace(to={4: POD[4]})]
    ),
    "istio-0.1, included": World(
        "istio-0.1",
        (*_DUAL, "--include-outbound-cidrs", "203.0.113.0/24,2001:db8::/64"),
        _0_1_PORTS,
        [
            Case("included", "pod", FAR, 80, "proxy"),
            Case("not included", "pod", FAR_OTHER, 80, "direct"),
            Case("inbound all the same", "client", POD, APP, "proxy"),
        ],
    ),
    "istio-0.1, another port": World(
        "istio-0.1",
        (*_DUAL, "--inbound-port", "15006", "--outbound-port", "15006", "--proxy-uid", "5,6"),
        {"proxy": 15006},
        [
            Case("inbound", "client", POD, APP, "proxy"),
            Case("outbound", "pod", FAR, 80, "proxy"),
            Case("one user", "pod", FAR, 80, "direct", uid=5),
            Case("the other user", "pod", FAR, 80, "direct", uid=6),
        ],
    ),
}


@pytest.fixture(scope="module")
def pod() -> Iterator[Pod]:
    """One pod for all cases, with recorders everywhere: what is installed replaces the last."""
    with new_pod() as made:
        made.pod.forward()
        recorders = [
            Recorder(made.pod, *_POD_PORTS),
            Recorder(made.pod, _AT_ITS_ADDRESS, on=POD),
            Recorder(made.pod, APP, protocol="udp"),
            Recorder(made.outside, *_OUTSIDE_PORTS),
            Recorder(made.outside, 53, protocol="udp"),
            Recorder(made.client, 80),
        ]
        yield made
        for recorder in recorders:
            recorder.close()


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("path", RULE_PATHS, ids=str)
def test_every_connection_meets_its_fate(pod: Pod, path: RulePath, name: str) -> None:
    world = WORLDS[name]
    done_well("install", "--sheet", world.sheet, *path.flags, *world.flags, namespace=pod.pod)
    wrong = [
        f"{case.what} (IPv{version}): {found}, not {case.expect}"
        for case in world.cases
        for version in case.to
        if (found := _fate(pod, case, version, world.ports)) != case.expect
    ]
    done_well("uninstall", namespace=pod.pod)
    assert not wrong, "\n".join(wrong)
