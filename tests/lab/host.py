"""A host with other tools in /usr/sbin: fewer, failing, slow, or watched ones."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab.paths import PROGRAM, Done, interceptor

if TYPE_CHECKING:
    from collections.abc import Iterable

SBIN = Path("/usr/sbin")
TOOLS = (
    "nft",
    *(
        f"{family}-{variant}-{operation}"
        for family in ("iptables", "ip6tables")
        for variant in ("nft", "legacy")
        for operation in ("save", "restore")
    ),
)


class Host:
    """A directory that takes the place of /usr/sbin for whatever is run on this host.

    The program looks there before it looks anywhere in PATH, so a test that wants other tools
    binds a directory over it, in a mount namespace of the process alone.
    """

    def __init__(self, directory: Path, tools: Iterable[str] = TOOLS) -> None:
        self.sbin = directory / "sbin"
        self.real = directory / "real"
        for made in (self.sbin, self.real):
            made.mkdir()
        for tool in tools:
            self.add(tool, tool)

    def add(self, tool: str, name: str) -> None:
        """Put one of the real tools there, under a name."""
        shutil.copy2(SBIN / tool, self.sbin / name)

    def replace(self, tool: str, script: str) -> None:
        """Put a shell script in a tool's place; ``$real`` is the tool itself."""
        (self.sbin / tool).rename(self.real / tool)
        (self.sbin / tool).write_text(f"#!/bin/sh\nreal={self.real / tool}\n{script}\n")
        (self.sbin / tool).chmod(0o755)

    @property
    def prefix(self) -> tuple[str, ...]:
        """What to put before a command to run it here."""
        mount = f'mount --bind {self.sbin} /usr/sbin && exec "$@"'
        return ("/usr/bin/unshare", "--mount", "/bin/sh", "-c", mount, "sh")

    def interceptor(self, *arguments: str) -> Done:
        """Run the program here."""
        return interceptor(*arguments, prefix=self.prefix)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start the program here and do not wait for it; the process is the program's own."""
        return subprocess.Popen(
            # Where this suite runs in the background, interrupts are ignored from birth.
            ["/usr/bin/env", "--default-signal=INT", *self.prefix, PROGRAM, *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
