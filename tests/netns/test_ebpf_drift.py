"""What was changed behind our back at sockets is named, as exit code 3, and install mends it."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from interceptor.system.cookie import cookie
from interceptor.system.libbpf import CGROUP_KINDS
from tests.lab.ebpf_node import EbpfNode, ebpf_node
from tests.lab.pod import FAR, POD, Pod
from tests.lab.traffic import connect, endpoint, recorder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.root

_EBPF = ("--backend", "ebpf")


@pytest.fixture
def node(pod: Pod) -> Iterator[EbpfNode]:
    """A node with a pod that is intercepted at its sockets."""
    with ebpf_node() as made:
        made.done_well("install", *_EBPF, namespace=pod.pod)
        yield made


def _found(node: EbpfNode, pod: Pod) -> list[str]:
    """Give the findings of status, of which there must be some."""
    done = node.call("status", namespace=pod.pod)
    head, *findings = done.stdout.splitlines()
    assert (done.code, head.split(":")[0]) == (3, "drifted"), done
    as_json = node.call("status", "--output", "json", namespace=pod.pod)
    assert (as_json.code, len(as_json.json["findings"])) == (3, len(findings))
    return [line.strip() for line in findings]


def _mended(node: EbpfNode, pod: Pod) -> None:
    assert node.done_well("install", namespace=pod.pod).stdout.startswith("installed")
    assert node.done_well("status", namespace=pod.pod).stdout.startswith("in-sync")
    with recorder(pod.pod, 15001, 15006), recorder(pod.outside, 80):
        outbound = connect(pod.pod, FAR[6], 80)
        assert (outbound["port"], outbound["original"]) == (15001, endpoint(FAR[6], 80))
        assert connect(pod.client, POD[4], 8080)["port"] == 15006


def _pin(node: EbpfNode, pod: Pod, program: str) -> Path:
    if program == "inbound":
        return node.pins / f"pods/{cookie(pod.pod._descriptor)}"
    return node.pins / f"links/{program}"


@pytest.mark.parametrize("program", ["inbound", *sorted(CGROUP_KINDS)])
def test_a_program_that_was_detached(pod: Pod, node: EbpfNode, program: str) -> None:
    argv = ["/usr/sbin/bpftool", "link", "detach", "pinned", str(_pin(node, pod, program))]
    subprocess.run(argv, check=True, timeout=60)
    assert _found(node, pod) == [f"missing-program {program}: not attached"]
    _mended(node, pod)


@pytest.mark.parametrize("program", ["inbound", "connect4", "tcp_events"])
def test_a_pin_that_was_removed(pod: Pod, node: EbpfNode, program: str) -> None:
    _pin(node, pod, program).unlink()
    assert _found(node, pod) == [f"missing-program {program}: not attached"]
    _mended(node, pod)


@pytest.mark.parametrize("lost", ["facts", "pods", "states"])
def test_a_map_whose_pin_was_removed(pod: Pod, node: EbpfNode, lost: str) -> None:
    (node.pins / "maps" / lost).unlink()
    (found,) = _found(node, pod)
    assert found == f"changed-policy {lost}: the map is not pinned, so none can be read"
    _mended(node, pod)


def test_a_policy_that_was_changed(pod: Pod, node: EbpfNode) -> None:
    with node.machine() as machine:
        machine.put(pod.pod, "--inbound-port", "16006", "--exclude-outbound-ports", "80-81")
    assert _found(node, pod) == [
        "changed-policy inbound_port: 16006, not 15006",
        "changed-policy excluded_ports: 80-81, not none",
    ]
    _mended(node, pod)


def test_a_policy_that_was_taken_away(pod: Pod, node: EbpfNode) -> None:
    with node.machine() as machine:
        machine.drop(pod.pod)
    done = node.call("status", namespace=pod.pod)
    # What was beside it is there still, so it is not as if nothing had been.
    assert (done.code, done.stdout.startswith("drifted")) == (3, True)
    assert node.done_well("install", *_EBPF, namespace=pod.pod).stdout.startswith("installed")
    assert node.done_well("status", namespace=pod.pod).stdout.startswith("in-sync")


def test_an_address_that_is_new(pod: Pod, node: EbpfNode) -> None:
    """It counts as outside until the policy knows it: the proxy gets it, nothing goes past."""
    pod.pod.address("eth0", "10.1.0.77/24")
    (found,) = _found(node, pod)
    assert found.startswith("changed-policy own: ")
    assert "10.1.0.77" in found.split(", not ")[1]
    with recorder(pod.pod, 15001, 8080):
        assert connect(pod.pod, "10.1.0.77", 8080)["port"] == 15001
        node.done_well("install", namespace=pod.pod)
        assert connect(pod.pod, "10.1.0.77", 8080)["port"] == 8080
    assert node.done_well("status", namespace=pod.pod).stdout.startswith("in-sync")


def test_rules_beside_it(pod: Pod, node: EbpfNode) -> None:
    """Somebody installed rules where the programs could not be seen."""
    hidden = ("/usr/bin/unshare", "--mount", "/bin/sh", "-ec")
    script = 'mount -t tmpfs none /sys/fs/bpf\nexec "$@"'
    flags = ("install", "--backend", "nftables", "--netns", pod.pod.path)
    done = node.call(*flags, prefix=(*hidden, script, "sh"))
    assert done.code == 0, done
    assert _found(node, pod) == ["stacked ebpf: rules of ours beside those in nftables"]
    removed = node.done_well("uninstall", namespace=pod.pod).stdout
    assert removed == f"removed from {pod.pod.path}: nftables, ebpf\n"
    assert (node.pins.exists(), node.records) == (False, [])
