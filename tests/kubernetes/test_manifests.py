"""What is in images/manifests, sent to a real API server, and the pod run by a real kubelet."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.lab.images import INIT, ROOT, built
from tests.lab.kubernetes import daemon
from tests.lab.kubernetes.cluster import app, proxies
from tests.lab.kubernetes.kubelet import NODE
from tests.lab.traffic import connect
from tests.lab.waiting import becomes

if TYPE_CHECKING:
    from tests.lab.kubernetes.cluster import Cluster

pytestmark = [pytest.mark.root, pytest.mark.timeout(900)]  # whoever is first builds

_MANIFESTS = ROOT / "images/manifests"
_RBAC = "/apis/rbac.authorization.k8s.io/v1"
_ACCOUNT = "system:serviceaccount:interceptor:interceptor-cni"
_LONG_S = 60


def documents(path: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((_MANIFESTS / path).read_text()))


def lost(sent: Any, kept: Any, path: str = "") -> list[str]:
    """Name what was sent and a server did not keep: it drops what it does not know."""
    if isinstance(sent, dict) and isinstance(kept, dict):
        return [one for key in sent for one in lost(sent[key], kept.get(key), f"{path}.{key}")]
    if isinstance(sent, list) and isinstance(kept, list) and len(sent) == len(kept):
        return [
            one
            for n, (a, b) in enumerate(zip(sent, kept, strict=True))
            for one in lost(a, b, f"{path}[{n}]")
        ]
    return [] if sent == kept else [f"{path}: {sent!r}, kept {kept!r}"]


def kustomized(directory: str) -> dict[str, dict[str, Any]]:
    """Give what kustomize makes of a directory, by kind."""
    done = subprocess.run(
        [daemon.built("kustomize"), "build", str(_MANIFESTS / directory)],
        check=True,
        capture_output=True,
        text=True,
    )
    return {one["kind"]: one for one in yaml.safe_load_all(done.stdout)}


def test_a_server_takes_every_document_as_it_is(shared_cluster: Cluster) -> None:
    request = shared_cluster.plane.request
    [pod] = documents("init-pod.yaml")
    plain, with_look_up = kustomized("cni"), kustomized("cni-lookup")
    assert plain.keys() == {"Namespace", "ServiceAccount", "DaemonSet"}
    assert with_look_up.keys() == plain.keys() | {"ClusterRole", "ClusterRoleBinding"}
    namespace = plain.pop("Namespace")
    assert with_look_up.pop("Namespace") == namespace
    assert lost(namespace, request("POST", "/api/v1/namespaces", namespace)) == []
    places = {
        "ServiceAccount": "/api/v1/namespaces/interceptor/serviceaccounts",
        "DaemonSet": "/apis/apps/v1/namespaces/interceptor/daemonsets",
        "ClusterRole": f"{_RBAC}/clusterroles",
        "ClusterRoleBinding": f"{_RBAC}/clusterrolebindings",
        "Pod": f"{shared_cluster.path}/pods",
    }
    for sent in (pod, *plain.values(), *with_look_up.values()):
        kept = request("POST", f"{places[sent['kind']]}?dryRun=All", sent)
        assert lost(sent, kept) == []


def test_with_a_look_up_the_agent_has_a_token_and_without_none() -> None:
    for directory, has_token in (("cni", False), ("cni-lookup", True)):
        spec = kustomized(directory)["DaemonSet"]["spec"]["template"]["spec"]
        [container] = spec["containers"]
        assert spec["automountServiceAccountToken"] is has_token
        asked = [word for word in container["args"] if word.startswith("--kubeconfig-file=")]
        assert bool(asked) is has_token


def test_the_agents_account_may_get_pods_and_nothing_else(shared_cluster: Cluster) -> None:
    request = shared_cluster.plane.request

    def may(verb: str, resource: str) -> bool:
        attributes = {"namespace": "shop", "verb": verb, "resource": resource}
        body = {"spec": {"user": _ACCOUNT, "resourceAttributes": attributes}}
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        return bool(request("POST", path, body)["status"]["allowed"])

    asked = [(verb, "pods") for verb in ("get", "list", "watch", "create", "delete", "patch")]
    asked += [("get", "secrets"), ("get", "nodes"), ("get", "configmaps"), ("get", "pods/log")]
    assert not any(may(*one) for one in asked)
    role, binding = documents("cni-lookup/rbac.yaml")
    request("POST", f"{_RBAC}/clusterroles", role)
    request("POST", f"{_RBAC}/clusterrolebindings", binding)
    assert becomes(lambda: may("get", "pods"), _LONG_S)
    assert [one for one in asked if may(*one)] == [("get", "pods")]


@pytest.fixture(scope="module")
def cluster(shared_cluster: Cluster) -> Cluster:
    """A cluster whose runtime has the init image, and whose plugin lets these pods alone."""
    shared_cluster.reconfigure()
    shared_cluster.containerd.load(built() / f"{INIT}.tar")
    return shared_cluster


def play(cluster: Cluster, name: str, *arguments: str) -> None:
    """Create the manifest's pod; only its proxy and its app are the tests' own."""
    [pod] = documents("init-pod.yaml")
    spec = pod["spec"]
    [init] = spec["initContainers"]
    init["args"] += arguments
    spec |= {
        "nodeName": NODE,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 1,
        "containers": [app(), *proxies()],
    }
    body = {"metadata": {"name": name}, "spec": spec}
    cluster.plane.request("POST", f"{cluster.path}/pods", body)


def test_the_init_container_intercepts(cluster: Cluster) -> None:
    play(cluster, "init")
    cluster.wait_ready("init")
    assert cluster.is_intercepted("init")
    status = cluster.pod("init")["status"]
    [init] = status["initContainerStatuses"]
    assert init["state"]["terminated"]["exitCode"] == 0
    assert connect(cluster.node, status["podIP"], 9090) == {"error": "ConnectionRefusedError"}
    assert [call["result"] for call in cluster.calls("init")] == ["left alone"]
    cluster.delete("init")


def test_a_bad_setting_is_an_exit_code_of_the_init_container(cluster: Cluster) -> None:
    play(cluster, "bad", "--exclude-outbound-cidrs", "10.0.0.0/33")

    def codes() -> set[int]:
        statuses = cluster.pod("bad")["status"].get("initContainerStatuses", ())
        ended = [
            one[when].get("terminated") for one in statuses for when in ("state", "lastState")
        ]
        return {one["exitCode"] for one in ended if one}

    assert becomes(lambda: codes() == {2}, _LONG_S), cluster.pod("bad")["status"]
    states = cluster.pod("bad")["status"]["containerStatuses"]
    assert all("waiting" in one["state"] for one in states)
    cluster.delete("bad")
