"""The plugin with interception at sockets: from its bundle, each verb, and the agent's rounds."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from interceptor.node.bundle import sockets
from interceptor.system.cookie import cookie
from tests.lab import cni
from tests.lab.bundle import BareHost, Bundle, new_bundle
from tests.lab.ebpf_node import EbpfNode, ebpf_node
from tests.lab.netns import Namespace, namespaces
from tests.lab.paths import dump, interceptor
from tests.lab.plugin import PREV_RESULT, Network
from tests.lab.pod import FAR, POD, Pod
from tests.lab.traffic import connect, recorder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.root


@pytest.fixture
def node() -> Iterator[EbpfNode]:
    with ebpf_node() as made:
        yield made


def test_a_bare_host_has_all_it_needs(
    bundle: Bundle, pod: Pod, node: EbpfNode, tmp_path: Path
) -> None:
    host = BareHost(tmp_path / "root", bundle, "sys")
    network = Network(
        host.state,
        program=(*node.prefix, *host.plugin),
        state_dir="/state",
        settings={"backend": "ebpf"},
    )
    with recorder(pod.pod, 15001, 15006), recorder(pod.outside, 80):
        added = network.add(pod.pod.path)
        inbound = connect(pod.client, POD[6], 8080)
        outbound = connect(pod.pod, FAR[4], 80)
    assert (added.stdout, added.log["backend"]) == (PREV_RESULT, "ebpf")
    assert (inbound["port"], outbound["port"]) == (15006, 15001)
    assert outbound["original"] == f"{FAR[4]}:80"
    assert network.call("CHECK", pod.pod.path).status == 0
    assert len(node.pods) == 1
    assert network.call("DEL", pod.pod.path).status == 0
    assert (node.pods, node.pins.exists(), network.attachments) == ([], False, [])


def test_a_bundle_of_an_installation_without_it_says_so(
    pod: Pod, node: EbpfNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "_ROOM", "there-is-none")
    without = new_bundle(tmp_path / "bin")
    assert not list(without.tree.glob("lib/libbpf*"))
    host = BareHost(tmp_path / "root", without, "sys")
    network = Network(
        host.state,
        program=(*node.prefix, *host.plugin),
        state_dir="/state",
        settings={"backend": "ebpf"},
    )
    error = network.call("ADD", pod.pod.path).error
    assert "compiled programs are missing" in error["msg"]
    assert network.call("DEL", pod.pod.path).status == 0
    assert (node.pods, network.attachments) == ([], [])
    network.own["settings"] = {"backend": "nftables"}
    assert network.add(pod.pod.path).log["backend"] == "nftables"


def cookie_of(namespace: Namespace) -> int:
    return cookie(namespace._descriptor)


def valid(*containers: str) -> dict[str, Any]:
    """Give what a runtime adds to a configuration for GC."""
    known = [{"containerID": one, "ifname": "eth0"} for one in containers]
    return {"prev_result": "", "cni.dev/valid-attachments": known}


def test_add_check_and_del(pod: Pod, node: EbpfNode, tmp_path: Path) -> None:
    network = node.network(tmp_path / "state")
    before = dump(pod.pod)
    assert network.add(pod.pod.path).log["result"] == "installed"
    assert network.add(pod.pod.path).log["result"] == "already in place"
    assert not pod.pod.run("nft", "list", "ruleset"), "no rule of any kind"
    assert node.pods == node.records == [cookie_of(pod.pod)]
    assert network.call("CHECK", pod.pod.path).log["backend"] == "ebpf"
    answer = network.call("DEL", pod.pod.path)
    assert (answer.status, answer.log["removed_from"]) == (0, ["ebpf"])
    assert not node.pins.exists(), "no pod is left, so nothing is"
    assert (node.records, network.attachments) == ([], [])
    assert dump(pod.pod) == before
    with recorder(pod.outside, 80):
        assert connect(pod.pod, FAR[4], 80)["port"] == 80
    assert network.call("DEL", pod.pod.path).status == 0
    assert not node.pins.exists()


def test_check_finds_a_policy_that_was_changed(pod: Pod, node: EbpfNode, tmp_path: Path) -> None:
    network = node.network(tmp_path / "state")
    network.add(pod.pod.path)
    with node.machine() as machine:
        machine.put(pod.pod, "--inbound-port", "16006")
    error = network.call("CHECK", pod.pod.path).error
    assert (error["code"], "16006" in error["details"]) == (102, True)
    with node.machine() as machine:
        machine.drop(pod.pod)
    assert network.call("CHECK", pod.pod.path).error["code"] == 102
    network.add(pod.pod.path)
    assert network.call("CHECK", pod.pod.path).status == 0


@pytest.mark.parametrize("link", ["links/connect4", "links/getsockopt", "pods"])
@pytest.mark.parametrize("how", ["detached", "removed"])
def test_check_finds_a_link_that_is_gone_and_add_makes_it_anew(
    pod: Pod, node: EbpfNode, tmp_path: Path, link: str, how: str
) -> None:
    network = node.network(tmp_path / "state")
    network.add(pod.pod.path)
    path = node.pins / (f"pods/{cookie_of(pod.pod)}" if link == "pods" else link)
    if how == "removed":
        path.unlink()
    else:
        argv = ["/usr/sbin/bpftool", "link", "detach", "pinned", str(path)]
        subprocess.run(argv, check=True, timeout=60)
    error = network.call("CHECK", pod.pod.path).error
    assert (error["code"], "missing-program" in error["details"]) == (102, True)
    network.add(pod.pod.path)
    assert network.call("CHECK", pod.pod.path).status == 0
    with recorder(pod.pod, 15001, 15006):
        assert connect(pod.pod, FAR[4], 80)["original"] == f"{FAR[4]}:80"
        assert connect(pod.client, POD[4], 8080)["port"] == 15006


def test_an_add_that_is_refused_leaves_nothing(pod: Pod, node: EbpfNode, tmp_path: Path) -> None:
    refused = node.network(tmp_path / "state", settings={"backend": "ebpf", "mode": "tproxy"})
    assert refused.call("ADD", pod.pod.path).status == 1
    assert (node.pins.exists(), node.records, refused.attachments) == (False, [], [])
    network = node.network(tmp_path / "state")
    network.add(pod.pod.path)
    assert refused.call("ADD", pod.pod.path).status == 1
    assert network.call("CHECK", pod.pod.path).status == 0, "what was in force is in force"


def test_the_agents_rounds_find_drift_and_mend_it(
    pod: Pod, node: EbpfNode, tmp_path: Path
) -> None:
    network = node.network(tmp_path / "state")
    network.add(pod.pod.path)
    for name in ("netns", "cache/results"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "netns/one").symlink_to(pod.pod.path)
    cni.write(tmp_path / "net.d/10-net.conflist", cni.conflist(tmp_path, network.conf()))
    argv = ("cni", "pods", "--output", "json", f"--conf-dir={tmp_path}/net.d")
    places = (f"--netns-dir={tmp_path}/netns", f"--cache-dir={tmp_path}/cache")

    def found(*more: str) -> tuple[str, bool]:
        (one,) = interceptor(*argv, *places, *more, prefix=node.prefix).json["pods"]
        return one["state"], one["repaired"]

    assert found() == ("intercepted", False)
    with node.machine() as machine:
        machine.put(pod.pod, "--inbound-port", "16006")
    assert found() == ("drifted", False)
    assert found("--repair") == ("drifted", True)
    assert found() == ("intercepted", False)


@pytest.mark.parametrize("said", ["", "path"])
def test_del_after_the_namespace_has_gone_leaves_no_pin(
    node: EbpfNode, tmp_path: Path, said: str
) -> None:
    network = node.network(tmp_path / "state")
    with namespaces("stays") as (stays,):
        network.add(stays.path, container="c2")
        with namespaces("pod") as (gone,):
            network.add(gone.path)
            path = gone.path
        assert len(node.pods) == len(node.records) == 2
        answer = network.call("DEL", path if said else "", prev_result="")
        assert (answer.status, "warnings" in answer.log) == (0, False)
        assert node.pods == node.records == [cookie_of(stays)]
        assert network.call("CHECK", stays.path, container="c2").status == 0


def test_del_without_a_namespace_that_still_is_leaves_no_pin(
    pod: Pod, node: EbpfNode, tmp_path: Path
) -> None:
    network = node.network(tmp_path / "state")
    network.add(pod.pod.path)
    network.add(pod.pod.path, container="c2")
    assert network.call("DEL", prev_result="").status == 0
    assert network.call("CHECK", pod.pod.path, container="c2").status == 0, "it has another one"
    assert network.call("DEL", prev_result="", container="c2").log["removed_from"] == ["ebpf"]
    assert (node.pins.exists(), node.records, network.attachments) == (False, [], [])


def test_gc_lets_go_of_what_is_gone_alone(node: EbpfNode, tmp_path: Path) -> None:
    network = node.network(tmp_path / "state", version="1.1.0")
    with namespaces("stays") as (stays,):
        network.add(stays.path)
        with namespaces("pod", "pod") as gone:
            for number, one in enumerate(gone):
                network.add(one.path, container=f"gone{number}")
        orphan = node.directory / "999999.json"
        orphan.write_text("[]")
        answer = network.call("GC", **valid("c1"))
        assert (answer.status, answer.log["removed"], answer.log["let_go"]) == (0, 2, 2)
        assert node.pods == node.records == [cookie_of(stays)]
        assert network.call("CHECK", stays.path).status == 0
    assert network.call("GC", **valid()).status == 0
    assert (node.pins.exists(), node.records, network.attachments) == (False, [], [])


def test_one_beside_one_with_rules(node: EbpfNode, tmp_path: Path) -> None:
    sockets = node.network(tmp_path / "sockets")
    rules = node.network(tmp_path / "rules", settings={"backend": "nftables"})
    with namespaces("pod", "pod") as (one, other):
        sockets.add(one.path)
        rules.add(other.path, container="c2")
        assert sockets.call("CHECK", one.path).log["backend"] == "ebpf"
        assert rules.call("CHECK", other.path, container="c2").log["backend"] == "nftables"
        assert ("interceptor" in dump(one), "interceptor" in dump(other)) == (False, True)
        removed = rules.call("DEL", other.path, container="c2").log
        assert removed["removed_from"] == ["nftables"]
        assert sockets.call("CHECK", one.path).status == 0
        rules.add(one.path)
        assert rules.call("CHECK", one.path).log["backend"] == "nftables"
        assert node.pods == [], "who moves to rules leaves nothing at sockets"


def test_twenty_at_once(node: EbpfNode, tmp_path: Path) -> None:
    network = node.network(tmp_path / "state")
    with namespaces(*["pod"] * 20) as pods, ThreadPoolExecutor(20) as at_once:

        def all_of(verb: str) -> list[int]:
            calls = at_once.map(
                lambda n: network.call(verb, pods[n].path, container=f"c{n}"), range(len(pods))
            )
            return [answer.status for answer in calls]

        assert all_of("ADD") == [0] * 20
        assert node.pods == node.records == sorted(map(cookie_of, pods))
        assert all_of("CHECK") == [0] * 20
        assert all_of("DEL") == [0] * 20
        assert (node.pins.exists(), node.records, network.attachments) == (False, [], [])
