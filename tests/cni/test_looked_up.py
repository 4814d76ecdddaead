"""ADD for a pod whose annotations only the API server knows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.api_server import Reply, fake_api_server, kubeconfig, pod, status
from tests.lab.netns import Namespace, namespaces
from tests.lab.paths import dump
from tests.lab.plugin import Network, call

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.root

_INJECT = {"interceptor.dev/inject": "true"}
_UID = "u-1"


@pytest.fixture
def inside() -> Iterator[Namespace]:
    with namespaces("pod") as (made,):
        yield made


def network(directory: Path, **lookup: Any) -> Network:
    """A network whose pods are looked up, and chosen by their annotations and labels."""
    path = {"kubeconfig": str(directory / "kubeconfig")}
    return Network(
        directory / "state", selector=["interceptor.dev/inject=true"], lookup=path | lookup
    )


def test_what_the_api_server_says_is_installed(inside: Namespace, tmp_path: Path) -> None:
    port = {"interceptor.dev/exclude-inbound-ports": "7777"}
    with fake_api_server(pod(annotations=_INJECT | port, uid=_UID)) as server:
        kubeconfig(tmp_path / "kubeconfig", server.url, {})
        log = network(tmp_path).add(inside.path).log
    assert server.asked[0].path == "/api/v1/namespaces/shop/pods/cart"
    assert log["result"] == "installed"
    assert "7777" in dump(inside)


def test_the_proxys_own_container_counts(inside: Namespace, tmp_path: Path) -> None:
    sidecar = {"name": "istio-proxy", "securityContext": {"runAsUser": 5000}}
    with fake_api_server(pod([sidecar], annotations=_INJECT, uid=_UID)) as server:
        kubeconfig(tmp_path / "kubeconfig", server.url, {})
        asking = network(tmp_path)
        asking.add(inside.path)
    (written,) = asking.state.glob("*")
    assert json.loads(written.read_text())["settings"]["proxy_uid"] == "5000"


@pytest.mark.parametrize(
    "reply",
    [
        pod(uid=_UID),
        pod(annotations={"interceptor.dev/inject": "false"}, uid=_UID),
        pod(annotations=_INJECT, labels={"interceptor.dev/inject": "false"}, uid=_UID),
        pod(annotations=_INJECT, uid=_UID, containers=[{"name": "istio-init"}]),
    ],
    ids=["no word", "a no", "a label's no", "its own rules"],
)
def test_a_pod_may_be_left_alone(inside: Namespace, tmp_path: Path, reply: Reply) -> None:
    before = dump(inside)
    with fake_api_server(reply) as server:
        kubeconfig(tmp_path / "kubeconfig", server.url, {})
        assert network(tmp_path).add(inside.path).log["result"] == "left alone"
    assert dump(inside) == before


@pytest.mark.parametrize(
    ("reply", "code", "words"),
    [
        (status(403, "no"), 11, 'verbs ["get"]'),
        (Reply(503), 11, "HTTP status 503"),
        (pod(annotations=_INJECT, uid="another"), 11, "uid another, not u-1"),
        (pod(annotations={"interceptor.dev/mode": "x"} | _INJECT, uid=_UID), 7, 'mode="x"'),
    ],
    ids=["forbidden", "overloaded", "replaced", "a wrong annotation"],
)
def test_a_failed_look_up_starts_no_pod(
    inside: Namespace, tmp_path: Path, reply: Reply, code: int, words: str
) -> None:
    before = dump(inside)
    with fake_api_server(reply) as server:
        kubeconfig(tmp_path / "kubeconfig", server.url, {})
        asking = network(tmp_path, timeout=2.0)
        error = asking.call("ADD", inside.path).error
    assert error["code"] == code
    assert words in error["msg"] + error["details"]
    assert dump(inside) == before
    assert not asking.attachments


def test_nobody_answers(inside: Namespace, tmp_path: Path) -> None:
    with fake_api_server(pod()) as gone:
        pass
    kubeconfig(tmp_path / "kubeconfig", gone.url, {})
    error = network(tmp_path, timeout=2.0).call("ADD", inside.path).error
    assert (error["code"], error["msg"]) == (
        11,
        f"pod shop/cart was not looked up at {gone.url}: Connection refused",
    )


def test_without_the_client_installed(inside: Namespace, tmp_path: Path) -> None:
    (tmp_path / "kubernetes.py").write_text("raise ImportError(name='kubernetes')")
    asking = network(tmp_path)
    answer = call(
        asking.text(),
        CNI_COMMAND="ADD",
        CNI_CONTAINERID="c1",
        CNI_NETNS=inside.path,
        CNI_IFNAME="eth0",
        CNI_PATH="/opt/cni/bin",
        CNI_ARGS="K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart",
        PYTHONPATH=str(tmp_path),
    )
    assert answer.error["code"] == 100
    assert "--kubeconfig-file" in json.dumps(answer.error)
