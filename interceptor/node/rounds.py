"""The agent's rounds: at each interval it looks over the pods of the node, and mends if told to.

Each round is a process of its own, ``interceptor cni pods``: to enter a namespace moves a thread
there, and a node with many pods must not keep the agent from putting its entry back.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

import msgspec

from interceptor.errors import InterceptorError
from interceptor.system.command import run
from interceptor.system.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from interceptor.node.metrics import Metrics

_LONGEST_S = 600.0


class _Pod(msgspec.Struct, frozen=True):
    state: str
    repaired: bool
    pod: str
    namespace: str
    netns: str
    why: str

    @property
    def is_wrong(self) -> bool:
        return self.state in ("drifted", "missed")

    def __str__(self) -> str:
        whose = f"pod {self.namespace}/{self.pod}" if self.pod else self.netns
        return f"{whose} is {self.state}: {self.why}"


class _Answer(msgspec.Struct, frozen=True):
    pods: tuple[_Pod, ...]


class Rounds:
    """Goes round after round until it is told to end.

    Args:
        options: of ``interceptor cni pods``.
        interval_s: seconds between two rounds.
        metrics: told what each round finds.
        say: takes a line for a person.
    """

    def __init__(
        self,
        options: Sequence[str],
        interval_s: float,
        metrics: Metrics,
        say: Callable[[str], None],
    ) -> None:
        self._options = tuple(options)
        self._interval_s = interval_s
        self._metrics = metrics
        self._say = say
        self._said: set[str] = set()

    def start(self, stop: threading.Event) -> None:
        """Begin, in a thread that ends with this process."""
        threading.Thread(target=self._run, args=(stop,), daemon=True, name="rounds").start()

    def _run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self.go()
            stop.wait(self._interval_s)

    def go(self) -> None:
        """Make one round, and tell what it found."""
        argv = [sys.executable, "-m", "interceptor", "cni", "pods", "--output", "json"]
        try:
            outcome = run([*argv, *self._options], Deadline(_LONGEST_S))
            pods = msgspec.json.decode(outcome.stdout, type=_Answer).pods
        except InterceptorError as error:
            self._tell({f"pods were not looked at: {error.message}"})
            return
        except msgspec.DecodeError:
            # It says in two lines why.
            self._tell({f"pods were not looked at: {' '.join(outcome.stderr.split())}"})
            return
        self._metrics.pods([(one.state, one.repaired) for one in pods])
        self._tell({str(one) for one in pods if one.is_wrong and not one.repaired})
        for one in pods:
            if one.repaired:
                self._say(f"repaired: {one}")

    def _tell(self, lines: set[str]) -> None:
        """Say what was not said after the last round."""
        for line in sorted(lines - self._said):
            self._say(f"note: {line}")
        self._said = lines
