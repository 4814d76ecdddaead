"""Pods looked up through a real API server, where the runtime passes no annotations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab.api_server import kubeconfig
from tests.lab.kubernetes.cluster import app, container, proxies
from tests.lab.kubernetes.control_plane import URL, RefusedError
from tests.lab.waiting import becomes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.kubernetes.cluster import Cluster

pytestmark = pytest.mark.root

_INJECT = {"interceptor.dev/inject": "true"}
_ISTIO = {"sidecar.istio.io/status": "{}"}
_ROLES = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
_BINDINGS = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"


class Account:
    """Whom the plugin is at the API server: somebody who may get pods and no more."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._request = cluster.plane.request
        self._name = f"plugin-{cluster.namespace}"
        self._token = cluster.directory / "token"
        self.kubeconfig = cluster.directory / "kubeconfig"
        user = {"tokenFile": str(self._token)}
        kubeconfig(self.kubeconfig, URL, user, cluster.plane.authority)
        accounts = f"{cluster.path}/serviceaccounts"
        self._request("POST", accounts, {"metadata": {"name": "plugin"}})
        rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
        self._request("POST", _ROLES, {"metadata": {"name": self._name}, "rules": rules})
        self.allow()
        self.renew("first")

    def allow(self) -> None:
        """Bind it to its role."""
        group = "rbac.authorization.k8s.io"
        subject = {
            "kind": "ServiceAccount",
            "name": "plugin",
            "namespace": self._cluster.namespace,
        }
        body = {
            "metadata": {"name": self._name},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": self._name},
            "subjects": [subject],
        }
        self._request("POST", _BINDINGS, body)

    def forbid(self) -> None:
        """Take its role away."""
        self._request("DELETE", f"{_BINDINGS}/{self._name}")

    def renew(self, secret: str) -> str:
        """Write another token, which holds as long as a secret is there; give it."""
        secrets = f"{self._cluster.path}/secrets"
        self._request("POST", secrets, {"metadata": {"name": secret}})
        bound = {"apiVersion": "v1", "kind": "Secret", "name": secret}
        asked = {"spec": {"audiences": [URL], "boundObjectRef": bound}}
        path = f"{self._cluster.path}/serviceaccounts/plugin/token"
        token = str(self._request("POST", path, asked)["status"]["token"])
        self._token.write_text(token)
        return token

    def revoke(self, secret: str) -> None:
        """Have the token of a secret not hold any more."""
        self._request("DELETE", f"{self._cluster.path}/secrets/{secret}")

    def status(self, path: str, token: str = "") -> int:
        """Give what an API server says to it, as an HTTP status."""
        try:
            self._request("GET", path, token=token or self._token.read_text())
        except RefusedError as error:
            return error.status
        return 200

    def close(self) -> None:
        """Take away what is in no namespace."""
        self.forbid()
        self._request("DELETE", f"{_ROLES}/{self._name}")


@pytest.fixture(scope="module")
def account(shared_cluster: Cluster) -> Iterator[Account]:
    made = Account(shared_cluster)
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared(shared_cluster: Cluster, account: Account) -> Cluster:
    lookup = {"kubeconfig": str(account.kubeconfig), "timeout": 3}
    shared_cluster.reconfigure(annotations=False, lookup=lookup)
    return shared_cluster


@pytest.fixture
def cluster(shared: Cluster) -> Iterator[Cluster]:
    """The cluster, without pods before and after."""
    yield shared
    for pod in shared.plane.request("GET", f"{shared.path}/pods")["items"]:
        shared.delete(pod["metadata"]["name"])
    assert becomes(lambda: not shared.attachments(), 30)


def test_to_get_pods_is_all_it_takes(cluster: Cluster, account: Account) -> None:
    cluster.create("asking", annotations=_INJECT)
    cluster.create("silent")
    for name in ("asking", "silent"):
        cluster.wait_ready(name)
        assert account.status(f"{cluster.path}/pods/{name}") == 200
    assert cluster.is_intercepted("asking")
    assert not cluster.is_intercepted("silent")
    assert account.status(f"{cluster.path}/pods") == 403
    assert account.status(f"{cluster.path}/secrets/first") == 403


def test_what_only_the_api_server_knows_counts(cluster: Cluster) -> None:
    sidecar, outbound = proxies(uid=5000)
    sidecar["name"] = "istio-proxy"
    containers = (app(), sidecar, outbound)
    cluster.create("sidecar", *containers, annotations=_ISTIO)
    cluster.create(
        "opted-out", *containers, annotations=_ISTIO, labels={"sidecar.istio.io/inject": "false"}
    )
    cluster.create("gateway", app(), container("istio-proxy", "serve", "1"), annotations=_ISTIO)
    for name in ("sidecar", "opted-out", "gateway"):
        cluster.wait_ready(name)
    assert cluster.is_intercepted("sidecar")
    assert not cluster.is_intercepted("opted-out")
    ids = {one["pod"]: one["settings"]["proxy_uid"] for one in cluster.attachments()}
    assert ids == {"sidecar": "5000", "gateway": "1337"}


def test_a_renewed_token_is_used(cluster: Cluster, account: Account) -> None:
    first = account.renew("older")
    cluster.create("before", annotations=_INJECT)
    cluster.wait_ready("before")
    account.renew("newer")
    account.revoke("older")
    assert becomes(lambda: account.status(f"{cluster.path}/pods/before", first) == 401, 30)
    cluster.create("after", annotations=_INJECT)
    cluster.wait_ready("after")
    assert cluster.is_intercepted("after")
    assert not cluster.events("after")


def test_without_permission_the_event_says_which(cluster: Cluster, account: Account) -> None:
    account.forbid()
    assert becomes(lambda: account.status(f"{cluster.path}/pods/any") == 403)
    cluster.create("forbidden", annotations=_INJECT)
    cluster.wait_event("forbidden", URL, "HTTP status 403", 'verbs ["get"]', "ClusterRole")
    assert {call["code"] for call in cluster.calls("forbidden")} == {11}
    account.allow()
    cluster.wait_ready("forbidden")
    assert cluster.is_intercepted("forbidden")


def test_while_the_api_server_is_away_no_pod_starts_unseen(cluster: Cluster) -> None:
    cluster.create("restarted", annotations=_INJECT)
    cluster.wait_ready("restarted")
    [before] = cluster.attachments()
    cluster.plane.stop_api()
    # As after a node's restart: the kubelet knows the pod, and has to make it anew.
    cri = cluster.containerd.cri()
    cri.stop(before["container_id"])
    failed = becomes(lambda: len(cluster.calls("restarted")) > 1, 30)
    cri.close()
    cluster.plane.start_api()
    assert failed
    assert cluster.calls("restarted")[1]["code"] == 11
    cluster.wait_event("restarted", f"was not looked up at {URL}: Connection refused")
    assert becomes(lambda: [one["pod"] for one in cluster.attachments()] == ["restarted"], 30)
    cluster.wait_ready("restarted")
    assert cluster.is_intercepted("restarted")
    assert cluster.attachments() != [before]
