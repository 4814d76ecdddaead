"""The connections that make Linkerd's dialect, for real on every rule path."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab.ends import LOCALHOST, Sent, wrong_ends
from tests.lab.envoy import Proxy, running_envoy
from tests.lab.http import fetch, web_server
from tests.lab.paths import RULE_PATHS, RulePath, done_well
from tests.lab.pod import CLIENT, FAR, FAR_OTHER, OUTSIDE, POD, POD_SIDE, Pod, new_pod
from tests.lab.traffic import Recorder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.root

APP, PROXY = 8080, 2102
IN, OUT = "pod 4143", "pod 4140"
_RESERVED = (4190, 4191, 4567, 4568)

DEFAULT = [
    Sent("inbound to the app", "client", POD, APP, IN),
    Sent("inbound to the pod's other address", "client", POD_SIDE, APP, IN),
    Sent("inbound from the other side", "outside", POD_SIDE, APP, IN),
    Sent("inbound ssh", "client", POD, 22, IN),
    Sent("inbound to the outbound listener", "client", POD, 4140, IN),
    *(Sent(f"inbound to {port}", "client", POD, port, "direct") for port in _RESERVED),
    Sent("inbound datagram", "client", POD, APP, "direct", protocol="udp"),
    Sent("outbound by the app", "pod", FAR, 80, OUT),
    Sent("outbound to a neighbour", "pod", OUTSIDE, 80, OUT),
    Sent("outbound by root", "pod", FAR, 80, OUT, uid=0, gid=0),
    Sent("outbound to Galera", "pod", FAR, 4567, "direct"),
    Sent("outbound to Galera's other port", "pod", FAR, 4568, "direct"),
    Sent("outbound to a port reserved inbound", "pod", FAR, 4191, OUT),
    Sent("outbound by the proxy", "pod", FAR, 80, "direct", uid=PROXY, gid=PROXY),
    Sent("a group that nobody named", "pod", FAR, 80, OUT, gid=PROXY),
    Sent("query", "pod", OUTSIDE, 53, "direct", protocol="udp"),
    Sent("query over tcp", "pod", OUTSIDE, 53, OUT),
    Sent("app to localhost", "pod", LOCALHOST, APP, "direct"),
    Sent("app to another loopback address", "pod", {4: "127.0.0.9"}, APP, "direct"),
    Sent("app to its own pod", "pod", POD, APP, "direct"),
    Sent("the proxy to its own pod", "pod", POD, APP, "direct", uid=PROXY),
    Sent("the proxy to its own pod's ssh", "pod", POD, 22, "direct", uid=PROXY),
    Sent("handover", "pod", POD, APP, "direct", uid=PROXY, source=LOCALHOST),
]
CONFIGURATIONS: dict[str, tuple[tuple[str, ...], list[Sent]]] = {
    "default": ((), DEFAULT),
    "with its group": (
        ("--proxy-gid", "2102"),
        [
            Sent("outbound by its group", "pod", FAR, 80, "direct", gid=PROXY),
            Sent("outbound by its user", "pod", FAR, 80, "direct", uid=PROXY),
            Sent("outbound by the app", "pod", FAR, 80, OUT),
        ],
    ),
    "another proxy": (
        ("--proxy-uid", "77", "--inbound-port", "25143", "--outbound-port", "25140"),
        [
            Sent("inbound", "client", POD, APP, "pod 25143"),
            Sent("outbound", "pod", FAR, 80, "pod 25140"),
            Sent("outbound by it", "pod", FAR, 80, "direct", uid=77),
            Sent("the default user is nobody now", "pod", FAR, 80, "pod 25140", uid=PROXY),
        ],
    ),
    "ports to redirect": (
        ("--include-inbound-ports", f"{APP},4191"),
        [
            Sent("one of them", "client", POD, APP, IN),
            Sent("another port", "client", POD, 9090, "direct"),
            Sent("one that is also ignored", "client", POD, 4191, "direct"),
            Sent("outbound", "pod", FAR, 80, OUT),
        ],
    ),
    "ports to ignore": (
        (
            *("--exclude-inbound-ports", "22,9090-9091"),
            *("--exclude-outbound-ports", "3306,440-443"),
        ),
        [
            Sent("ignored inbound", "client", POD, 22, "direct"),
            Sent("within an ignored range", "client", POD, 9091, "direct"),
            Sent("not ignored inbound", "client", POD, APP, IN),
            Sent("the proxy's own, not named any more", "client", POD, 4191, IN),
            Sent("ignored outbound", "pod", FAR, 3306, "direct"),
            Sent("within an ignored range, outbound", "pod", FAR, 443, "direct"),
            Sent("not ignored outbound", "pod", FAR, 80, OUT),
            Sent("Galera, not named any more", "pod", FAR, 4567, OUT),
        ],
    ),
    "subnets to ignore, of one family": (
        ("--exclude-inbound-cidrs", "10.1.0.0/24"),
        [
            Sent("from one", "client", {4: POD[4]}, APP, "direct"),
            Sent("of the other family", "client", {6: POD[6]}, APP, IN),
            Sent("from another", "outside", POD_SIDE, APP, IN),
            Sent("to one", "pod", CLIENT, 80, OUT),
        ],
    ),
    "subnets to ignore, of the other family": (
        ("--exclude-inbound-cidrs", "fd01::/64"),
        [
            Sent("from one", "client", {6: POD[6]}, APP, "direct"),
            Sent("of the other family", "client", {4: POD[4]}, APP, IN),
        ],
    ),
    "subnets to ignore": (
        ("--exclude-inbound-cidrs", f"10.1.0.0/24,fd01::/64,{FAR[4]}"),
        [
            Sent("from one", "client", POD, APP, "direct"),
            Sent("from another", "outside", POD_SIDE, APP, IN),
            Sent("to one", "pod", FAR, 80, OUT),
        ],
    ),
    "IPv4 alone": (
        ("--ip-families", "ipv4"),
        [
            Sent("inbound", "client", {4: POD[4]}, APP, IN),
            Sent("inbound IPv6", "client", {6: POD[6]}, APP, "direct"),
            Sent("outbound", "pod", {4: FAR_OTHER[4]}, 80, OUT),
            Sent("outbound IPv6", "pod", {6: FAR_OTHER[6]}, 80, "direct"),
        ],
    ),
}


@pytest.fixture(scope="module")
def world() -> Iterator[Pod]:
    """One pod for all tables: each installs, and what it installs replaces the last."""
    with new_pod() as made:
        recorders = [
            Recorder(made.pod, 22, 53, APP, 9090, 9091, 4140, 4143, *_RESERVED, 25140, 25143),
            Recorder(made.pod, APP, protocol="udp"),
            Recorder(made.outside, 53, 80, 443, 3306, 4191, 4567, 4568),
            Recorder(made.outside, 53, protocol="udp"),
            Recorder(made.client, 80),
        ]
        yield made
        for recorder in recorders:
            recorder.close()


@pytest.mark.parametrize("name", CONFIGURATIONS)
@pytest.mark.parametrize("path", RULE_PATHS, ids=str)
def test_every_connection_ends_where_linkerd_has_it(world: Pod, path: RulePath, name: str) -> None:
    flags, table = CONFIGURATIONS[name]
    done_well("install", "--sheet", "linkerd", *path.flags, *flags, namespace=world.pod)
    wrong = [*wrong_ends(world, table)]
    done_well("uninstall", namespace=world.pod)
    assert not wrong, "\n".join(wrong)


def test_a_proxy_that_asks_where_connections_were_going(
    pod: Pod, rule_path: RulePath, tmp_path: Path
) -> None:
    """Envoy, in the place of Linkerd's own proxy, which asks the same way."""
    proxy = Proxy(4143, 4140, PROXY, PROXY, hands_over=False)
    with (
        web_server(pod.pod, APP, 4191),
        web_server(pod.outside, 80),
        running_envoy(pod.pod, tmp_path, proxy) as envoy,
    ):
        done_well("install", "--sheet", "linkerd", *rule_path.flags, namespace=pod.pod)
        for version in (4, 6):
            seen = len(envoy.log(0))
            body = fetch(pod.client, POD[version], APP)
            assert body == f"hello from pod, you are {POD[version]}"
            body = fetch(pod.pod, FAR[version], 80)
            assert body == f"hello from outside, you are {POD_SIDE[version]}"
            body = fetch(pod.client, POD[version], 4191)
            assert body == f"hello from pod, you are {CLIENT[version]}"
            body = fetch(pod.pod, POD[version], APP, uid=PROXY)
            assert body == f"hello from pod, you are {POD[version]}"
            passed = [entry["listener"] for entry in envoy.log(seen + 2)[seen:]]
            assert passed == ["inbound", "outbound"]
        done = done_well("verify", "--output", "json", namespace=pod.pod)
        assert sorted(done.json["proxy_ports"]) == [4140, 4143]
