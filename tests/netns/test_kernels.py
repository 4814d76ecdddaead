"""What depends on the kernel's version is there, or refused by that version's name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab.ebpf_node import EbpfNode, ebpf_node
from tests.lab.kernels import since
from tests.lab.paths import RulePath, done_well, dump

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.pod import Pod

pytestmark = pytest.mark.root

_SOCKETS = ("--backend", "ebpf")


@pytest.fixture
def node() -> Iterator[EbpfNode]:
    with ebpf_node() as made:
        yield made


def test_programs_at_sockets_or_why_not(pod: Pod, node: EbpfNode) -> None:
    before = dump(pod.pod)
    done = node.call("install", *_SOCKETS, namespace=pod.pod)
    checked = node.call("check", *_SOCKETS, namespace=pod.pod)
    if since(5, 15):
        assert (done.code, checked.code) == (0, 0), (done, checked)
        node.done_well("uninstall", namespace=pod.pod)
    else:
        assert (done.code, done.stdout) == (4, ""), done
        _, hint = done.stderr.splitlines()
        assert "needs Linux 5.15" in hint
        assert "--backend nftables" in hint
        assert checked.code == 3, checked
        assert "5.15" in checked.stdout, checked
    assert (dump(pod.pod), node.pins.exists(), node.records) == (before, False, [])


def test_the_address_on_lo_goes_again(pod: Pod, rule_path: RulePath) -> None:
    """Who put an address there is kept since 5.18; before, it is read from the metric."""
    before = dump(pod.pod)
    done_well("install", *rule_path.flags, namespace=pod.pod)
    assert "::6/128" in pod.pod.run("ip", "-6", "address", "show", "dev", "lo")
    assert done_well("status", namespace=pod.pod).stdout.startswith("in-sync")
    done_well("uninstall", namespace=pod.pod)
    assert dump(pod.pod) == before


def test_an_address_marked_on_an_older_kernel_is_ours(pod: Pod) -> None:
    """By the metric, without the number: what a kernel before 5.18 shows."""
    address = ("ip", "-6", "address", "add", "::6/128", "dev", "lo")
    pod.pod.run(*address, "metric", "173173173")
    assert done_well("uninstall", namespace=pod.pod).code == 0
    assert "::6/128" not in pod.pod.run("ip", "-6", "address", "show", "dev", "lo")


def test_somebody_elses_address_stays(pod: Pod, rule_path: RulePath) -> None:
    pod.pod.run("ip", "-6", "address", "add", "::6/128", "dev", "lo")
    before = dump(pod.pod)
    done_well("install", *rule_path.flags, namespace=pod.pod)
    done_well("uninstall", namespace=pod.pod)
    assert dump(pod.pod) == before
