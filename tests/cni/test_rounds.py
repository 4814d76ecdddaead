"""The agent's rounds over the pods of a node, in processes of their own."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import msgspec
import pytest

from interceptor.cni.netconf import PluginConf
from interceptor.node.entry import Entry
from interceptor.node.metrics import POD_STATES, Metrics
from interceptor.node.pods import Condition
from interceptor.node.rounds import Rounds
from tests.lab.netns import namespaces
from tests.lab.node_pods import MESHED, NodePods
from tests.lab.paths import dump, interceptor
from tests.lab.waiting import becomes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.root


class Node:
    """A node below a directory, with two pods and an entry of ours."""

    def __init__(self, root: Path, lab: NodePods) -> None:
        self.lab = lab
        self.conf = root / "net.d"
        self.conf.mkdir()
        entry = Entry(
            selector=("interceptor.dev/inject=true",), state_dir=str(lab.network.state)
        ).encode()
        plugins = [{"type": "bridge"}, msgspec.json.decode(entry)]
        listed = {"cniVersion": "1.0.0", "name": "net", "plugins": plugins}
        (self.conf / "10-net.conflist").write_bytes(msgspec.json.encode(listed))
        self.options = (
            f"--conf-dir={self.conf}",
            f"--netns-dir={lab.mounts}",
            f"--cache-dir={lab.cache}",
        )


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with namespaces("pod", "pod") as pods:
        yield Node(tmp_path, NodePods(tmp_path, tuple(pods)))


def metric(metrics: Metrics, name: str) -> float:
    lines = metrics.answer().body.decode().splitlines()
    return next(float(line.split(" ")[1]) for line in lines if line.startswith(f"{name} "))


def test_the_states_counted_are_those_there_are() -> None:
    assert set(POD_STATES) == set(Condition)


def test_the_command_tells_what_is_wrong_and_mends_it(node: Node) -> None:
    one, other = node.lab.pods
    node.lab.remember(one, MESHED)
    node.lab.remember(other, {})
    done = interceptor("cni", "pods", *node.options)
    assert done.code == 3, done
    rows = [line.split()[:3] for line in done.stdout.splitlines()]
    assert rows[0] == ["STATE", "POD", "NAMESPACE"]
    assert ["missed", f"shop/{one.name}", one.name] in rows
    assert ["left-alone", f"shop/{other.name}", other.name] in rows
    done = interceptor("cni", "pods", "--repair", "--output", "json", *node.options)
    assert (done.code, done.json["wrong"], done.json["repaired"]) == (0, 1, 1)
    assert "15006" in dump(one)
    assert interceptor("cni", "pods", *node.options).code == 0


def test_what_cannot_be_mended_ends_with_1(node: Node) -> None:
    one, _ = node.lab.pods
    node.lab.remember(one, {**MESHED, "interceptor.dev/sheet": "istio"})
    assert interceptor("cni", "pods", "--repair", *node.options).code == 1


def test_without_an_entry_in_force_nothing_is_guessed(node: Node) -> None:
    (node.conf / "10-net.conflist").unlink()
    done = interceptor("cni", "pods", *node.options)
    assert done.code == 4
    assert "no entry of ours is in force" in done.stderr


def test_a_root_seen_elsewhere_is_looked_below(node: Node, tmp_path: Path) -> None:
    one, _ = node.lab.pods
    sandbox = {"interfaces": [{"sandbox": f"/var/run/netns/{one.name}"}]}
    node.lab.remember(one, MESHED, result=sandbox)
    root = tmp_path / "host"
    root.mkdir()
    (root / "run").mkdir()
    (root / "run" / "netns").symlink_to(tmp_path / "netns")
    for name in ("cache", "net.d", "state"):
        (tmp_path / name).mkdir(exist_ok=True)
        (root / name).symlink_to(tmp_path / name)
    conf = tmp_path / "net.d" / "10-net.conflist"
    conf.write_text(conf.read_text().replace(str(tmp_path), ""))
    said = interceptor(
        *("cni", "pods", "--repair", "--host-root", str(root), "--conf-dir", "/net.d"),
        *("--cache-dir", "/cache", "--output", "json"),
    )
    assert (said.code, said.json["repaired"]) == (0, 1), said
    # As the node itself sees it.
    (kept,) = (tmp_path / "state").glob("*.json")
    assert msgspec.json.decode(kept.read_bytes())["netns"] == f"/run/netns/{one.name}"


def test_a_round_counts_mends_and_says_each_thing_once(node: Node) -> None:
    one, other = node.lab.pods
    node.lab.remember(one, MESHED)
    node.lab.remember(other, MESHED)
    node.lab.remember(other, {**MESHED, "interceptor.dev/sheet": "istio"})
    metrics, said = Metrics(str(node.lab.network.state)), list[str]()
    rounds = Rounds((*node.options, "--repair"), 600, metrics, said.append)
    rounds.go()
    assert metric(metrics, 'interceptor_cni_pods{state="missed"}') == 2
    assert metric(metrics, "interceptor_cni_repairs_total") == 1
    assert metric(metrics, "interceptor_cni_attachments") == 1
    told = list(said)
    assert len(told) == 2
    assert [line.split(" ")[0] for line in told] == ["note:", "repaired:"]
    rounds.go()
    assert said == told
    assert metric(metrics, 'interceptor_cni_pods{state="intercepted"}') == 1


def test_a_round_that_cannot_look_says_why(tmp_path: Path) -> None:
    said: list[str] = []
    Rounds((f"--conf-dir={tmp_path}",), 600, Metrics(str(tmp_path)), said.append).go()
    (line,) = said
    assert "pods were not looked at: error: no entry of ours is in force" in line


def test_rounds_go_on_until_the_end(node: Node) -> None:
    one, _ = node.lab.pods
    metrics, stop = Metrics(str(node.lab.network.state)), threading.Event()
    Rounds((*node.options, "--repair"), 0.05, metrics, print).start(stop)
    try:
        assert becomes(lambda: metric(metrics, 'interceptor_cni_pods{state="unknown"}') == 2, 20)
        node.lab.remember(one, MESHED)
        assert becomes(lambda: metric(metrics, "interceptor_cni_repairs_total") == 1, 20)
    finally:
        stop.set()


def test_the_plugin_reads_what_the_installer_writes() -> None:
    whole = Entry(
        settings={"mode": "none"},
        selector=("*",),
        exclude_namespaces=("a",),
        state_dir="/s",
        log_file="/l",
        log_max_bytes=1,
        ready_file="/r",
        lookup={"kubeconfig": "/k", "timeout": 1.5, "always": True},
    )
    assert set(whole.__struct_fields__) == set(PluginConf.__struct_fields__)
    said = msgspec.json.decode(whole.encode())["interceptor"]
    assert msgspec.convert(said, PluginConf).log_max_bytes == 1
