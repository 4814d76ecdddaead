"""A run of ``interceptor trace`` and what it says."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import TYPE_CHECKING, Any, Self

from tests.lab.paths import PROGRAM

if TYPE_CHECKING:
    from tests.lab.netns import Namespace


class Tracer:
    """A run of the program; made, it traces."""

    def __init__(
        self,
        namespace: Namespace,
        *options: str,
        output: str = "json",
        prefix: tuple[str, ...] = (),
    ) -> None:
        self.process = subprocess.Popen(
            [*prefix, PROGRAM, "trace", *options, "--output", output, "--netns", namespace.path],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )
        assert self.process.stderr
        self.begun = self.process.stderr.readline()

    def line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline()

    def next(self) -> dict[str, Any]:
        """Give the next decision."""
        return dict(json.loads(self.line()))

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self, number: int | None = signal.SIGTERM) -> tuple[int, str, str]:
        """Have it end; give its exit code and what it said since."""
        if number is not None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()
