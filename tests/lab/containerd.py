"""A containerd in a directory of its own, gone afterwards with all it made."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab import image
from tests.lab.cri import Cri, CriError
from tests.lab.leftovers import cgroup, remove_cgroup, unmount, unmount_below
from tests.lab.waiting import becomes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.netns import Namespace

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

_RESULTS = Path("/var/lib/cni/results")
"""Where its CNI library keeps results until DEL; that cannot be configured."""


class Containerd:
    """One daemon; what it keeps is in its directory, and it listens there."""

    def __init__(
        self, directory: Path, *, conf_dir: Path, bin_dir: Path, namespace: Namespace | None = None
    ) -> None:
        self.directory = directory
        # Below /run, since a socket's path may have 104 characters only.
        self._short = tempfile.mkdtemp(prefix="iv-containerd-", dir="/run")
        self.socket = Path(self._short, "s")
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
        assert becomes(self._is_ready), self.log.read_text()
        self.load(self._archive)

    def load(self, archive: Path) -> None:
        """Bring it an image."""
        subprocess.run(
            ["/usr/bin/ctr", "-a", self.socket, "-n", "k8s.io", "images", "import", archive],
            check=True,
            capture_output=True,
            timeout=60,
        )

    def restart(self) -> None:
        """End the daemon and start it again; pods run on meanwhile."""
        self._end()
        self._process = self._start()
        assert becomes(self._is_ready), self.log.read_text()

    def _is_ready(self) -> bool:
        if self._process.poll() is not None:
            raise AssertionError(self.log.read_text())
        # It answers before it is.
        with suppress(CriError):
            return self._cri.conditions()["RuntimeReady"]
        return False

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """Take away all pods, the daemon, and what either left."""
        ids: list[str] = []
        paths: list[str] = []
        if self._process.poll() is not None:
            self._process = self._start()
        with suppress(CriError, AssertionError):
            becomes(self._is_ready)
            ids = self._cri.sandboxes()
            with ThreadPoolExecutor(4) as pool:
                paths = [path for path in pool.map(self._remove, ids) if path]
        self._cri.close()
        self._end()
        for pid in self._shims():
            _kill(*_children(pid), pid)
        # Shims that had to be killed could not take their sockets away.
        for address in self.directory.glob("state/io.containerd.runtime.v2.task/*/*/address"):
            Path(address.read_text().removeprefix("unix://")).unlink(missing_ok=True)
        unmount_below(self.directory)
        for path in filter(os.path.ismount, paths):
            unmount(path)
        results = [file for one in ids for file in _RESULTS.glob(f"*-{one}-*")]
        for left in [*map(Path, paths), *results]:
            left.unlink(missing_ok=True)
        remove_cgroup(self._cgroup)
        shutil.rmtree(self._short)

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
    becomes(lambda: not any(map(_runs, pids)))


def _runs(pid: int) -> bool:
    """Whether it has not ended; the first process may be slow to bury it."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    return False


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
