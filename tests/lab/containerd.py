"""A containerd in a directory of its own, and what a kubelet says to it, over CRI."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc

from tests.lab import image
from tests.lab.leftovers import cgroup, remove_cgroup, unmount, unmount_below
from tests.lab.waiting import becomes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.lab.netns import Namespace

_messages, _services = grpc.protos_and_services("tests/lab/cri.proto")

_CONFIG = """\
version = 2
root = "{directory}/root"
state = "{directory}/state"
[grpc]
address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{image}"
disable_tcp_service = true
stream_server_address = "127.0.0.1"
disable_apparmor = true
# Root need not have what lowering a score takes.
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{bin_dir}"
conf_dir = "{conf_dir}"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
BinaryName = "/usr/sbin/runc"
SystemdCgroup = false
"""

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


class Containerd:
    """One daemon; what it keeps is in its directory, and it listens there."""

    def __init__(
        self, directory: Path, *, conf_dir: Path, bin_dir: Path, namespace: Namespace | None = None
    ) -> None:
        self.directory = directory
        self.socket = directory / "containerd.sock"
        self.log = directory / "containerd.log"
        self._inside = namespace or nullcontext()
        self._cgroup = cgroup()
        self._config = directory / "config.toml"
        self._config.write_text(
            _CONFIG.format(
                directory=directory,
                socket=self.socket,
                image=image.NAME,
                conf_dir=conf_dir,
                bin_dir=bin_dir,
            )
        )
        self._archive = image.save(directory)
        self._process = self._start()
        self._cri = self.cri()

    def _start(self) -> subprocess.Popen[bytes]:
        with self._inside, self.log.open("ab") as log:
            return subprocess.Popen(
                ["/usr/bin/containerd", "--config", self._config],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    def cri(self) -> Cri:
        """Call it; whoever does hangs up."""
        return Cri(self.socket, self._cgroup)

    def prepare(self) -> None:
        """Wait until it answers, and bring it the image."""
        assert self._cri.conditions()["RuntimeReady"], self.log.read_text()
        subprocess.run(
            ["/usr/bin/ctr", "-a", self.socket, "-n", "k8s.io", "images", "import", self._archive],
            check=True,
            capture_output=True,
            timeout=60,
        )

    def restart(self) -> None:
        """End the daemon and start it again; pods run on meanwhile."""
        self._end()
        self._process = self._start()
        assert self._cri.conditions()["RuntimeReady"], self.log.read_text()

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """Take away all pods, the daemon, and what either left."""
        paths: list[str] = []
        with suppress(CriError):
            ids = self._cri.sandboxes()
            with ThreadPoolExecutor(4) as pool:
                paths = [path for path in pool.map(self._remove, ids) if path]
        self._cri.close()
        self._end()
        for pid in self._shims():
            _kill(*_children(pid), pid)
        unmount_below(self.directory)
        for path in filter(os.path.ismount, paths):
            unmount(path)
        for path in paths:
            Path(path).unlink(missing_ok=True)
        remove_cgroup(self._cgroup)

    def _remove(self, sandbox: str) -> str:
        """Remove a pod whatever state it is in; give the path of its namespace."""
        path = ""
        with suppress(CriError):
            path = self._cri.status(sandbox).netns
        with suppress(CriError):
            self._cri.remove(sandbox)
        return path

    def _shims(self) -> list[int]:
        return [pid for pid, words in _processes() if os.fsencode(self.socket) in words]


def _processes() -> Iterator[tuple[int, list[bytes]]]:
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            yield int(process.name), (process / "cmdline").read_bytes().split(b"\0")


def _children(pid: int) -> list[int]:
    found = []
    for threads in Path("/proc", str(pid), "task").glob("*/children"):
        with suppress(OSError):
            found += [int(child) for child in threads.read_text().split()]
    return found


def _kill(*pids: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    becomes(lambda: not any(Path("/proc", str(pid)).exists() for pid in pids))


@contextmanager
def containerd(
    directory: Path, *, conf_dir: Path, bin_dir: Path, namespace: Namespace | None = None
) -> Iterator[Containerd]:
    """Have a containerd for a while; in a namespace, bridges and rules stay out of the host."""
    made = Containerd(directory, conf_dir=conf_dir, bin_dir=bin_dir, namespace=namespace)
    try:
        made.prepare()
        yield made
    finally:
        made.close()
