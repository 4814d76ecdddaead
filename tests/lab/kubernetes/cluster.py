"""A cluster, and pods in it as a user sees them."""

from __future__ import annotations

import json
import os
import secrets
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from interceptor.node.bundle import lay
from interceptor.node.network_list import PLUGIN
from interceptor.system.deadline import Deadline
from tests.lab import cni, image
from tests.lab.containerd import Containerd, containerd
from tests.lab.kubernetes.control_plane import ControlPlane, control_plane
from tests.lab.kubernetes.kubelet import NODE, Kubelet, default_cgroup, kubelet
from tests.lab.netns import Namespace, cable, namespaces
from tests.lab.plugin import ANNOTATIONS
from tests.lab.traffic import connect, recorder
from tests.lab.waiting import becomes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NODE_ADDRESS, OUTSIDE = "10.88.0.1", "10.88.0.2"
OUTSIDE_PORT = 9000
APP_PORT = 8080
OUTBOUND_PORT, INBOUND_PORT = 15001, 15006
PROXY_UID = 1337
# A kubelet that has failed to start a pod comes back after 10 to 15 seconds, and an event that
# could not be written is tried again after 10.
_LONG_S = 60


def container(name: str, *args: str, uid: int | None = None, **more: Any) -> dict[str, Any]:
    """Describe a container of the image made here."""
    made: dict[str, Any] = {
        "name": name,
        "image": image.NAME,
        "imagePullPolicy": "Never",
        "args": args,
        **more,
    }
    if uid is not None:
        made["securityContext"] = {"runAsUser": uid, "runAsGroup": uid}
    return made


def app() -> dict[str, Any]:
    """Describe what a mesh's user runs."""
    return container("app", "serve", str(APP_PORT), uid=1000)


def proxies(uid: int = PROXY_UID) -> list[dict[str, Any]]:
    """Describe what stands in for a proxy: somebody answers where each direction goes to."""
    return [
        container("inbound", "serve", str(INBOUND_PORT), uid=uid),
        container("outbound", "serve", str(OUTBOUND_PORT), uid=uid),
    ]


