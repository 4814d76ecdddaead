"""Another version of the program, with another layout of its maps, is taken over pod by pod."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from interceptor.backends.ebpf import layout
from interceptor.backends.ebpf.leftovers import let_go
from interceptor.system.deadline import Deadline
from tests.lab.ebpf_node import EbpfNode, ebpf_node
from tests.lab.paths import EBPF, NFTABLES
from tests.lab.pod import FAR, POD, Pod, new_pod
from tests.lab.traffic import connect, endpoint, recorder
from tests.lab.waiting import becomes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.ebpf import Lab

pytestmark = pytest.mark.root

_ELDER = 1


@pytest.fixture
def node() -> Iterator[EbpfNode]:
    with ebpf_node() as made:
        yield made


@contextmanager
def elder(node: EbpfNode) -> Iterator[Lab]:
    """Be that version for a while: the same programs, in the place of others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "LAYOUT", _ELDER)
        with node.machine() as machine:
            yield machine


def enforced_by_elder(node: EbpfNode, *pods: Pod) -> None:
    with elder(node) as machine:
        for pod in pods:
            machine.put(pod.pod)


def sets(node: EbpfNode) -> list[str]:
    there = node.all_pins
    return sorted(path.name for path in there.iterdir()) if there.exists() else []


def both_ways(pod: Pod) -> tuple[object, object]:
    """Give the ports of the pod that have what leaves and what arrives."""
    # As root: to be somebody else holds for all threads, also for one that starts a program.
    left = connect(pod.pod, FAR[4], 80, uid=0, gid=0)
    came = connect(pod.client, POD[4], 8080, uid=0, gid=0)
    return left.get("port"), came.get("port")


def test_status_says_whose_it_is(node: EbpfNode, pod: Pod) -> None:
    enforced_by_elder(node, pod)
    done = node.call("status", "--output", "json", namespace=pod.pod)
    assert done.code == 3
    said = {finding["what"] for finding in done.json["findings"]}
    assert "enforced by another version's programs, until it is installed again" in said


def test_install_takes_over_without_a_moment_between(node: EbpfNode, pod: Pod) -> None:
    """The proxy gets all of it, and the other pod stays where it is."""
    ended = threading.Event()
    seen: Counter[tuple[object, object]] = Counter()

    def watch() -> None:
        while not ended.is_set():
            seen[both_ways(pod)] += 1

    with new_pod() as other, recorder(pod.pod, 15001, 15006, 8080), recorder(pod.outside, 80):
        enforced_by_elder(node, pod, other)
        watching = threading.Thread(target=watch)
        watching.start()
        try:
            node.done_well("install", *EBPF.flags, namespace=pod.pod)
        finally:
            ended.set()
            watching.join()
        assert seen.keys() == {(15001, 15006)}
        assert both_ways(pod) == (15001, 15006)
        node.done_well("status", namespace=pod.pod)
        assert sets(node) == [str(_ELDER), str(layout.LAYOUT)]
        with recorder(other.pod, 15001, 15006):
            assert both_ways(other) == (15001, 15006)
        with elder(node) as machine:
            assert len(machine.held()) == 1
        node.done_well("install", *EBPF.flags, namespace=other.pod)
        assert sets(node) == [str(layout.LAYOUT)]


@pytest.mark.parametrize("verb", ["uninstall", "install"])
def test_nothing_is_left_of_it(node: EbpfNode, pod: Pod, verb: str) -> None:
    """Neither when it is removed, nor when rules take its place."""
    enforced_by_elder(node, pod)
    node.done_well(verb, *(NFTABLES.flags if verb == "install" else ()), namespace=pod.pod)
    assert sets(node) == []
    with recorder(pod.pod, 15001, 15006, 8080), recorder(pod.outside, 80):
        wanted = (15001, 15006) if verb == "install" else (80, 8080)
        assert both_ways(pod) == wanted


def test_killed_in_between_the_next_one_goes_on(node: EbpfNode, pod: Pod) -> None:
    """Both enforce it then, which does no harm."""
    enforced_by_elder(node, pod)
    with node.machine() as machine:
        machine.put(pod.pod)
    with recorder(pod.pod, 15001, 15006, 8080), recorder(pod.outside, 80):
        assert both_ways(pod) == (15001, 15006)
        assert connect(pod.pod, FAR[6], 80)["original"] == endpoint(FAR[6], 80)
    assert node.call("status", namespace=pod.pod).code == 3
    node.done_well("install", *EBPF.flags, namespace=pod.pod)
    node.done_well("status", namespace=pod.pod)
    assert sets(node) == [str(layout.LAYOUT)]


def test_pods_that_are_gone_are_collected_there_too(node: EbpfNode) -> None:
    with new_pod() as gone:
        enforced_by_elder(node, gone)
    assert sets(node) == [str(_ELDER)]
    root, records = str(node.all_pins), str(node.directory)
    # The kernel takes a namespace away a little later.
    assert becomes(lambda: bool(let_go(Deadline(20), pin_root=root, records=records)))
    assert sets(node) == []
