"""The connections that make Consul's dialect, for real on every rule path, with its proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab.ends import LOCALHOST, Sent, wrong_ends
from tests.lab.envoy import Proxy, running_envoy
from tests.lab.http import fetch, web_server
from tests.lab.paths import NFTABLES, RULE_PATHS, RulePath, done_well
from tests.lab.pod import CLIENT, FAR, FAR_OTHER, OUTSIDE, POD, POD_SIDE, Pod, new_pod
from tests.lab.traffic import Recorder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.root

APP, PROXY, INIT = 8080, 5995, 5996
IN, OUT = "pod 20000", "pod 15001"
_DUAL = ("--ip-families", "dual")
_QUERY = "udp"

BOTH = [
    Sent("inbound to the app", "client", POD, APP, IN),
    Sent("inbound to the pod's other address", "client", POD_SIDE, APP, IN),
    Sent("inbound from the other side", "outside", POD_SIDE, APP, IN),
    Sent("inbound ssh", "client", POD, 22, IN),
    Sent("inbound to the outbound listener", "client", POD, 15001, IN),
    Sent("inbound datagram", "client", POD, APP, "direct", protocol="udp"),
    Sent("outbound by the app", "pod", FAR, 80, OUT),
    Sent("outbound to a neighbour", "pod", OUTSIDE, 80, OUT),
    Sent("outbound by root", "pod", FAR, 80, OUT, uid=0, gid=0),
    Sent("outbound by the proxy", "pod", FAR, 80, "direct", uid=PROXY, gid=PROXY),
    Sent("outbound by the proxy's group", "pod", FAR, 80, OUT, gid=PROXY),
    Sent("outbound by an init container", "pod", FAR, 80, "direct", uid=INIT),
    Sent("query", "pod", OUTSIDE, 53, "direct", protocol=_QUERY),
    Sent("query over tcp", "pod", OUTSIDE, 53, OUT),
    Sent("app to localhost", "pod", LOCALHOST, APP, "direct"),
    Sent("app to another loopback address", "pod", {4: "127.0.0.9"}, APP, OUT),
    Sent("app to its own pod", "pod", POD, APP, OUT),
    Sent("the proxy to its own pod", "pod", POD, APP, "direct", uid=PROXY),
    Sent("handover", "pod", POD, APP, "direct", uid=PROXY, source=LOCALHOST),
]


def _ip(table: list[Sent]) -> list[Sent]:
    return [sent._replace(to={4: sent.to[4]}) for sent in table]


def _ip6(table: list[Sent]) -> list[Sent]:
    return [sent._replace(to={6: sent.to[6]}) for sent in table]


_EVERY_QUERY = [
    Sent("query", "pod", FAR, 53, "client 53", protocol=_QUERY),
    Sent("query over tcp", "pod", FAR, 53, "client 53"),
    Sent("query to its own pod", "pod", POD_SIDE, 53, "client 53", protocol=_QUERY),
    Sent("the proxy's query", "pod", FAR, 53, "client 53", uid=PROXY, protocol=_QUERY),
    Sent("an init container's query", "pod", FAR, 53, "client 53", uid=INIT, protocol=_QUERY),
    Sent("another datagram", "pod", OUTSIDE, 80, "direct", protocol="udp"),
    Sent("another connection", "pod", FAR, 80, OUT),
]
_QUERY_TO_IT = [
    Sent("query to it", "pod", CLIENT, 53, "client 8600", protocol=_QUERY),
    Sent("query to it over tcp", "pod", CLIENT, 53, "client 8600"),
    Sent("the proxy's query", "pod", CLIENT, 53, "client 8600", uid=PROXY),
    Sent("query elsewhere", "pod", OUTSIDE, 53, "direct", protocol=_QUERY),
    Sent("query elsewhere over tcp", "pod", FAR, 53, OUT),
]
_QUERY_TO_LOCALHOST = [
    Sent("query to localhost", "pod", LOCALHOST, 53, "pod 8600", protocol=_QUERY),
    Sent("query to localhost over tcp", "pod", LOCALHOST, 53, "pod 8600"),
    Sent("query elsewhere", "pod", OUTSIDE, 53, "direct", protocol=_QUERY),
    Sent("query elsewhere over tcp", "pod", FAR, 53, OUT),
]
_UNTOUCHED_TO_LOCALHOST = [
    Sent("query to localhost", "pod", LOCALHOST, 53, "direct", protocol=_QUERY),
    Sent("query to localhost over tcp", "pod", LOCALHOST, 53, "direct"),
]


def _dns(*options: str) -> tuple[str, ...]:
    return tuple(word for option in options for word in ("--option", f"dns_{option}"))


CONFIGURATIONS: dict[str, tuple[tuple[str, ...], list[Sent]]] = {
    "default": (
        (),
        [
            *_ip(BOTH),
            Sent("inbound IPv6", "client", {6: POD[6]}, APP, "direct"),
            Sent("outbound IPv6", "pod", {6: FAR[6]}, 80, "direct"),
            Sent("the app to its own pod, IPv6", "pod", {6: POD[6]}, APP, "direct"),
        ],
    ),
    "dual stack": (_DUAL, BOTH),
    "IPv6 alone": (
        ("--ip-families", "ipv6"),
        [
            Sent("inbound", "client", {6: POD[6]}, APP, IN),
            Sent("inbound IPv4", "client", {4: POD[4]}, APP, "direct"),
            Sent("outbound", "pod", {6: FAR[6]}, 80, OUT),
            Sent("outbound IPv4", "pod", {4: FAR[4]}, 80, "direct"),
        ],
    ),
    "another proxy": (
        (*_DUAL, "--proxy-uid", "77", "--inbound-port", "21000", "--outbound-port", "21001"),
        [
            Sent("inbound", "client", POD, APP, "pod 21000"),
            Sent("outbound", "pod", FAR, 80, "pod 21001"),
            Sent("outbound by it", "pod", FAR, 80, "direct", uid=77),
            Sent("the default user is nobody now", "pod", FAR, 80, "pod 21001", uid=PROXY),
        ],
    ),
    "exclusions": (
        (
            *_DUAL,
            *("--exclude-inbound-ports", "22,9090-9091"),
            *("--exclude-outbound-ports", "3306,440-443"),
            *("--exclude-outbound-cidrs", f"198.51.100.0/24,{FAR_OTHER[6]}"),
            *("--exclude-outbound-uids", "7,8"),
        ),
        [
            Sent("an excluded port", "client", POD, 22, "direct"),
            Sent("within an excluded range", "client", POD, 9091, "direct"),
            Sent("another inbound port", "client", POD, APP, IN),
            Sent("an excluded port outbound", "pod", FAR, 3306, "direct"),
            Sent("within an excluded range outbound", "pod", FAR, 443, "direct"),
            Sent("another outbound port", "pod", FAR, 80, OUT),
            Sent("an excluded destination", "pod", FAR_OTHER, 80, "direct"),
            Sent("an excluded user", "pod", FAR, 80, "direct", uid=7),
            Sent("the other excluded user", "pod", FAR, 80, "direct", uid=8),
            Sent("the proxy", "pod", FAR, 80, "direct", uid=PROXY),
            Sent("init containers, not named any more", "pod", FAR, 80, OUT, uid=INIT),
        ],
    ),
    "DNS at an address": (_dns(f"address={CLIENT[4]}"), _ip(_EVERY_QUERY)),
    "DNS at an address, dual stack": (
        (*_DUAL, *_dns(f"address={CLIENT[6]}")),
        [
            *_ip6(_EVERY_QUERY),
            Sent("query over IPv4", "pod", {4: OUTSIDE[4]}, 53, "direct", protocol=_QUERY),
            Sent("query over IPv4 and tcp", "pod", {4: FAR[4]}, 53, OUT),
        ],
    ),
    "DNS at an address of each family": (
        (*_DUAL, *_dns(f"address={CLIENT[4]},{CLIENT[6]}")),
        _EVERY_QUERY,
    ),
    "DNS at an address and port": (
        _dns(f"address={CLIENT[4]}", "address_port=8600"),
        _ip(_QUERY_TO_IT),
    ),
    "DNS at an address and port, dual stack": (
        (*_DUAL, *_dns(f"address={CLIENT[6]}", "address_port=8600")),
        [*_ip6(_QUERY_TO_IT), *_ip(_QUERY_TO_IT[3:])],
    ),
    "DNS at a port": (_dns("address_port=8600"), _ip(_QUERY_TO_LOCALHOST)),
}
_AT_A_PORT = (*_DUAL, *_dns("address_port=8600"))


@pytest.fixture(scope="module")
def world() -> Iterator[Pod]:
    """One pod for all tables: each installs, and what it installs replaces the last."""
    with new_pod() as made:
        recorders = [
            Recorder(made.pod, 22, 53, APP, 8600, 9090, 9091, 15001, 20000, 21000, 21001),
            Recorder(made.pod, 53, APP, 8600, protocol="udp"),
            Recorder(made.outside, 53, 80, 443, 3306),
            Recorder(made.outside, 53, 80, protocol="udp"),
            Recorder(made.client, 53, 8600),
            Recorder(made.client, 53, 8600, protocol="udp"),
        ]
        yield made
        for recorder in recorders:
            recorder.close()


def _wrong(world: Pod, path: RulePath, flags: tuple[str, ...], table: list[Sent]) -> list[str]:
    done_well("install", "--sheet", "consul", *path.flags, *flags, namespace=world.pod)
    wrong = [*wrong_ends(world, table)]
    done_well("uninstall", namespace=world.pod)
    return wrong


@pytest.mark.parametrize("name", CONFIGURATIONS)
@pytest.mark.parametrize("path", RULE_PATHS, ids=str)
def test_every_connection_ends_where_consul_has_it(world: Pod, path: RulePath, name: str) -> None:
    wrong = _wrong(world, path, *CONFIGURATIONS[name])
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", RULE_PATHS, ids=str)
def test_with_dual_stack_only_nft_takes_queries_to_localhost_of_ipv4(
    world: Pod, path: RulePath
) -> None:
    ip = _QUERY_TO_LOCALHOST if path is NFTABLES else _UNTOUCHED_TO_LOCALHOST
    wrong = _wrong(world, path, _AT_A_PORT, [*_ip6(_QUERY_TO_LOCALHOST), *_ip(ip)])
    assert not wrong, "\n".join(wrong)


def test_its_proxy_both_ways(pod: Pod, rule_path: RulePath, tmp_path: Path) -> None:
    proxy = Proxy(20000, 15001, PROXY, PROXY, hands_over=False)
    with (
        web_server(pod.pod, APP, 21000),
        web_server(pod.outside, 80),
        running_envoy(pod.pod, tmp_path, proxy) as envoy,
    ):
        flags = ("--sheet", "consul", *rule_path.flags, "--exclude-inbound-ports", "21000")
        done_well("install", *flags, *_DUAL, namespace=pod.pod)
        for version, brackets in ((4, "{}"), (6, "[{}]")):
            seen = len(envoy.log(0))
            body = fetch(pod.client, POD[version], APP)
            assert body == f"hello from pod, you are {POD[version]}"
            body = fetch(pod.pod, FAR[version], 80)
            assert body == f"hello from outside, you are {POD_SIDE[version]}"
            # What the app sends to its own pod goes out to the proxy, and not in again.
            body = fetch(pod.pod, POD[version], APP)
            assert body == f"hello from pod, you are {POD[version]}"
            body = fetch(pod.client, POD[version], 21000)
            assert body == f"hello from pod, you are {CLIENT[version]}"
            body = fetch(pod.pod, POD[version], APP, uid=PROXY)
            assert body == f"hello from pod, you are {POD[version]}"
            passed = [
                (entry["listener"], entry["upstream"]) for entry in envoy.log(seen + 3)[seen:]
            ]
            assert passed == [
                ("inbound", f"{brackets.format(POD[version])}:{APP}"),
                ("outbound", f"{brackets.format(FAR[version])}:80"),
                ("outbound", f"{brackets.format(POD[version])}:{APP}"),
            ]
        done = done_well("verify", "--output", "json", namespace=pod.pod)
        assert sorted(done.json["proxy_ports"]) == [15001, 20000]
