"""The pods of a node: what drifted, what was missed, whose it is; and mending it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from interceptor.cni.netconf import PluginConf
from interceptor.node.pods import Condition, Found, Node, Survey
from tests.lab.netns import namespaces
from tests.lab.paths import dump, interceptor
from tests.lab.plugin import Network
from tests.lab.remembered import remember

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.lab.netns import Namespace

pytestmark = pytest.mark.root

MESHED = {"interceptor.dev/inject": "true"}


class Lab:
    """A node with two pods, and what a runtime remembers of them."""

    def __init__(self, directory: Path, pods: tuple[Namespace, ...]) -> None:
        self.pods = pods
        self.mounts = directory / "netns"
        self.cache = directory / "cache"
        self.network = Network(directory / "state", selector=["interceptor.dev/inject=true"])
        self.mounts.mkdir()
        (self.cache / "results").mkdir(parents=True)
        for pod in pods:
            (self.mounts / pod.name).symlink_to(pod.path)

    def remember(self, pod: Namespace, annotations: object, **more: Any) -> Path:
        """Write what libcni writes after an ADD."""
        return remember(self.cache, pod.path, pod.name, annotations, **more)

    def survey(self, *, repair: bool = False, **own: Any) -> dict[str, Found]:
        plugin = PluginConf(**{
            "state_dir": str(self.network.state),
            "selector": ("interceptor.dev/inject=true",),
            **own,
        })  # fmt: skip
        node = Node(plugin, "net", (str(self.mounts),), str(self.cache))
        return {os.path.basename(f.netns): f for f in Survey(node, repair=repair).found()}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with namespaces("pod", "pod") as pods:
        yield Lab(tmp_path, tuple(pods))


def test_what_add_made_is_intercepted_and_what_nobody_knows_is_unknown(lab: Lab) -> None:
    one, other = lab.pods
    lab.network.add(one.path, annotations=MESHED)
    found = lab.survey()
    assert found[one.name].condition is Condition.INTERCEPTED
    assert (found[one.name].namespace, found[one.name].pod) == ("shop", "cart")
    assert found[other.name].condition is Condition.UNKNOWN


def test_drift_is_reported_and_mended_when_asked(lab: Lab) -> None:
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


def test_a_pod_the_plugin_was_not_asked_about_is_found_and_mended(lab: Lab) -> None:
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


def test_rules_of_an_init_container_are_not_touched(lab: Lab) -> None:
    one, _ = lab.pods
    interceptor("install", "--inbound-port", "17006", namespace=one)
    before = dump(one)
    lab.remember(one, MESHED)
    found = lab.survey(repair=True)[one.name]
    assert (found.condition, found.repaired) == (Condition.INTERCEPTED, False)
    assert dump(one) == before


def test_the_hosts_namespace_is_never_looked_at(lab: Lab) -> None:
    # As a pod of the host's network would look whose runtime asked CNI after all.
    (lab.mounts / "host").symlink_to("/proc/self/ns/net")
    cached = lab.remember(lab.pods[0], MESHED)
    cached.write_text(cached.read_text().replace(lab.pods[0].path, str(lab.mounts / "host")))
    found = lab.survey(repair=True, selector=("*",))
    assert set(found) == {pod.name for pod in lab.pods}


def test_what_is_no_namespace_is_unknown(lab: Lab) -> None:
    (lab.mounts / "file").write_text("")
    (lab.mounts / "gone").symlink_to("/run/netns/iv-there-is-none")
    cached = lab.remember(lab.pods[0], MESHED)
    cached.write_text(cached.read_text().replace(lab.pods[0].path, str(lab.mounts / "file")))
    found = lab.survey(repair=True)
    assert {found[name].condition for name in ("file", "gone")} == {Condition.UNKNOWN}
    assert not found["file"].repaired


def test_a_wrong_annotation_is_told(lab: Lab) -> None:
    one, other = lab.pods
    lab.remember(one, {**MESHED, "interceptor.dev/mode": "tprox"})
    lab.remember(other, None)
    found = lab.survey(repair=True)
    assert found[one.name].condition is Condition.UNKNOWN
    assert 'interceptor.dev/mode="tprox"' in found[one.name].why
    assert "passes no pod annotations" in found[other.name].why


def test_a_pod_of_two_networks_is_known_by_the_plugins(lab: Lab) -> None:
    one, _ = lab.pods
    lab.remember(one, {"a": "b"}, networkName="a-first", containerId="c")
    lab.remember(one, MESHED, containerId="c")
    lab.remember(one, {"a": "b"}, networkName="cni-loopback", ifName="lo", containerId="c")
    assert lab.survey()[one.name].condition is Condition.MISSED


def test_what_a_runtime_writes_otherwise_is_passed_over(lab: Lab) -> None:
    for name, text in (("a", "{"), ("b", "[]"), ("c", '{"kind": "v9"}'), ("d", "")):
        (lab.cache / "results" / name).write_text(text)
    lab.remember(lab.pods[0], MESHED)
    assert lab.survey()[lab.pods[0].name].condition is Condition.MISSED


def test_one_that_cannot_be_mended_says_why_and_the_others_are(lab: Lab) -> None:
    one, other = lab.pods
    for pod in lab.pods:
        lab.remember(pod, MESHED)
    lab.remember(one, {**MESHED, "interceptor.dev/sheet": "istio"})
    found = lab.survey(repair=True)
    assert not found[one.name].repaired
    assert "cannot be mended" in found[one.name].why
    assert found[other.name].repaired
