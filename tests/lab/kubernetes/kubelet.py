"""A kubelet that leaves the host's knobs and directories as they were."""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab.api_server import kubeconfig
from tests.lab.kubernetes.control_plane import URL, ControlPlane
from tests.lab.kubernetes.daemon import Daemon, built
from tests.lab.leftovers import CGROUPS, remove_cgroup, unmount_below

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.netns import Namespace

NODE = "node"
_CGROUP = "/k8s.io"

_KNOBS = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
"""What a kubelet writes below /proc/sys when it starts (pkg/kubelet/cm, setupKernelTunables)."""
_MAY_RUN_LOW = ("memory.available", "nodefs.available", "nodefs.inodesFree", "imagefs.available")
_LOGS = Path("/var/log/pods"), Path("/var/log/containers")
"""Written into its program; in names below there is the pod's namespace."""


def knobs() -> dict[str, str]:
    """Give what they are on this host."""
    return {knob: Path("/proc/sys", knob).read_text().strip() for knob in _KNOBS}


def _with_knobs_of_its_own(directory: Path) -> tuple[str, ...]:
    """Give what to put before a command so that what it writes to the knobs goes into files.

    Nothing has to be put back then, however the tests end.
    """
    binds = []
    for knob, value in knobs().items():
        copy = directory / knob.replace("/", ".")
        copy.write_text(value)
        binds.append(f"mount --bind {copy} /proc/sys/{knob}")
    script = " && ".join([*binds, 'exec "$@"'])
    return ("/usr/bin/unshare", "--mount", "--propagation=slave", "/bin/sh", "-c", script, "sh")


class Kubelet:
    """The agent of the only node."""

    def __init__(
        self,
        directory: Path,
        namespace: Namespace,
        plane: ControlPlane,
        *,
        address: str,
        runtime: Path,
    ) -> None:
        self._directory = directory
        config = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": "127.0.0.1",
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "cgroupDriver": "cgroupfs",
            "cgroupsPerQOS": False,
            "enforceNodeAllocatable": [],
            "failSwapOn": False,
            "makeIPTablesUtilChains": False,
            # Root need not have what other values take.
            "oomScoreAdj": 0,
            "maxOpenFiles": 16384,
            # Its sockets would be in /var/lib/kubelet, whatever --root-dir says.
            "featureGates": {"DevicePlugins": False},
            # However full the host's disk is, nothing is cleared away.
            "imageGCHighThresholdPercent": 100,
            "evictionHard": dict.fromkeys(_MAY_RUN_LOW, "0%"),
        }
        (directory / "config.json").write_text(json.dumps(config))
        access = directory / "kubeconfig"
        kubeconfig(access, URL, {"token": plane.admin_token}, plane.authority)
        self.host_knobs = knobs()
        self._before = {path: path.exists() for path in _LOGS}
        self.daemon = Daemon(
            namespace,
            directory / "kubelet.log",
            *_with_knobs_of_its_own(directory),
            built("kubelet"),
            f"--config={directory / 'config.json'}",
            f"--kubeconfig={access}",
            f"--root-dir={directory / 'root'}",
            f"--cert-dir={directory / 'certificates'}",
            f"--volume-plugin-dir={directory / 'volume-plugins'}",
            "--container-runtime=remote",
            f"--container-runtime-endpoint=unix://{runtime}",
            f"--hostname-override={NODE}",
            f"--node-ip={address}",
        )

    def own_knobs(self) -> dict[str, str]:
        """Give what it has written."""
        return {
            knob: (self._directory / knob.replace("/", ".")).read_text().strip() for knob in _KNOBS
        }

    def close(self, pod_namespace: str) -> None:
        """End it, and take away what it wrote for pods of a namespace."""
        self.daemon.stop()
        unmount_below(self._directory)
        pods, containers = _LOGS
        for made in pods.glob(f"{pod_namespace}_*"):
            shutil.rmtree(made)
        for link in containers.glob(f"*_{pod_namespace}_*"):
            link.unlink()
        for path, was_there in self._before.items():
            if not was_there:
                with suppress(OSError):
                    path.rmdir()


@contextmanager
def default_cgroup() -> Iterator[None]:
    """Take the control group away that pods are in by default, if nobody had it before.

    A kubelet that does not manage control groups leaves the choice to the runtime.
    """
    was_there = any(CGROUPS.glob(f"*{_CGROUP}"))
    try:
        yield
    finally:
        if not was_there:
            remove_cgroup(_CGROUP)


@contextmanager
def kubelet(
    directory: Path,
    namespace: Namespace,
    plane: ControlPlane,
    *,
    address: str,
    runtime: Path,
    pod_namespace: str,
) -> Iterator[Kubelet]:
    """Have one for a while."""
    directory.mkdir()
    made = Kubelet(directory, namespace, plane, address=address, runtime=runtime)
    try:
        yield made
    finally:
        made.close(pod_namespace)
