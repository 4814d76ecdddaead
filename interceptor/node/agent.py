"""Keeps the installation as it is wanted: looks at once when files change, and now and then."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from interceptor.errors import HostError, InterceptorError
from interceptor.node.throttle import Throttle

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Iterator

    from interceptor.node.health import Health
    from interceptor.node.metrics import Metrics
    from interceptor.node.splice import Spliced

_TICK_S = 1.0
"""How long a directory that was removed and made again may go unwatched."""
_STEP_MS, _DEBOUNCE_MS = 20, 200
"""Another's write is often several events; they are waited for, but not for long."""

_FIGHT = (
    "another program takes our entry out again and again; from now on it is put in every few "
    "seconds only. With Cilium, set cni.exclusive=false"
)


def need_packages() -> None:
    """See that what an agent needs beside is there.

    Raises:
        HostError: it is not.
    """
    try:
        import prometheus_client  # noqa: F401 - only to see whether it can be
        import watchfiles  # noqa: F401
    except ImportError as error:
        raise HostError(
            f"--watch needs {error.name}, which is not installed",
            hint="run pip install 'interceptor[node]'",
        ) from None


class Agent:
    """Runs until it is told to end.

    Args:
        install: brings the node to what is wanted; called again and again, with whether it is to
            look at the program as well, which takes longer.
        directories: whose files decide what there is to do; those of the first say nothing of the
            program.
        interval_s: seconds after which it looks even if nothing seems to have changed.
        health: told what each look finds.
        metrics: likewise.
        say: takes a line for a person.
    """

    def __init__(
        self,
        install: Callable[[bool], Spliced],
        directories: Iterable[str],
        interval_s: float,
        health: Health,
        metrics: Metrics,
        say: Callable[[str], None],
    ) -> None:
        self._install = install
        self._directories = tuple(directories)
        self._interval_s = interval_s
        self._health = health
        self._metrics = metrics
        self._say = say
        self._throttle = Throttle()
        self._was_installed = False
        self._notes: tuple[str, ...] = ()
        self._in_fight = False
        self.insertions = 0

    def run(self, stop: threading.Event) -> None:
        """Look at once, and then whenever there may be something to do."""
        self.look()
        for program in self._occasions(stop):
            self._rest(stop)
            if stop.is_set():
                return
            self.look(program=program or bool(self._health.reason))

    def look(self, *, program: bool = True) -> None:
        """Bring the node to what is wanted, and tell how that went."""
        try:
            done = self._install(program)
        except InterceptorError as error:
            if self._health.reason != error.message:
                self._say(f"error: {error.message}")
                self._say(f"hint: {error.hint}")
            self._health.set(error.message)
            self._metrics.looked(in_order=False)
            return
        if done.inserted and self._was_installed:
            self.insertions += 1
            self._throttle.turn()
            self._metrics.inserted()
        if done.changed or self._health.reason:
            self._say(f"{'installed' if done.changed else 'in order'}: {done.name}")
        for note in done.notes:
            if note not in self._notes:
                self._say(f"note: {note}")
        self._notes = done.notes
        self._was_installed = True
        self._health.set("")
        self._metrics.looked(in_order=True)

    def _rest(self, stop: threading.Event) -> None:
        """Wait if there is a fight with another writer."""
        rest_s = self._throttle.rest_s
        if not rest_s:
            self._in_fight = False
            return
        if not self._in_fight:
            self._say(f"note: {_FIGHT}")
            self._in_fight = True
        stop.wait(rest_s)

    def _occasions(self, stop: threading.Event) -> Iterator[bool]:
        """Come back whenever a file changed, and after each interval.

        What is given is whether that may be about the program.
        """
        last = time.monotonic()
        can_watch = True
        while not stop.is_set():
            watched = _identities(self._directories)
            is_new = True
            try:
                for changed in self._changes(stop):
                    # The first time also for what changed before the watch was there.
                    is_time = is_new or time.monotonic() - last >= self._interval_s
                    if is_time:
                        last = time.monotonic()
                    if is_time or changed:
                        yield is_time or any(map(self._is_elsewhere, changed))
                    is_new, can_watch = False, True
                    if _identities(self._directories) != watched:
                        break
            except OSError as error:
                if can_watch:
                    self._say(f"note: files are looked at every second: no watch: {error}")
                can_watch = False
                stop.wait(_TICK_S)
                is_time = time.monotonic() - last >= self._interval_s
                if is_time:
                    last = time.monotonic()
                yield is_time

    def _is_elsewhere(self, path: str) -> bool:
        return os.path.dirname(path) != self._directories[0]

    def _changes(self, stop: threading.Event) -> Iterator[set[str]]:
        """Give the paths that changed, after each change and after each tick."""
        import watchfiles

        there = [path for path in self._directories if os.path.isdir(path)]
        if not there:
            raise FileNotFoundError(2, "none of the directories is there")
        for changes in watchfiles.watch(
            *there,
            watch_filter=None,
            stop_event=stop,
            debounce=_DEBOUNCE_MS,
            step=_STEP_MS,
            rust_timeout=int(_TICK_S * 1000),
            yield_on_timeout=True,
            recursive=False,
        ):
            yield {path for _, path in changes}


def _identities(directories: Iterable[str]) -> list[tuple[int, int] | None]:
    """Tell directories apart from others made later at the same path."""
    return [
        (found.st_dev, found.st_ino) if (found := _stat(path)) else None for path in directories
    ]


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None
