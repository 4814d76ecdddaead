"""Pods of a real kubelet, with the annotations the runtime passes to the plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab.waiting import becomes

if TYPE_CHECKING:
    from tests.lab.kubernetes.cluster import Cluster

pytestmark = pytest.mark.root

_INJECT = {"interceptor.dev/inject": "true"}
_EXCLUDE = "interceptor.dev/exclude-inbound-ports"


@pytest.fixture(scope="module")
def cluster(shared_cluster: Cluster) -> Cluster:
    shared_cluster.reconfigure()
    return shared_cluster


def test_an_annotated_pod_is_intercepted_until_it_goes(cluster: Cluster) -> None:
    cluster.create("meshed", annotations=_INJECT)
    cluster.wait_ready("meshed")
    assert cluster.is_intercepted("meshed")
    [attachment] = cluster.attachments()
    pod = cluster.pod("meshed")
    assert (attachment["namespace"], attachment["pod"]) == (cluster.namespace, "meshed")
    assert attachment["uid"] == pod["metadata"]["uid"]
    cluster.delete("meshed")
    assert becomes(lambda: not cluster.attachments())
    assert not cluster.events("meshed")


def test_a_pod_that_does_not_ask_for_it_is_left_alone(cluster: Cluster) -> None:
    cluster.create("plain")
    cluster.wait_ready("plain")
    assert not cluster.is_intercepted("plain")
    assert not cluster.attachments()
    assert [call["result"] for call in cluster.calls("plain")] == ["left alone"]
    cluster.delete("plain")


def test_a_wrong_annotation_is_told_and_its_correction_starts_the_pod(cluster: Cluster) -> None:
    cluster.create("wrong", annotations={**_INJECT, _EXCLUDE: "8080,http"})
    cluster.wait_event("wrong", "interceptor-cni", f'{_EXCLUDE}="8080,http"')
    assert {call["code"] for call in cluster.calls("wrong")} == {7}
    assert not cluster.attachments()
    cluster.annotate("wrong", **{_EXCLUDE: "9090"})
    cluster.wait_ready("wrong")
    assert cluster.is_intercepted("wrong")
    [attachment] = cluster.attachments()
    assert attachment["settings"]["exclude_inbound_ports"] == "9090"
    cluster.delete("wrong")
    assert becomes(lambda: not cluster.attachments())
