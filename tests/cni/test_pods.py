"""The pods of a node: what drifted, what was missed, whose it is; and mending it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from interceptor.node.pods import Condition
from tests.lab.netns import namespaces
from tests.lab.node_pods import MESHED, NodePods
from tests.lab.paths import dump, interceptor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


pytestmark = pytest.mark.root


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[NodePods]:
    with namespaces("pod", "pod") as pods:
        yield NodePods(tmp_path, tuple(pods))


def test_what_add_made_is_intercepted_and_what_nobody_knows_is_unknown(lab: NodePods) -> None:
    one, other = lab.pods
    lab.network.add(one.path, annotations=MESHED)
    found = lab.survey()
    assert found[one.name].condition is Condition.INTERCEPTED
    assert (found[one.name].namespace, found[one.name].pod) == ("shop", "cart")
    assert found[other.name].condition is Condition.UNKNOWN


def test_drift_is_reported_and_mended_when_asked(lab: NodePods) -> None:
    one, _ = lab.pods
    lab.network.add(one.path, annotations={**MESHED, "interceptor.dev/inbound-port": "16006"})
    meant = dump(one)
    for spoil in (["flush", "ruleset"], ["flush", "chain", "inet", "interceptor", "nat-output"]):
        one.run("nft", *spoil)
        spoilt = dump(one)
        found = lab.survey()[one.name]
        assert (found.condition, found.repaired) == (Condition.DRIFTED, False)
        assert dump(one) == spoilt
        found = lab.survey(repair=True)[one.name]
        assert (found.condition, found.repaired) == (Condition.DRIFTED, True)
        assert dump(one) == meant
        assert lab.survey()[one.name].condition is Condition.INTERCEPTED


def test_a_pod_the_plugin_was_not_asked_about_is_found_and_mended(lab: NodePods) -> None:
    one, other = lab.pods
    lab.remember(one, {**MESHED, "interceptor.dev/inbound-port": "16006"})
    lab.remember(other, {"kubernetes.io/config.seen": "x"})
    before = dump(one), dump(other)
    found = lab.survey()
    assert found[one.name].condition is Condition.MISSED
    assert found[other.name].condition is Condition.LEFT_ALONE
    assert (dump(one), dump(other)) == before
    found = lab.survey(repair=True)
    assert found[one.name].repaired
    assert "16006" in dump(one)
    assert dump(other) == before[1]
    again = lab.survey()
    assert again[one.name].condition is Condition.INTERCEPTED
    assert again[other.name].condition is Condition.LEFT_ALONE
    # As if ADD had done it: the runtime's own calls go on from there.
    container = f"id-{one.name}"
    assert lab.network.call("CHECK", one.path, container=container).status == 0
    assert lab.network.call("DEL", one.path, container=container).status == 0
    assert dump(one) == before[0]


def test_rules_of_an_init_container_are_not_touched(lab: NodePods) -> None:
    one, _ = lab.pods
    interceptor("install", "--inbound-port", "17006", namespace=one)
    before = dump(one)
    lab.remember(one, MESHED)
    found = lab.survey(repair=True)[one.name]
    assert (found.condition, found.repaired) == (Condition.INTERCEPTED, False)
    assert dump(one) == before


def test_the_hosts_namespace_is_never_looked_at(lab: NodePods) -> None:
    # As a pod of the host's network would look whose runtime asked CNI after all.
    (lab.mounts / "host").symlink_to("/proc/self/ns/net")
    cached = lab.remember(lab.pods[0], MESHED)
    cached.write_text(cached.read_text().replace(lab.pods[0].path, str(lab.mounts / "host")))
    found = lab.survey(repair=True, selector=("*",))
    assert set(found) == {pod.name for pod in lab.pods}


def test_what_is_no_namespace_is_unknown(lab: NodePods) -> None:
    (lab.mounts / "file").write_text("")
    (lab.mounts / "gone").symlink_to("/run/netns/iv-there-is-none")
    cached = lab.remember(lab.pods[0], MESHED)
    cached.write_text(cached.read_text().replace(lab.pods[0].path, str(lab.mounts / "file")))
    found = lab.survey(repair=True)
    assert {found[name].condition for name in ("file", "gone")} == {Condition.UNKNOWN}
    assert not found["file"].repaired


def test_a_wrong_annotation_is_told(lab: NodePods) -> None:
    one, other = lab.pods
    lab.remember(one, {**MESHED, "interceptor.dev/mode": "tprox"})
    lab.remember(other, None)
    found = lab.survey(repair=True)
    assert found[one.name].condition is Condition.UNKNOWN
    assert 'interceptor.dev/mode="tprox"' in found[one.name].why
    assert "passes no pod annotations" in found[other.name].why


def test_a_pod_of_two_networks_is_known_by_the_plugins(lab: NodePods) -> None:
    one, _ = lab.pods
    lab.remember(one, {"a": "b"}, networkName="a-first", containerId="c")
    lab.remember(one, MESHED, containerId="c")
    lab.remember(one, {"a": "b"}, networkName="cni-loopback", ifName="lo", containerId="c")
    assert lab.survey()[one.name].condition is Condition.MISSED


def test_what_a_runtime_writes_otherwise_is_passed_over(lab: NodePods) -> None:
    for name, text in (("a", "{"), ("b", "[]"), ("c", '{"kind": "v9"}'), ("d", "")):
        (lab.cache / "results" / name).write_text(text)
    lab.remember(lab.pods[0], MESHED)
    assert lab.survey()[lab.pods[0].name].condition is Condition.MISSED


def test_one_that_cannot_be_mended_says_why_and_the_others_are(lab: NodePods) -> None:
    one, other = lab.pods
    for pod in lab.pods:
        lab.remember(pod, MESHED)
    lab.remember(one, {**MESHED, "interceptor.dev/sheet": "istio"})
    found = lab.survey(repair=True)
    assert not found[one.name].repaired
    assert "cannot be mended" in found[one.name].why
    assert found[other.name].repaired
