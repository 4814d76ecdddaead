"""One ``--timeout`` for everything a run does."""

from __future__ import annotations

import time

from interceptor.errors import DeadlineError


class Deadline:
    """A moment after which nothing new is begun."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def remaining(self, doing: str) -> float:
        """Give the seconds left.

        Raises:
            DeadlineError: none are left; it says what was being done.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise self.error(doing)
        return left

    @property
    def is_over(self) -> bool:
        """Whether no time is left."""
        return time.monotonic() >= self._end

    def error(self, doing: str) -> DeadlineError:
        """Make the error for time that ran out."""
        return DeadlineError(
            f"{doing}: not done within {self._seconds:g} seconds",
            hint="give more with --timeout, or find what holds it up",
        )
