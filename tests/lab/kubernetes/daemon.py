"""A server that runs in a namespace, with a log that is shown when it ends of itself."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.lab.netns import Namespace

_END_S = 20
_SHOWN = 3000


def built(name: str) -> str:
    """Give the path of a program that `make test-kubernetes` has built."""
    return str(Path(os.environ["KUBERNETES"], "bin", name))


class Daemon:
    """One process; it can be stopped and started again."""

    def __init__(self, namespace: Namespace, log: Path, *argv: str) -> None:
        self._namespace = namespace
        self._argv = argv
        self.log = log
        self.start()

    def start(self) -> None:
        """Start it, and do not wait for it to answer."""
        with self._namespace, self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def check(self) -> None:
        """Fail if it has ended."""
        if self._process.poll() is not None:
            tail = self.log.read_text(errors="replace")[-_SHOWN:]
            raise AssertionError(f"{self._argv[0]} ended: {tail}")

    def stop(self) -> None:
        """End it, and wait until it is gone."""
        self._process.terminate()
        try:
            self._process.wait(timeout=_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
