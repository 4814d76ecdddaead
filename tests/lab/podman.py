"""A podman whose storage, state and networks are in a directory of its own; CNI is its backend."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.lab import image
from tests.lab.leftovers import cgroup, remove_cgroup, unmount_below
from tests.lab.paths import Done
from tests.lab.waiting import becomes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.netns import Namespace

_CONTAINERS = """\
[containers]
# Root need not be allowed to raise limits.
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
log_driver = "none"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
# Those in memory would be shared with other podmans.
lock_type = "file"
# What holds a pod's namespaces; podman would build one.
infra_image = "{image}"
# Where the clean-up that its monitors start looks for it, below the storage.
static_dir = "{directory}/storage/libpod"
tmp_dir = "{directory}/tmp"
volume_path = "{directory}/volumes"
[network]
network_backend = "cni"
cni_plugin_dirs = ["{bin_dir}"]
network_config_dir = "{conf_dir}"
default_network = "{network}"
"""
_STORAGE = """\
[storage]
driver = "overlay"
graphroot = "{directory}/storage"
# The clean-up that monitors start takes no longer one than 50 characters.
runroot = "{run}"
"""


class Container(NamedTuple):
    """One that runs."""

    id: str
    pid: int
    ip: str

    @property
    def netns(self) -> str:
        return f"/proc/{self.pid}/ns/net"


class Podman:
    """Each call is a process in the namespace, which so is podman's host."""

    def __init__(
        self, directory: Path, *, conf_dir: Path, bin_dir: Path, network: str, namespace: Namespace
    ) -> None:
        self.directory = directory
        self._namespace = namespace
        self._run = Path(tempfile.mkdtemp(prefix="iv-podman-", dir="/run"))
        places = {
            "directory": directory,
            "run": self._run,
            "bin_dir": bin_dir,
            "conf_dir": conf_dir,
            "network": network,
            "image": image.NAME,
        }
        for name, text in (("containers.conf", _CONTAINERS), ("storage.conf", _STORAGE)):
            (directory / name).write_text(text.format(**places))
        self._cgroup = cgroup()
        self._environment = {
            **os.environ,
            "CONTAINERS_CONF": str(directory / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(directory / "storage.conf"),
        }

    def __call__(self, *arguments: str, longest_s: float = 60) -> Done:
        """Run a command of podman."""
        with self._namespace:
            done = subprocess.run(
                ["/usr/bin/podman", *arguments],
                capture_output=True,
                text=True,
                check=False,
                timeout=longest_s,
                env=self._environment,
                stdin=subprocess.DEVNULL,
            )
        return Done(done.returncode, done.stdout, done.stderr)

    def well(self, *arguments: str) -> str:
        """Run a command that has to succeed and give what it prints."""
        done = self(*arguments)
        assert done.code == 0, done
        return done.stdout.strip()

    def prepare(self) -> None:
        """Bring it the image."""
        self.well("load", "--quiet", "--input", str(image.save(self.directory)))

    def start(self, network: str, *command: str, flags: tuple[str, ...] = ()) -> Container:
        """Start a container on a network."""
        mine = ("--cgroup-parent", self._cgroup, "--network", network)
        started = self.well("run", "--detach", *mine, *flags, image.NAME, *command)
        [inspected] = json.loads(self.well("inspect", started))
        attached = inspected["NetworkSettings"]["Networks"][network]
        return Container(started, inspected["State"]["Pid"], attached["IPAddress"])

    def remove(self, container: Container) -> None:
        """Take a container away; its first process need not agree."""
        self.well("rm", "--force", "--time", "0", container.id)

    def containers(self) -> list[str]:
        """Give the ids of all containers, whatever their state."""
        return self.well("ps", "--all", "--quiet").split()

    def clear(self) -> None:
        """Take all containers away."""
        self("rm", "--all", "--force", "--time", "0")

    def close(self) -> None:
        """Take everything away."""
        self.clear()
        for directory in (self.directory, self._run):
            unmount_below(directory)
        shutil.rmtree(self._run, ignore_errors=True)
        # The one of its monitors is not empty until the last has ended.
        becomes(lambda: remove_cgroup(self._cgroup))


@contextmanager
def podman(
    directory: Path, *, conf_dir: Path, bin_dir: Path, network: str, namespace: Namespace
) -> Iterator[Podman]:
    """Have a podman for a while."""
    made = Podman(
        directory, conf_dir=conf_dir, bin_dir=bin_dir, network=network, namespace=namespace
    )
    try:
        made.prepare()
        yield made
    finally:
        made.close()
