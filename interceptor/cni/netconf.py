"""What a runtime gives on stdin: the network configuration, and in it our own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from interceptor.cni.protocol import CniError, Code, check_network, check_version
from interceptor.cni.selector import DEFAULT_SELECTOR

if TYPE_CHECKING:
    from interceptor.cni.protocol import Call

STATE_DIRECTORY = "/run/interceptor/cni"
ANNOTATIONS = "io.kubernetes.cri.pod-annotations"
"""The capability by which containerd (since 1.5) and CRI-O (since 1.29) pass annotations."""


class Lookup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to ask the API server for a pod.

    ``kubeconfig`` is a path on the node, ``timeout`` seconds for all of it. It is asked where the
    runtime passes no annotations; with ``always`` each time, for what annotations do not say.
    """

    kubeconfig: str
    timeout: float = 5.0
    always: bool = False


class PluginConf(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The object ``interceptor`` of our entry; all of it may be left out.

    ``settings`` are defaults for all pods, with the keys of a configuration file. ``ready_file``
    is what must be there before a meshed pod may start; the directory of it is gone at a reboot.
    """

    settings: dict[str, Any] = {}
    selector: tuple[str, ...] = DEFAULT_SELECTOR
    exclude_namespaces: tuple[str, ...] = ()
    state_dir: str = STATE_DIRECTORY
    log_file: str = ""
    log_max_bytes: int = 10 << 20
    ready_file: str = ""
    lookup: Lookup | None = None


class Dns(msgspec.Struct, frozen=True, rename={"servers": "Servers"}):
    """The capability ``dns``, as containerd passes it; Go's JSON does not mind the case."""

    servers: tuple[str, ...] = ()


class ValidAttachment(msgspec.Struct, frozen=True, rename={"container_id": "containerID"}):
    """One of those GC leaves."""

    container_id: str
    ifname: str


class NetConf(msgspec.Struct, frozen=True, kw_only=True):
    """A network configuration; what is not ours is not looked at, and passed on as it came.

    ``prev_result`` holds the very bytes. ``annotations`` is ``None`` where the runtime passes
    none at all, which is not the same as a pod without any.
    """

    version: str
    name: str
    plugin: PluginConf = PluginConf()
    prev_result: bytes = b""
    annotations: dict[str, str] | None = None
    resolvers: tuple[str, ...] = ()
    valid: tuple[ValidAttachment, ...] | None = None


class _Document(msgspec.Struct, frozen=True):
    """The fields by their names in JSON."""

    # Go reads null as nothing.
    version: str | None = msgspec.field(default=None, name="cniVersion")
    name: str | None = None
    interceptor: msgspec.Raw = msgspec.Raw(b"{}")
    runtime: msgspec.Raw = msgspec.field(default=msgspec.Raw(b"{}"), name="runtimeConfig")
    previous: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="prevResult")
    valid: tuple[ValidAttachment, ...] | None = msgspec.field(
        default=None, name="cni.dev/valid-attachments"
    )


def read(content: bytes, call: Call) -> NetConf:
    """Read a network configuration and check what every verb needs of it.

    The order of the checks, that of the call's names among them, is the reference library's.

    For a verb that takes something away, a mistake in our own part is none: it would keep a pod
    from going.

    Raises:
        CniError: codes 1, 4, 6 and 7.
    """
    try:
        document = msgspec.json.decode(content, type=_Document)
    except msgspec.DecodeError as error:
        raise CniError(Code.DECODING, f"error unmarshall network config: {error}") from None
    version, name = document.version or "", document.name or ""
    check_network(name)
    call.check_names()
    # None is the first one (CNI spec, "Version considerations").
    check_version(version or "0.1.0", call.verb)
    is_removal = call.verb.name in ("DEL", "GC")
    annotations, resolvers = (None, ()) if is_removal else _runtime(_object(document.runtime))
    previous = bytes(document.previous)
    return NetConf(
        version=version,
        name=name,
        plugin=_plugin(_object(document.interceptor), lenient=is_removal),
        prev_result=b"" if previous == b"null" else _with_version(previous, version),
        annotations=annotations,
        resolvers=resolvers,
        valid=document.valid,
    )


def _object(value: msgspec.Raw) -> bytes:
    """Give an object's bytes; to Go, null is an empty one."""
    return b"{}" if bytes(value) == b"null" else bytes(value)


class _Result(msgspec.Struct, frozen=True):
    version: str = msgspec.field(default="", name="cniVersion")


def _with_version(result: bytes, version: str) -> bytes:
    """Give a result as it is; one without a version would be taken for one of CNI 0.1.0."""
    try:
        known = not result or msgspec.json.decode(result, type=_Result).version
    except msgspec.DecodeError as error:
        raise CniError(Code.DECODING, f"could not parse prevResult: {error}") from None
    if known:
        return result
    rest = result.lstrip()[1:].lstrip()
    comma = b"" if rest.startswith(b"}") else b","
    return b'{"cniVersion":"%s"%s%s' % (version.encode(), comma, rest)


def _plugin(content: bytes, *, lenient: bool) -> PluginConf:
    try:
        return msgspec.json.decode(content, type=PluginConf)
    except msgspec.DecodeError as error:
        if not lenient:
            raise CniError(
                Code.CONFIGURATION,
                f"the network configuration's object interceptor: {error}",
                "mend the entry of type interceptor-cni in the CNI configuration",
            ) from None
    said = msgspec.json.decode(content)
    directory = said.get("state_dir") if isinstance(said, dict) else None
    return PluginConf(state_dir=directory if isinstance(directory, str) else STATE_DIRECTORY)


class _Runtime(msgspec.Struct, frozen=True):
    dns: Dns | None = None
    annotations: dict[str, str] | msgspec.UnsetType | None = msgspec.field(
        default=msgspec.UNSET, name=ANNOTATIONS
    )


def _runtime(content: bytes) -> tuple[dict[str, str] | None, tuple[str, ...]]:
    """Give the pod's annotations and its name servers."""
    try:
        said = msgspec.json.decode(content, type=_Runtime)
    except msgspec.DecodeError as error:
        raise CniError(
            Code.CONFIGURATION, f"the network configuration's runtimeConfig: {error}"
        ) from None
    servers = said.dns.servers if said.dns else ()
    if said.annotations is msgspec.UNSET:
        return None, servers
    # Go writes an empty map as null.
    return dict(said.annotations or {}), servers
