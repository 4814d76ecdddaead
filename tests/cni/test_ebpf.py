"""The plugin with interception at sockets: from its bundle, each verb, and what is counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from interceptor.node.bundle import sockets
from tests.lab.bundle import BareHost, Bundle, new_bundle
from tests.lab.ebpf_node import EbpfNode, ebpf_node
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
