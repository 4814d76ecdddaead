"""From rules to sockets and back: nothing of the former is left, and no connection goes past."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.lab.ebpf_node import EbpfNode, ebpf_node
from tests.lab.istio import TOOLS, put
from tests.lab.istio.cases import CASES
from tests.lab.netns import namespaces
from tests.lab.paths import PROGRAM, RULE_PATHS, RulePath, dump
from tests.lab.pod import FAR, POD, Pod
from tests.lab.traffic import connect, recorder

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

EBPF = RulePath("ebpf", ("--backend", "ebpf"))
_ROUND = (RULE_PATHS[0], EBPF, RULE_PATHS[1], EBPF, RULE_PATHS[2], EBPF, RULE_PATHS[0])
_MOVE = """
import json, subprocess, sys
for argv in json.loads(sys.argv[1]):
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
"""


@pytest.fixture
def node() -> Iterator[EbpfNode]:
    with ebpf_node() as made:
        yield made


def test_each_move_leaves_nothing_of_the_former(pod: Pod, node: EbpfNode) -> None:
    before, after = dump(pod.pod), {}
    for path in (*RULE_PATHS, EBPF):
        node.done_well("install", *path.flags, namespace=pod.pod)
        after[path] = dump(pod.pod)
        node.done_well("uninstall", namespace=pod.pod)
        assert (dump(pod.pod), node.pins.exists()) == (before, False)
    former = None
    for path in _ROUND:
        done = node.done_well("install", *path.flags, "--output", "json", namespace=pod.pod).json
        assert done["removed_from"] == ([former] if former else [])
        assert dump(pod.pod) == after[path]
        assert (node.pins.exists(), len(node.records)) == (path is EBPF, int(path is EBPF))
        status = node.done_well("status", "--output", "json", namespace=pod.pod).json
        assert (status["state"], status["backend"]) == ("in-sync", path.name)
        # Nobody who does not ask for a move gets one.
        kept = node.done_well("install", "--output", "json", namespace=pod.pod).json
        assert (kept["backend"], kept["changed"]) == (path.name, False)
        former = path.name
    node.done_well("uninstall", namespace=pod.pod)
    assert (dump(pod.pod), node.pins.exists(), node.records) == (before, False, [])


def test_no_moment_without_interception(pod: Pod, node: EbpfNode) -> None:
    moves = [
        [*node.prefix, PROGRAM, "install", *path.flags, "--netns", pod.pod.path]
        for path in _ROUND * 2
    ]
    node.done_well("install", *RULE_PATHS[0].flags, namespace=pod.pod)
    met = ended = 0
    with (
        recorder(pod.pod, 15001, 15006, 8080),
        recorder(pod.outside, 80),
        subprocess.Popen([sys.executable, "-c", _MOVE, json.dumps(moves)]) as moving,
    ):
        try:
            while moving.poll() is None:
                for number in (4, 6):
                    out = connect(pod.pod, FAR[number], 80)
                    into = connect(pod.client, POD[number], 8080)
                    for answer, port in ((out, 15001), (into, 15006)):
                        # Nobody else answers. One that rules were translating ends with them.
                        assert answer.get("port", port) == port
                        ended += answer == {"error": "TimeoutError"}
                        assert "port" in answer or answer == {"error": "TimeoutError"}
                        met += 1
        finally:
            moving.kill()
    assert moving.returncode == 0
    assert met > 100
    assert ended <= sum(path is EBPF for path in _ROUND * 2)


@pytest.mark.parametrize(("former", "ends"), [(EBPF, False), (RULE_PATHS[0], True)], ids=str)
def test_what_is_established(pod: Pod, node: EbpfNode, former: RulePath, *, ends: bool) -> None:
    """Sockets stay connected; what rules translated, the kernel translates no more."""
    node.done_well("install", *former.flags, namespace=pod.pod)
    with pod.pod, socket.create_server(("", 15001)) as proxy:
        app = socket.create_connection((FAR[4], 80), timeout=2)
        taken, _ = proxy.accept()
    with app, taken:
        taken.settimeout(2)
        latter = RULE_PATHS[0] if former is EBPF else EBPF
        node.done_well("install", *latter.flags, namespace=pod.pod)
        app.send(b"?")
        try:
            ended = taken.recv(1) != b"?"
        except TimeoutError:
            ended = True
    assert ended is ends


def test_a_move_that_fails_leaves_what_was(pod: Pod, node: EbpfNode) -> None:
    node.done_well("install", "--backend", "nftables", namespace=pod.pod)
    before = dump(pod.pod)
    prefix = (
        *("/usr/bin/unshare", "--mount", "/bin/sh", "-ec"),
        'umount --lazy /sys/fs/cgroup\nexec "$@"',
        "sh",
    )
    done = node.call("install", *EBPF.flags, "--netns", pod.pod.path, prefix=prefix)
    assert done.code == 4
    assert (dump(pod.pod), node.pins.exists(), node.records) == (before, False, [])
    assert "nftables" in node.done_well("status", namespace=pod.pod).stdout


def test_a_pod_beside_a_pod_with_rules(pod: Pod, node: EbpfNode) -> None:
    with namespaces("other") as (other,):
        node.done_well("install", "--backend", "nftables", namespace=other)
        with_rules = dump(other)
        node.done_well("install", *EBPF.flags, namespace=pod.pod)
        assert (dump(other), len(node.pods)) == (with_rules, 1)
        with recorder(other, 15001, 15006, 8080), recorder(pod.pod, 15001):
            assert connect(other, "127.0.0.1", 8080)["port"] == 8080
            assert connect(pod.pod, FAR[4], 80)["port"] == 15001
        for namespace, name in ((other, "nftables"), (pod.pod, "ebpf")):
            status = node.done_well("status", "--output", "json", namespace=namespace).json
            assert (status["state"], status["backend"]) == ("in-sync", name)
            kept = node.done_well("install", "--output", "json", namespace=namespace).json
            assert (kept["backend"], kept["changed"]) == (name, False)
        node.done_well("uninstall", namespace=pod.pod)
        assert (dump(other), node.pins.exists()) == (with_rules, False)


@pytest.mark.parametrize("tool", TOOLS)
def test_what_istio_left_is_taken_over(pod: Pod, node: EbpfNode, tool: str) -> None:
    before = dump(pod.pod)
    put(pod.pod, CASES["injector dual"].istio, tool)
    node.done_well("install", *EBPF.flags, namespace=pod.pod)
    assert "istio" not in dump(pod.pod).lower()
    assert node.done_well("status", namespace=pod.pod).stdout.startswith("in-sync")
    node.done_well("uninstall", namespace=pod.pod)
    assert dump(pod.pod) == before
