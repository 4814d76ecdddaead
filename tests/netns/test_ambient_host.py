"""Istio ambient's rules on a node: pods know its probes, and let them go to the app."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab.netns import Namespace, cable, namespaces
from tests.lab.paths import (
    IPTABLES_LEGACY,
    IPTABLES_NFT,
    NFTABLES,
    RulePath,
    by_chain,
    done_well,
    dump,
    interceptor,
)
from tests.lab.traffic import Recorder, connect, endpoint
from tests.lab.ztunnel import Passed, Ztunnel

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

APP = 8080
NODE = {4: "10.3.0.1", 6: "fd03::1"}
POD = {4: "10.3.0.2", 6: "fd03::2"}
OTHER_POD = {4: "10.3.0.3", 6: "fd03::3"}
"""Another address of the same namespace, that the node is not told of."""
AWAY = {4: "10.4.0.2", 6: "fd04::2"}
PROBE = {4: "169.254.7.127", 6: "fd16:9254:7127:1337:ffff:ffff:ffff:ffff"}
PROBED = ("--sheet", "ambient-host", "--option", f"probed_pods={POD[4]},{POD[6]}")


class Node:
    """A node with a pod in the mesh; another host calls the pod through it."""

    def __init__(self, node: Namespace, pod: Namespace, away: Namespace) -> None:
        self.node, self.pod, self.away = node, pod, away
        cable(node, "eth0", pod, "eth0")
        cable(node, "eth1", away, "eth0")
        node.forward()
        node.address("eth0", f"{NODE[4]}/24", f"{NODE[6]}/64")
        node.address("eth1", "10.4.0.1/24", "fd04::1/64")
        for mine in (POD, OTHER_POD):
            pod.address("eth0", f"{mine[4]}/24", f"{mine[6]}/64")
        away.address("eth0", f"{AWAY[4]}/24", f"{AWAY[6]}/64")
        pod.default_route(NODE[4], NODE[6])
        away.default_route("10.4.0.1", "fd04::1")
        self._app = Recorder(pod, APP)
        self.ztunnel = Ztunnel(pod)

    def ask(self, where: Namespace, to: str, uid: int = 0) -> tuple[str, list[Passed]]:
        """Say as whom the app knows the caller, and what the proxy passed on."""
        found = connect(where, to, APP, uid=uid, gid=uid)
        return found.get("peer") or found["error"], self.ztunnel.take()

    def close(self) -> None:
        self.ztunnel.close()
        self._app.close()


@pytest.fixture
def node(rule_path: RulePath) -> Iterator[Node]:
    with namespaces("node", "pod", "away") as made:
        node = Node(*made)
        # Who is called for the first time is looked for with an address that takes its time.
        for v in (4, 6):
            assert node.ask(node.node, POD[v]) == (NODE[v], [])
            assert node.ask(node.away, POD[v]) == (AWAY[v], [])
        done_well("install", "--sheet", "ambient", *rule_path.flags, namespace=node.pod)
        yield node
        node.close()


def test_probes_reach_the_app_and_nothing_else_does(node: Node, rule_path: RulePath) -> None:
    for v in (4, 6):
        captured = [Passed("inbound", NODE[v], endpoint(POD[v], APP))]
        assert node.ask(node.node, POD[v]) == (NODE[v], captured), "without it probes are captured"
    done_well("install", *PROBED, *rule_path.flags, namespace=node.node)
    for v in (4, 6):
        assert node.ask(node.node, POD[v]) == (PROBE[v], [])
        # What is only passed on has no socket here.
        captured = [Passed("inbound", AWAY[v], endpoint(POD[v], APP))]
        assert node.ask(node.away, POD[v]) == (AWAY[v], captured)
        captured = [Passed("inbound", NODE[v], endpoint(OTHER_POD[v], APP))]
        assert node.ask(node.node, OTHER_POD[v]) == (NODE[v], captured)


def test_in_iptables_everybody_on_the_node_is_a_probe(node: Node, rule_path: RulePath) -> None:
    """A fault of Istio's that stays; in nft it asks for the user of the kubelet, which is root."""
    done_well("install", *PROBED, *rule_path.flags, namespace=node.node)
    for v in (4, 6):
        captured = [Passed("inbound", NODE[v], endpoint(POD[v], APP))]
        of_anybody = (NODE[v], captured) if rule_path is NFTABLES else (PROBE[v], [])
        assert node.ask(node.node, POD[v], uid=1000) == of_anybody
    done_well("install", *PROBED, "--option", "kubelet_uid=5-6,1000", namespace=node.node)
    for v in (4, 6):
        assert node.ask(node.node, POD[v], uid=1000) == (PROBE[v], [])
        if rule_path is NFTABLES:
            assert node.ask(node.node, POD[v], uid=0)[0] == NODE[v]


