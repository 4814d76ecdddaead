"""The cluster leaves the host alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab.kubernetes.kubelet import knobs

if TYPE_CHECKING:
    from tests.lab.kubernetes.cluster import Cluster

pytestmark = pytest.mark.root


def test_what_a_kubelet_writes_to_the_hosts_knobs_does_not_get_there(
    shared_cluster: Cluster,
) -> None:
    shared_cluster.create("any")
    shared_cluster.wait_ready("any")
    written = shared_cluster.kubelet.own_knobs()
    assert (written["kernel/panic"], written["vm/overcommit_memory"]) == ("10", "1")
    assert knobs() == shared_cluster.kubelet.host_knobs
    shared_cluster.delete("any")