class Cluster:
    """One node with CNI configured, and a namespace of Kubernetes for one run of the tests."""

    def __init__(self, directory: Path, plane: ControlPlane, node: Namespace) -> None:
        self.directory = directory
        self.plane = plane
        self.node = node
        self.namespace = f"iv-{os.getpid()}-{secrets.token_hex(3)}"
        self.state = directory / "state"
        self.log = directory / "interceptor-cni.log"
        self.containerd: Containerd
        self.kubelet: Kubelet
        plane.request("POST", "/api/v1/namespaces", {"metadata": {"name": self.namespace}})

    @property
    def path(self) -> str:
        """Where this namespace's objects are at the API server."""
        return f"/api/v1/namespaces/{self.namespace}"

    def configure(self, *, annotations: bool = True, **settings: Any) -> None:
        """Write the CNI configuration, with the runtime passing annotations or not."""
        entry = cni.entry(state_dir=str(self.state), log_file=str(self.log), **settings)
        if not annotations:
            del entry["capabilities"][ANNOTATIONS]
        conf = cni.conflist(self.directory, entry)
        cni.write(self.directory / "net.d" / "mesh.conflist", conf)

    def reconfigure(self, *, annotations: bool = True, **settings: Any) -> None:
        """Do so while pods run; containerd reads it when it starts."""
        self.configure(annotations=annotations, **settings)
        self.containerd.restart()

    def create(
        self,
        name: str,
        *containers: dict[str, Any],
        annotations: dict[str, str] | None = None,
        labels: dict[str, str] | None = None,
    ) -> None:
        """Create a pod; without containers of its own, one with an app and a proxy."""
        metadata = {"name": name, "annotations": annotations or {}, "labels": labels or {}}
        spec = {
            "nodeName": NODE,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 1,
            "containers": containers or (app(), *proxies()),
        }
        self.plane.request("POST", f"{self.path}/pods", {"metadata": metadata, "spec": spec})

    def annotate(self, name: str, **annotations: str) -> None:
        """Change annotations."""
        body = {"metadata": {"annotations": annotations}}
        self.plane.request("PATCH", f"{self.path}/pods/{name}", body)

    def delete(self, name: str) -> None:
        """Delete a pod, and do not wait until the kubelet, which is told of it, has ended it."""
        self.plane.request("DELETE", f"{self.path}/pods/{name}")

    def pod(self, name: str) -> dict[str, Any]:
        """Give a pod as the API server has it."""
        return self.plane.request("GET", f"{self.path}/pods/{name}")

    def wait_ready(self, name: str) -> None:
        """Wait until all of a pod's containers run."""

        def is_ready() -> bool:
            status = self.pod(name)["status"]
            conditions = {one["type"]: one["status"] for one in status.get("conditions", ())}
            return conditions.get("Ready") == "True"

        assert becomes(is_ready, _LONG_S), (self.pod(name)["status"], self.events(name))

    def events(self, name: str) -> list[str]:
        """Give what the kubelet says of why a pod's sandbox was not made."""
        items = self.plane.request("GET", f"{self.path}/events")["items"]
        return [
            item["message"]
            for item in items
            if item["involvedObject"]["name"] == name
            and item["reason"] == "FailedCreatePodSandBox"
        ]

    def wait_event(self, name: str, *words: str) -> str:
        """Wait for such an event with these words in it."""

        def found() -> list[str]:
            return [text for text in self.events(name) if all(word in text for word in words)]

        assert becomes(lambda: bool(found()), _LONG_S), self.events(name)
        return found()[0]

    def enters(self, name: str) -> int:
        """Connect to a pod's app and give the port of who answers."""
        address = self.pod(name)["status"]["podIP"]
        return int(connect(self.node, address, APP_PORT).get("port", 0))

    def leaves(self, name: str) -> int:
        """Have a pod's app connect to the outside and give the port of who answers."""
        statuses = self.pod(name)["status"]["containerStatuses"]
        [id_] = [one["containerID"] for one in statuses if one["name"] == "app"]
        cri = self.containerd.cri()
        try:
            done = cri.execute(
                id_.removeprefix("containerd://"), image.APP, "call", OUTSIDE, str(OUTSIDE_PORT)
            )
        finally:
            cri.close()
        return int(json.loads(done.stdout)["port"]) if done.code == 0 else 0

    def is_intercepted(self, name: str) -> bool:
        """Whether a proxy is met both ways; it is a fault if only one way, or nobody is met."""
        met = self.enters(name), self.leaves(name)
        assert met in {(INBOUND_PORT, OUTBOUND_PORT), (APP_PORT, OUTSIDE_PORT)}, met
        return met[0] == INBOUND_PORT

    def attachments(self) -> list[dict[str, Any]]:
        """Give what the plugin has written down of pods it intercepts."""
        return [json.loads(path.read_text()) for path in self.state.glob("*")]

    def calls(self, name: str, verb: str = "ADD") -> list[dict[str, Any]]:
        """Give the plugin's log of a pod."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        calls = [json.loads(line) for line in lines]
        return [call for call in calls if call.get("pod") == name and call["verb"] == verb]


@contextmanager
def cluster(directory: Path) -> Iterator[Cluster]:
    """Have a cluster for a while, with a web server outside of it."""
    with ExitStack() as stack:
        node, outside = stack.enter_context(namespaces("node", "outside"))
        cable(node, "eth0", outside, "eth0")
        node.address("eth0", f"{_NODE_ADDRESS}/24")
        outside.address("eth0", f"{OUTSIDE}/24")
        outside.default_route(_NODE_ADDRESS)
        node.forward()
        stack.enter_context(recorder(outside, OUTSIDE_PORT))
        plane = stack.enter_context(control_plane(directory / "plane", node))
        made = Cluster(directory, plane, node)
        made.configure()
        bin_dir = cni.plugins(directory / "bin")
        # As on a node, which has no Python of ours.
        (bin_dir / PLUGIN).unlink()
        lay(str(bin_dir), Deadline(60), kubernetes=True)
        stack.enter_context(default_cgroup())
        runtime = directory / "containerd"
        runtime.mkdir()
        made.containerd = stack.enter_context(
            containerd(runtime, conf_dir=directory / "net.d", bin_dir=bin_dir, namespace=node)
        )
        made.kubelet = stack.enter_context(
            kubelet(
                directory / "kubelet",
                node,
                plane,
                address=_NODE_ADDRESS,
                runtime=made.containerd.socket,
                pod_namespace=made.namespace,
            )
        )
        yield made
