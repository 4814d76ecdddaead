"""What the agent knows of the node, as its web server tells it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from interceptor.system.web import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from interceptor.node.metrics import Metrics

_STUCK_AFTER = 4
"""Intervals without a look at anything."""


class State(msgspec.Struct, frozen=True):
    """What the last look found: ``reason`` is why not all is in order, ``""`` if it is.

    ``at`` is of the monotonic clock, in seconds.
    """

    reason: str
    at: float


class Health:
    """Answers for probes; one thread sets it, others read it.

    Args:
        interval_s: seconds from one look to the next, at most.
    """

    def __init__(self, interval_s: float) -> None:
        self._longest_s = _STUCK_AFTER * interval_s
        self._state = State("it has not been looked at yet", time.monotonic())

    def set(self, reason: str) -> None:
        """Say what a look at the node has found."""
        self._state = State(reason, time.monotonic())

    @property
    def reason(self) -> str:
        """Why not all is in order."""
        return self._state.reason

    def order(self) -> Answer:
        """Say whether the plugin is installed and in order."""
        reason = self._state.reason
        if reason:
            return Answer(503, f"{reason}\n".encode())
        return Answer(200, b"installed and in order\n")

    def alive(self) -> Answer:
        """Say whether somebody still looks, whatever is found."""
        since_s = time.monotonic() - self._state.at
        if since_s > self._longest_s:
            return Answer(503, f"nothing was looked at for {since_s:.0f} seconds\n".encode())
        return Answer(200, b"alive\n")

    def routes(self, metrics: Metrics) -> Mapping[str, Callable[[], Answer]]:
        """Give the paths a web server serves."""
        return {
            "/healthz": self.order,
            "/readyz": self.order,
            "/livez": self.alive,
            "/metrics": metrics.answer,
        }
