"""What the agent tells of decisions at sockets, for each pod."""

from __future__ import annotations

import http.client
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from interceptor.node.metrics import Metrics
from interceptor.system.cookie import cookie
from tests.lab import network_files
from tests.lab.ebpf_node import EbpfNode, ebpf_node
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


def decisions(metrics: Metrics) -> dict[tuple[str, str, str, str], float]:
    """Give what /metrics says of decisions: by namespace, pod, reason and cookie."""
    families = text_string_to_metric_families(metrics.answer().body.decode())
    found = {}
    for family in families:
        for sample in family.samples:
            if sample.name == "interceptor_decisions_total":
                of = sample.labels
                key = (of["namespace"], of["pod"], of["reason"], of["cookie"])
                found[key] = sample.value
    return found


def test_decisions_are_counted_for_each_pod(pod: Pod, node: EbpfNode, tmp_path: Path) -> None:
    network = node.network(tmp_path / "state")
    metrics = Metrics(str(network.state), str(node.all_pins))
    assert b"interceptor_decisions" not in metrics.answer().body
    network.add(pod.pod.path)
    with recorder(pod.pod, 15001, 15006):
        for _ in range(3):
            connect(pod.pod, FAR[4], 80)
        connect(pod.client, POD[4], 8080)
    found = decisions(metrics)
    assert found["shop", "cart", "network", ""] == 3
    assert found["shop", "cart", "inbound", ""] >= 1
    for path in network.state.iterdir():
        path.unlink()
    assert decisions(metrics)["", "", "network", str(cookie(pod.pod._descriptor))] == 3
    with node.machine() as machine:
        machine.unload(even_if_used=True)
    assert b"interceptor_decisions" not in metrics.answer().body


def test_metrics_are_answered_whatever_is_wrong_with_the_maps(
    pod: Pod, node: EbpfNode, tmp_path: Path
) -> None:
    network = node.network(tmp_path / "state")
    metrics = Metrics(str(network.state), str(node.all_pins))
    network.add(pod.pod.path)
    (node.pins / "pods/none").mkdir()
    assert b"interceptor_cni_attachments 1.0" in metrics.answer().body
    (node.pins / "pods/none").rmdir()
    (node.pins / "maps/counts").rename(node.pins / "maps/pending")
    assert b"interceptor_cni_attachments 1.0" in metrics.answer().body


def test_one_enrolled_by_hand_is_known_by_what_add_wrote_down(
    pod: Pod, node: EbpfNode, tmp_path: Path
) -> None:
    network = node.network(tmp_path / "state", settings={"backend": "nftables"})
    metrics = Metrics(str(network.state), str(node.all_pins))
    network.add(pod.pod.path)
    with node.machine() as machine, recorder(pod.pod, 15001, 15006):
        machine.put(pod.pod)
        connect(pod.pod, FAR[4], 80)
    assert ("shop", "cart", "network", "") in decisions(metrics)


def test_the_agent_answers_with_them(pod: Pod, node: EbpfNode, tmp_path: Path) -> None:
    network = node.network(tmp_path / "state")
    network.add(pod.pod.path)
    with recorder(pod.pod, 15001, 15006):
        connect(pod.pod, FAR[4], 80)
    for name in ("net.d", "bin"):
        (tmp_path / name).mkdir()
    (tmp_path / "net.d/10-calico.conflist").write_bytes(network_files.CALICO)
    argv = [
        *(sys.executable, "-m", "tests.lab.stand_in", "cni", "install", "--watch"),
        *("--listen", "127.0.0.1:0", "--interval", "1", "--host-root", node.root),
        *("--conf-dir", str(tmp_path / "net.d"), "--bin-dir", str(tmp_path / "bin")),
        *("--state-dir", str(network.state)),
    ]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as agent:
        try:
            assert agent.stderr is not None
            line = agent.stderr.readline().decode()
            assert line.startswith("answering at"), line
            asked = http.client.HTTPConnection("127.0.0.1", int(line.rsplit(" ", 1)[1]), timeout=9)
            asked.request("GET", "/metrics")
            said = asked.getresponse().read().decode()
            asked.close()
        finally:
            agent.kill()
    assert 'interceptor_decisions_total{cookie="",namespace="shop",pod="cart"' in said
