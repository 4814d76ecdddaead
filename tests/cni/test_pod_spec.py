"""What interception depends on in a pod, as the API server writes it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from interceptor.cni.pod_spec import LookedUp, read_pod
from interceptor.layers import DEFAULTS, Layer, resolve

_1337 = {"proxy_uid": "1337", "proxy_gid": "1337"}


def pod(*containers: dict[str, Any], **spec: Any) -> LookedUp:
    content = {
        "kind": "Pod",
        "metadata": {"name": "web", "uid": "u", "creationTimestamp": None},
        "spec": {"containers": [{"name": "app", "image": "app:1"}, *containers], **spec},
        "status": {},
    }
    return read_pod(json.dumps(content).encode())


def proxy(**container: Any) -> dict[str, Any]:
    return {"name": "istio-proxy", **container}


def env(**variables: str) -> dict[str, Any]:
    return proxy(env=[{"name": name, "value": value} for name, value in variables.items()])


def runs_as(user: int | None, group: int | None) -> dict[str, Any]:
    ids = {"runAsUser": user, "runAsGroup": group, "privileged": False}
    return {"securityContext": {name: value for name, value in ids.items() if value is not None}}


@pytest.mark.parametrize(
    ("containers", "spec", "settings"),
    [
        ([], {}, {}),
        ([{"name": "linkerd-proxy", **runs_as(2102, 2102)}], {}, {}),
        ([proxy()], {}, _1337),
        ([], {"initContainers": [proxy(restartPolicy="Always")]}, _1337),
        ([proxy(**runs_as(0, 0))], {}, _1337),
        ([proxy(**runs_as(5, None))], {}, {"proxy_uid": "5", "proxy_gid": "1337"}),
        ([proxy(**runs_as(5, 6))], {}, {"proxy_uid": "5", "proxy_gid": "6"}),
        ([proxy()], runs_as(7, 8), {"proxy_uid": "7", "proxy_gid": "8"}),
        ([proxy(**runs_as(5, 0))], runs_as(7, 8), {"proxy_uid": "5", "proxy_gid": "1337"}),
        ([env(ISTIO_META_DNS_CAPTURE="true")], {}, {**_1337, "capture_dns": "all"}),
        ([env(ISTIO_META_DNS_CAPTURE="T")], {}, {**_1337, "capture_dns": "all"}),
        ([env(ISTIO_META_DNS_CAPTURE="yes")], {}, _1337),
        ([env(ISTIO_META_DNS_CAPTURE="")], {}, _1337),
        ([env(ISTIO_DUAL_STACK="1")], {}, {**_1337, "ip_families": "auto"}),
        ([env(INVALID_DROP="TRUE")], {}, {**_1337, "drop_invalid": "true"}),
        ([env(INVALID_DROP="false")], {}, _1337),
        ([proxy(env=[{"name": "INVALID_DROP", "valueFrom": {"fieldRef": {}}}])], {}, _1337),
    ],
)
def test_the_proxys_container_has_settings(
    containers: list[dict[str, Any]], spec: dict[str, Any], settings: dict[str, str]
) -> None:
    found = pod(*containers, **spec)
    assert found.settings == settings
    assert not found.skip
    resolve([DEFAULTS, Layer(found.settings, lambda key: key)])


@pytest.mark.parametrize(
    ("containers", "spec", "skip"),
    [
        ([proxy(args=["proxy", "sidecar", "--domain", "x"])], {}, ""),
        ([proxy(args=["proxy"])], {}, ""),
        ([proxy(args=["istio-iptables", "router"])], {}, ""),
        ([proxy(args=["proxy", "router"])], {}, "istio-proxy is no sidecar but a router"),
        ([{"name": "other", "args": ["proxy", "router"]}], {}, ""),
        ([proxy()], {"initContainers": [{"name": "istio-init"}]}, "sets interception up itself"),
        ([proxy()], {"initContainers": [{"name": "istio-validation"}]}, ""),
        ([env(DISABLE_ENVOY="true")], {}, "DISABLE_ENVOY"),
        ([env(DISABLE_ENVOY="false")], {}, ""),
        ([env(DISABLE_ENVOY="maybe")], {}, ""),
    ],
)
def test_some_pods_are_not_to_be_intercepted(
    containers: list[dict[str, Any]], spec: dict[str, Any], skip: str
) -> None:
    found = pod(*containers, **spec).skip
    assert skip in found if skip else not found


def test_a_pod_on_the_hosts_network_is_known() -> None:
    assert pod(hostNetwork=True).host_network
    assert not pod().host_network


@pytest.mark.parametrize(
    "answer", [b"", b"null", b"[]", b"{}", b'{"metadata": {"uid": "u"}}', b'{"kind": "Status"}']
)
def test_what_is_no_pod_is_refused(answer: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_pod(answer)
