"""What the API server says of a pod, as far as its interception depends on it.

Of Istio's own containers more is known than annotations say: as whom the proxy runs, whether it
takes DNS, and whether the pod brings its rules itself.
"""

from __future__ import annotations

import msgspec

from interceptor.frontends.gotext import parse_bool

_PROXY, _INIT = "istio-proxy", "istio-init"
_PROXY_ID = 1337
_MIRROR = "kubernetes.io/config.mirror"
"""Kubelet writes it to what stands at the API server for a static pod."""
_SIDECAR_ARGS = ["proxy", "sidecar"]


class LookedUp(msgspec.Struct, frozen=True, kw_only=True):
    """A pod.

    Args:
        annotations: its annotations.
        labels: its labels.
        host_network: whether it has no network namespace of its own.
        uid: the API server's; another pod of that name has another.
        settings: our settings, as text, that its sidecar's container asks for.
        mirrors: the uid of the pod that a node runs of its own accord and that this one only
            shows; ``""`` for all others.
        skip: why it is not to be intercepted, as half a sentence; ``""`` if nothing speaks
            against it.
    """

    annotations: dict[str, str] = {}
    labels: dict[str, str] = {}
    host_network: bool = False
    uid: str = ""
    mirrors: str = ""
    settings: dict[str, str] = {}
    skip: str = ""


class _Variable(msgspec.Struct, frozen=True):
    name: str
    value: str = ""


class _SecurityContext(msgspec.Struct, frozen=True, rename="camel"):
    run_as_user: int | None = None
    run_as_group: int | None = None


class _Container(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    args: list[str] | None = None
    env: list[_Variable] | None = None
    security_context: _SecurityContext | None = None

    def is_on(self, name: str) -> bool:
        """Whether a variable is true, as Istio reads it: what is neither is passed over."""
        # The last of a name is what the process gets.
        values = {variable.name: variable.value for variable in self.env or ()}
        try:
            return parse_bool(values.get(name, ""))
        except ValueError:
            return False


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    containers: list[_Container]
    init_containers: list[_Container] | None = None
    host_network: bool = False
    security_context: _SecurityContext | None = None


class _Metadata(msgspec.Struct, frozen=True):
    uid: str
    annotations: dict[str, str] | None = None
    labels: dict[str, str] | None = None


class _Pod(msgspec.Struct, frozen=True):
    metadata: _Metadata
    spec: _Spec


def read_pod(answer: bytes) -> LookedUp:
    """Read a pod as the API server writes it in JSON.

    Raises:
        ValueError: it is none.
    """
    pod = msgspec.json.decode(answer, type=_Pod)
    # A proxy that starts before the app and lives as long is an init container too.
    containers = pod.spec.containers + (pod.spec.init_containers or [])
    by_name = {container.name: container for container in containers}
    proxy = by_name.get(_PROXY)
    annotations = pod.metadata.annotations or {}
    return LookedUp(
        annotations=annotations,
        labels=pod.metadata.labels or {},
        host_network=pod.spec.host_network,
        uid=pod.metadata.uid,
        mirrors=annotations.get(_MIRROR, ""),
        settings=_settings(proxy, pod.spec) if proxy else {},
        skip=_skip(by_name, proxy),
    )


def _skip(by_name: dict[str, _Container], proxy: _Container | None) -> str:
    if _INIT in by_name:
        return f"its container {_INIT} sets interception up itself"
    if proxy is None:
        return ""
    if proxy.is_on("DISABLE_ENVOY"):
        return f"its container {_PROXY} has DISABLE_ENVOY set, so no proxy runs in it"
    args = (proxy.args or [])[:2]
    if len(args) == len(_SIDECAR_ARGS) and args[0] == "proxy" and args != _SIDECAR_ARGS:
        return f"its container {_PROXY} is no sidecar but a {args[1]}"
    return ""


def _settings(proxy: _Container, spec: _Spec) -> dict[str, str]:
    own = proxy.security_context or _SecurityContext()
    whole = spec.security_context or _SecurityContext()
    settings = {
        "proxy_uid": _id(own.run_as_user, whole.run_as_user),
        "proxy_gid": _id(own.run_as_group, whole.run_as_group),
    }
    if proxy.is_on("ISTIO_META_DNS_CAPTURE"):
        settings["capture_dns"] = "all"
    if proxy.is_on("ISTIO_DUAL_STACK"):
        # Istio leaves the second family alone otherwise, we only where a node's settings say so.
        settings["ip_families"] = "auto"
    if proxy.is_on("INVALID_DROP"):
        settings["drop_invalid"] = "true"
    return settings


def _id(own: int | None, whole: int | None) -> str:
    """Give as whom a proxy runs: root's cannot be told from others', so Istio adds 1337 to it."""
    return str((whole if own is None else own) or _PROXY_ID)
