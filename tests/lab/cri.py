"""What a kubelet says to a runtime, over CRI."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc

from tests.lab import image

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_messages, _services = grpc.protos_and_services("tests/lab/cri.proto")
_CALL_S = 60


class CriError(Exception):
    """What the runtime says when it refuses."""


class Sandbox(NamedTuple):
    """A pod's first process and where it is."""

    id: str
    pid: int
    ip: str
    netns: str


class Executed(NamedTuple):
    """What a command in a container left."""

    code: int
    stdout: str
    stderr: str


class Cri:
    """The calls of a kubelet, for pods whose containers are all of the image made here."""

    def __init__(self, socket: Path, cgroup: str) -> None:
        # Ask again soon when it is not up yet.
        impatient = [(f"grpc.{name}_reconnect_backoff_ms", 100) for name in ("min", "max")]
        self._channel = grpc.insecure_channel(
            f"unix://{socket}", [*impatient, ("grpc.initial_reconnect_backoff_ms", 20)]
        )
        self._stub = _services.RuntimeServiceStub(self._channel)
        self._cgroup = cgroup
        self._configs: dict[str, Any] = {}

    def _call(self, method: str, request: Any) -> Any:
        try:
            return getattr(self._stub, method)(request, timeout=_CALL_S, wait_for_ready=True)
        except grpc.RpcError as error:
            # Every error of a call is a grpc.Call too, which its type does not say.
            call: Any = error
            raise CriError(call.details()) from None

    def conditions(self) -> dict[str, bool]:
        """Give what the runtime says of itself: RuntimeReady and NetworkReady."""
        answer = self._call("Status", _messages.StatusRequest())
        return {one.type: one.status for one in answer.status.conditions}

    def run(
        self,
        pod: str,
        *,
        namespace: str = "default",
        annotations: Mapping[str, str] | None = None,
        ports: Mapping[int, int] | None = None,
    ) -> str:
        """Start a pod with nothing in it and give its id; ``ports`` are host's to pod's."""
        config = _messages.SandboxConfig(
            metadata=_messages.SandboxMetadata(
                name=pod, uid=secrets.token_hex(8), namespace=namespace
            ),
            hostname=pod,
            annotations=annotations,
            port_mappings=[
                _messages.PortMapping(host_port=host, container_port=inner)
                for host, inner in (ports or {}).items()
            ],
            linux=_messages.LinuxSandbox(cgroup_parent=self._cgroup),
        )
        answer = self._call("RunPodSandbox", _messages.RunPodSandboxRequest(config=config))
        self._configs[answer.id] = config
        return str(answer.id)

    def status(self, sandbox: str) -> Sandbox:
        """Say where a pod is; its namespace has no path any more once it is stopped."""
        request = _messages.SandboxStatusRequest(id=sandbox, verbose=True)
        answer = self._call("PodSandboxStatus", request)
        info = json.loads(answer.info["info"])
        spaces = info["runtimeSpec"]["linux"]["namespaces"]
        [path] = [space.get("path", "") for space in spaces if space["type"] == "network"]
        return Sandbox(sandbox, info["pid"], answer.status.network.ip, path)

    def stop(self, sandbox: str) -> None:
        """End a pod's processes and take its network away."""
        self._call("StopPodSandbox", _messages.SandboxId(id=sandbox))

    def remove(self, sandbox: str) -> None:
        """Forget a pod, and stop it if it still runs."""
        self._call("RemovePodSandbox", _messages.SandboxId(id=sandbox))

    def sandboxes(self) -> list[str]:
        """Give the ids of all pods, also of those that never came to run."""
        answer = self._call("ListPodSandbox", _messages.Nothing())
        return [item.id for item in answer.items]

    def start(self, sandbox: str, *arguments: str, name: str = "app") -> str:
        """Start a container in a pod and give its id."""
        config = _messages.ContainerConfig(
            metadata=_messages.ContainerMetadata(name=name),
            image=_messages.Image(image=image.NAME),
            args=arguments,
        )
        request = _messages.CreateContainerRequest(
            sandbox_id=sandbox, config=config, sandbox_config=self._configs[sandbox]
        )
        container = self._call("CreateContainer", request).id
        self._call("StartContainer", _messages.ContainerId(id=container))
        return str(container)

    def execute(self, container: str, *command: str) -> Executed:
        """Run a command in a container to its end."""
        request = _messages.ExecSyncRequest(container_id=container, command=command, timeout_s=20)
        answer = self._call("ExecSync", request)
        return Executed(answer.exit_code, answer.stdout.decode(), answer.stderr.decode())

    def close(self) -> None:
        """Hang up."""
        self._channel.close()
