"""Chains of others that have a packet before ours: shown by a real connection, named by status."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.lab.host import TOOLS, Host
from tests.lab.paths import IPTABLES_NFT, NFTABLES, RulePath, done_well, interceptor
from tests.lab.pod import FAR, POD, Pod
from tests.lab.traffic import Recorder, connect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.root

_APP, _IN, _OUT = 8080, 15006, 15001


class Foreign(NamedTuple):
    """A chain of somebody else's, and what status has to say: a kind, or that nothing is."""

    chain: str
    kind: str = ""

    @property
    def script(self) -> str:
        return f"table inet others {{\nchain c {{\n{self.chain}\n}}\n}}\n"


_NAT = "type nat hook prerouting priority {}; policy accept;"
_OUTPUT = "type nat hook output priority {}; policy accept;"
_FILTER = "type filter hook prerouting priority {}; policy accept;"

TAKES = {
    "redirects one port": Foreign(
        f"{_NAT.format(-150)} tcp dport {_APP} redirect to :9090", "foreign-before"
    ),
    "redirects all": Foreign(
        f"{_NAT.format(-150)} meta l4proto tcp redirect to :9090", "shadowed"
    ),
    "translates": Foreign(
        f"{_NAT.format(-101)} tcp dport {_APP} dnat ip to {POD[4]}:9090", "foreign-before"
    ),
    "drops one port": Foreign(f"{_FILTER.format(-160)} tcp dport {_APP} drop", "foreign-before"),
    "drops by policy": Foreign(
        "type filter hook prerouting priority -300; policy drop;", "shadowed"
    ),
    "takes out of conntrack": Foreign(
        f"{_FILTER.format(-300)} tcp dport {_APP} notrack", "foreign-before"
    ),
}
LEAVES = {
    "accepts in nat": Foreign(f"{_NAT.format(-150)} tcp dport {_APP} accept"),
    "counts and logs": Foreign(f'{_FILTER.format(-300)} counter log prefix "x" meta mark set 5'),
    "other protocol": Foreign(f"{_NAT.format(-150)} udp dport {_APP} redirect to :9090"),
    "later": Foreign(f"{_NAT.format(-90)} tcp dport {_APP} redirect to :9090"),
    "another hook": Foreign(
        f"type filter hook input priority -300; policy accept; tcp dport {_APP} accept"
    ),
    "postrouting": Foreign("type nat hook postrouting priority 100; masquerade"),
    "calls what returns": Foreign(f"{_OUTPUT.format(-150)} tcp dport 80 return"),
}


@pytest.fixture
def world(pod: Pod) -> Iterator[Pod]:
    recorders = [Recorder(pod.pod, _IN, _OUT, 9090, _APP), Recorder(pod.outside, 80)]
    yield pod
    for one in recorders:
        one.close()


def captured(pod: Pod) -> bool:
    """Whether an inbound and an outbound connection both reach the proxy."""
    inbound = connect(pod.client, POD[4], _APP, timeout_s=0.5)
    outbound = connect(pod.pod, FAR[4], 80, timeout_s=0.5)
    return (inbound.get("port"), outbound.get("port")) == (_IN, _OUT)


@pytest.mark.parametrize("name", TAKES)
def test_what_takes_a_packet_is_named(world: Pod, rule_path: RulePath, name: str) -> None:
    foreign = TAKES[name]
    done_well("install", *rule_path.flags, namespace=world.pod)
    assert captured(world)
    world.pod.run("nft", "-f", "-", stdin=foreign.script)
    assert not captured(world)
    done = interceptor("status", "--output", "json", namespace=world.pod)
    assert done.code == 3
    assert [(f["kind"], f["where"][:19]) for f in done.json["findings"]] == [
        (foreign.kind, "inet others c rule ")
    ]


@pytest.mark.parametrize("name", LEAVES)
def test_what_leaves_packets_alone_is_not(world: Pod, rule_path: RulePath, name: str) -> None:
    done_well("install", *rule_path.flags, namespace=world.pod)
    world.pod.run("nft", "-f", "-", stdin=LEAVES[name].script)
    assert captured(world)
    assert done_well("status", namespace=world.pod).stdout.startswith("in-sync")


def test_one_of_equal_priority_may_be_first(world: Pod, rule_path: RulePath) -> None:
    """Which one is, hangs on who came first: here it is."""
    script = f"{_NAT.format(-100)} tcp dport {_APP} redirect to :9090"
    world.pod.run("nft", "-f", "-", stdin=Foreign(script).script)
    done = done_well("install", *rule_path.flags, namespace=world.pod)
    redirects = f"inet others c rule 1: tcp dport {_APP} counter redirect to :9090"
    assert f"warning: not ours, and decides before ours: {redirects}" in done.stderr
    assert not captured(world)
    found = done_well("status", namespace=world.pod).stdout
    assert f"since before install: foreign-before {redirects}" in found


def test_iptables_in_front_of_nftables_is_named(world: Pod) -> None:
    rule = (
        "PREROUTING",
        "-p",
        "tcp",
        "--dport",
        str(_APP),
        "-j",
        "REDIRECT",
        "--to-ports",
        "9090",
    )
    for tool in ("iptables-nft", "iptables-legacy"):
        world.pod.run(tool, "-t", "nat", "-A", *rule)
        done_well("install", *NFTABLES.flags, namespace=world.pod)
        done = done_well("status", "--output", "json", namespace=world.pod)
        assert [n["where"] for n in done.json["noted"]] == ["ip nat PREROUTING rule 1"]
        done_well("uninstall", namespace=world.pod)
        world.pod.run(tool, "-t", "nat", "-D", *rule)


def test_without_nft_what_cannot_be_looked_into_is_said(pod: Pod, tmp_path: Path) -> None:
    done_well("install", *IPTABLES_NFT.flags, namespace=pod.pod)
    pod.pod.run("nft", "-f", "-", stdin=TAKES["redirects all"].script)
    host = Host(tmp_path, [tool for tool in TOOLS if tool != "nft"])
    done = host.interceptor("status", "--netns", pod.pod.path)
    assert "not looked at: others' tables (inet others): there is no nft" in done.stderr
