"""A chain run by the CNI project's own library, which keeps results and calls CHECK."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.lab.paths import Done

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.lab.netns import Namespace

_SOURCE = Path(__file__).with_name("libcni") / "main.go"


def build(directory: Path) -> Path:
    """Compile the driver with Debian's compiler and library."""
    program = directory / "libcni"
    subprocess.run(
        ["/usr/bin/go", "build", "-o", program, _SOURCE],
        check=True,
        timeout=100,
        env={
            "PATH": "/usr/bin:/bin",
            "GOPATH": "/usr/share/gocode",
            "GO111MODULE": "off",
            "GOCACHE": str(directory / "cache"),
            "CGO_ENABLED": "0",
        },
    )
    return program


class Libcni:
    """A runtime's view of one chain; its host is a namespace."""

    def __init__(self, program: Path, directory: Path, bin_dir: Path, host: Namespace) -> None:
        self._program = program
        self._host = host
        self.cache = directory / "cache"
        self.conflist = directory / "mesh.conflist"
        self._environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "CNI_PATH": str(bin_dir),
            "CNI_CACHE": str(self.cache),
            "CNI_IFNAME": "eth0",
        }

    def __call__(
        self,
        verb: str,
        container: str,
        netns: str,
        *,
        capabilities: Mapping[str, Any] | None = None,
        arguments: str = "",
    ) -> Done:
        """Run a verb of the chain: validate, add, check or del."""
        environment = {
            **self._environment,
            "CAP_ARGS": json.dumps(capabilities or {}),
            "CNI_ARGS": arguments,
        }
        with self._host:
            done = subprocess.run(
                [self._program, verb, self.conflist, container, netns],
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
                env=environment,
            )
        return Done(done.returncode, done.stdout, done.stderr)
