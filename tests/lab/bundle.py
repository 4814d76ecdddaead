"""The bundle, laid down, and hosts on which there is nothing else."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, NamedTuple

from interceptor.node.bundle import inspect, lay
from interceptor.node.bundle.launcher import HOME, NAME
from interceptor.node.bundle.launcher import python as python_of
from interceptor.system.deadline import Deadline

if TYPE_CHECKING:
    from pathlib import Path

_ONLY_THIS = """
root=$1; shift
for name in proc run sys; do
  [ ! -d "$root/$name" ] || mount --rbind "/$name" "$root/$name"
done
mount --bind "$1" "$root/opt/cni/bin"; shift
mount -o remount,ro,bind "$root/opt/cni/bin"
exec chroot "$root" "$@"
"""


class Bundle(NamedTuple):
    """A directory of CNI plugins with a bundle in it."""

    directory: Path

    @property
    def plugin(self) -> str:
        return str(self.directory / NAME)

    @property
    def home(self) -> Path:
        return self.directory / HOME

    @property
    def tree(self) -> Path:
        return self.home / inspect(str(self.directory)).digest

    @property
    def loader(self) -> str:
        (found,) = self.tree.glob("lib/ld-linux*")
        return str(found.relative_to(self.tree))

    def python(self, code: str) -> str:
        """Run code by the bundle's own Python and give what it prints."""
        return subprocess.run(
            python_of(str(self.tree), self.loader, "-c", code),
            env={},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout

    def version(self, **environment: str) -> str:
        """Ask the plugin for the versions of CNI it speaks."""
        done = subprocess.run(
            [self.plugin],
            input="{}",
            env={"CNI_COMMAND": "VERSION", **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return f"{done.returncode} {done.stdout}{done.stderr}"


def new_bundle(directory: Path, *, kubernetes: bool = False) -> Bundle:
    """Lay the bundle of this installation down."""
    assert lay(str(directory), Deadline(60), kubernetes=kubernetes)
    return Bundle(directory)


class BareHost:
    """A host with a kernel, and with nothing else but a directory of CNI plugins, read-only.

    No shell, no C library, no /etc, no /dev, and /sys only where it is one of ``more`` to bind.
    ``state`` is one of its directories.
    """

    def __init__(self, root: Path, bundle: Bundle, *more: str) -> None:
        self.root = root
        self.bundle = bundle
        for name in ("opt/cni/bin", "proc", "run", "state", *more):
            (root / name).mkdir(parents=True)
        self.state = root / "state"

    @property
    def prefix(self) -> tuple[str, ...]:
        """The words before a command, whose path is one on that host."""
        script = ("sh", "-eu", "-c", _ONLY_THIS, "sh")
        return ("unshare", "--mount", *script, str(self.root), str(self.bundle.directory))

    @property
    def plugin(self) -> tuple[str, ...]:
        """The words that call the plugin there; what prepares the host needs a PATH."""
        return ("env", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", *self.prefix, f"/opt/cni/bin/{NAME}")


def answers(bundle: Bundle) -> bool:
    return bundle.version().startswith('0 {"cniVersion"')


def seen(directory: Path) -> dict[str, tuple[int, int, int]]:
    """Give what every write would change."""
    paths = [directory, *directory.rglob("*")]
    return {str(p): (s.st_ino, s.st_mtime_ns, s.st_ctime_ns) for p in paths for s in [p.lstat()]}
