"""What runtimes remember of the containers they added: libcni's cache of results.

containerd, CRI-O and podman keep it; each file says of one container's interface which network
namespace it is in, who the pod is and, where the runtime knows them, its annotations
(containernetworking/cni, libcni/api.go: ``cachedInfo``, kind ``cniCacheV1``).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import msgspec

from interceptor.cni.netconf import ANNOTATIONS
from interceptor.cni.pod import Pod
from interceptor.files import read_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CACHE_DIRECTORY = "/var/lib/cni"
_MOST_BYTES = 1 << 24


class Added(msgspec.Struct, frozen=True):
    """One interface of one container, as its runtime remembers it.

    ``sandboxes`` are the paths of namespaces in the result, ``resolvers`` the name servers.
    """

    container_id: str
    ifname: str
    network: str
    sandboxes: frozenset[str]
    pod: Pod
    resolvers: tuple[str, ...] = ()


class _Interface(msgspec.Struct, frozen=True):
    sandbox: str = ""


class _Result(msgspec.Struct, frozen=True):
    interfaces: tuple[_Interface, ...] = ()


class _Cached(msgspec.Struct, frozen=True, rename="camel"):
    container_id: str
    if_name: str
    network_name: str
    cni_args: tuple[tuple[str, str], ...] | None = None
    capability_args: dict[str, Any] | None = None
    result: _Result = _Result()


def results(directory: str = CACHE_DIRECTORY) -> Iterator[Added]:
    """Give all that is remembered; what cannot be read is somebody's who writes it otherwise."""
    place = os.path.join(directory, "results")
    try:
        names = sorted(os.listdir(place))
    except FileNotFoundError:
        return
    for name in names:
        try:
            yield _added(msgspec.json.decode(_read(place, name), type=_Cached))
        except (OSError, ValueError):
            continue


def _read(place: str, name: str) -> bytes:
    return read_file(os.path.join(place, name), _MOST_BYTES)


def _added(cached: _Cached) -> Added:
    args = dict(cached.cni_args or ())
    capabilities = cached.capability_args or {}
    pod = Pod(
        args.get("K8S_POD_NAMESPACE", ""),
        args.get("K8S_POD_NAME", ""),
        args.get("K8S_POD_UID", ""),
        _annotations(capabilities),
    )
    paths = frozenset(one.sandbox for one in cached.result.interfaces if one.sandbox)
    return Added(
        cached.container_id,
        cached.if_name,
        cached.network_name,
        paths,
        pod,
        _resolvers(capabilities),
    )


def _annotations(capabilities: Mapping[str, Any]) -> dict[str, str] | None:
    if ANNOTATIONS not in capabilities:
        return None
    return msgspec.convert(capabilities[ANNOTATIONS] or {}, dict[str, str])


def _resolvers(capabilities: Mapping[str, Any]) -> tuple[str, ...]:
    dns = capabilities.get("dns")
    servers = (dns.get("Servers") or dns.get("servers")) if isinstance(dns, dict) else None
    return msgspec.convert(servers or (), tuple[str, ...])
