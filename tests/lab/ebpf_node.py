"""A node whose BPF programs, maps and records are a test's own.

A process holds a mount namespace with another bpffs at ``/sys/fs/bpf`` and another
``/run/interceptor``; what is called there uses these at the usual paths. When that process ends,
also because the suite was killed, the kernel lets go of every pin, and so of every program.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interceptor.backends.ebpf import PIN_ROOT, RECORDS
from interceptor.backends.ebpf.layout import LAYOUT
from tests.lab.ebpf import Lab
from tests.lab.paths import Done, interceptor
from tests.lab.plugin import PLUGIN, Network

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.netns import Namespace

_RUN = "/run/interceptor"
_OURS = f"""
mount -t bpf -o mode=0700 bpf /sys/fs/bpf
mkdir -p {_RUN}
mount -t tmpfs -o mode=0700 tmpfs {_RUN}
echo ready
exec cat
"""
_NSENTER = shutil.which("nsenter") or "/usr/bin/nsenter"


class EbpfNode:
    """Where the plugin is called; ``root`` is its root as it is seen from here."""

    def __init__(self, process: int) -> None:
        self.root = f"/proc/{process}/root"
        # Not the working directory's, nor the root's: they stay what they are.
        self.prefix = (_NSENTER, f"--mount=/proc/{process}/ns/mnt")

    def network(self, state: Path, **own: Any) -> Network:
        """Give a network whose pods are intercepted at sockets, unless ``own`` says otherwise."""
        own = {"settings": {"backend": "ebpf"}, **own}
        return Network(state, program=(*self.prefix, PLUGIN), **own)

    def call(
        self, *arguments: str, namespace: Namespace | None = None, prefix: tuple[str, ...] = ()
    ) -> Done:
        """Run the program there, by ``--netns`` in a namespace if one is given."""
        return interceptor(*arguments, namespace=namespace, prefix=(*self.prefix, *prefix))

    def done_well(self, *arguments: str, namespace: Namespace) -> Done:
        """Run the program there and expect exit code 0."""
        done = self.call(*arguments, namespace=namespace)
        assert done.code == 0, done
        return done

    @property
    def pins(self) -> Path:
        """The set of this version, one of those there may be."""
        return self.all_pins / str(LAYOUT)

    @property
    def all_pins(self) -> Path:
        return Path(self.root + PIN_ROOT)

    @property
    def pods(self) -> list[int]:
        """Name the namespaces that have a link of their own, by cookie."""
        there = self.pins / "pods"
        return sorted(int(path.name) for path in there.iterdir()) if there.exists() else []

    @property
    def directory(self) -> Path:
        """Where the records are."""
        return Path(self.root + RECORDS)

    @property
    def records(self) -> list[int]:
        there = self.directory
        return sorted(int(path.stem) for path in there.iterdir()) if there.exists() else []

    @contextmanager
    def machine(self) -> Iterator[Lab]:
        """Open the programs and maps there from here."""
        with Lab.at(str(self.all_pins)) as made:
            yield made


@contextmanager
def ebpf_node() -> Iterator[EbpfNode]:
    """Have such a node for a while; nothing of it is left, whatever happened."""
    # As a slave it sees namespaces that are made later, and keeps none that is gone.
    argv = ["/usr/bin/unshare", "--mount", "--propagation", "slave", "/bin/sh", "-euc", _OURS]
    with (
        subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder,
        ExitStack() as stack,
    ):
        assert holder.stdin is not None
        assert holder.stdout is not None
        stack.callback(holder.stdin.close)
        assert holder.stdout.readline() == b"ready\n"
        made = EbpfNode(holder.pid)
        stack.callback(_unload, made)
        yield made


def _unload(node: EbpfNode) -> None:
    with node.machine() as machine:
        machine.unload(even_if_used=True)
        assert not os.path.exists(machine.root)
