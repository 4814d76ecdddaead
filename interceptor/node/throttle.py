"""Keeps two writers of one file from rewriting it for ever at full speed."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_FREE, _WITHIN_S, _REST_S = 5, 30.0, 5.0


class Throttle:
    """Lets a few turns in a short time pass, and then one in five seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._turns: deque[float] = deque(maxlen=_FREE)

    def turn(self) -> None:
        """Count a turn."""
        self._turns.append(self._clock())

    @property
    def rest_s(self) -> float:
        """Seconds to wait before the next turn."""
        now = self._clock()
        if len(self._turns) < _FREE or now - self._turns[0] > _WITHIN_S:
            return 0.0
        return max(self._turns[-1] + _REST_S - now, 0.0)