def test_the_address_and_the_pods_are_chosen(node: Node, rule_path: RulePath) -> None:
    options = ("--option", f"probed_pods={POD[4]},{OTHER_POD[4]}", "--option")
    flags = ("--sheet", "ambient-host", *options, "probe_address=169.254.9.9", *rule_path.flags)
    done_well("install", *flags, namespace=node.node)
    option = ("--option", "probe_address=169.254.9.9")
    done_well("install", "--sheet", "ambient", *option, *rule_path.flags, namespace=node.pod)
    for to in (POD[4], OTHER_POD[4]):
        assert node.ask(node.node, to) == ("169.254.9.9", [])
    assert node.ask(node.node, POD[6])[0] == NODE[6]


@pytest.mark.parametrize("rule_path", [IPTABLES_NFT, IPTABLES_LEGACY], ids=str)
def test_who_masquerades_first_hides_the_node(node: Node, rule_path: RulePath) -> None:
    """Istio's call would stand first; ours stands behind what is there."""
    tool = "iptables-legacy" if rule_path is IPTABLES_LEGACY else "iptables-nft"
    rule = ("POSTROUTING", "-o", "eth0", "-j", "MASQUERADE")
    node.node.run(tool, "-t", "nat", "-A", *rule)
    done_well("install", *PROBED, *rule_path.flags, namespace=node.node)
    assert node.ask(node.node, POD[4])[0] == NODE[4]
    assert node.ask(node.node, POD[6]) == (PROBE[6], [])
    node.node.run(tool, "-t", "nat", "-D", *rule)
    assert node.ask(node.node, POD[4]) == (PROBE[4], [])


def test_the_command_line_knows_it(node: Node, rule_path: RulePath) -> None:
    before = dump(node.node)
    install = ("install", *PROBED, *rule_path.flags, "--output", "json")
    assert done_well(*install, namespace=node.node).json["changed"]
    assert not done_well(*install, namespace=node.node).json["changed"]
    assert done_well("status", namespace=node.node).stdout.startswith("in-sync: ambient-host")
    assert done_well("prove", *PROBED).stdout.count("✓") == 11
    done_well("verify", namespace=node.node)
    explained = done_well(
        "explain", "outbound", "--to", f"{POD[4]}:80", "--live", namespace=node.node
    )
    assert "direct" in explained.stdout
    less = ("--option", f"probed_pods={POD[4]}")
    found = interceptor("status", "--sheet", "ambient-host", *less, namespace=node.node)
    assert (found.code, "extra-rule" in found.stdout) == (3, True)
    done_well("uninstall", namespace=node.node)
    assert by_chain(dump(node.node)) == by_chain(before)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ((), "no pod is named, so there is nothing to do"),
        (("--option", "probed_pods=10.0.0.1", "--capture-dns", "all"), "has no --capture-dns: it"),
        (("--option", "probed_pods=x"), "option probed_pods: 'x'"),
    ],
)
def test_what_makes_no_sense_is_refused(flags: tuple[str, ...], says: str) -> None:
    done = interceptor("render", "--sheet", "ambient-host", *flags)
    assert (done.code, says in done.stderr) == (2, True), done.stderr
