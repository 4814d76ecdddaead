"""What the agent counts, in Prometheus's text form."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from interceptor import __version__
from interceptor.backends.ebpf import PIN_ROOT
from interceptor.node.decisions import Decisions
from interceptor.system.web import Answer

if TYPE_CHECKING:
    from collections.abc import Iterable

_PREFIX = "interceptor_cni"
POD_STATES = ("intercepted", "drifted", "missed", "left-alone", "unknown")
"""As ``pods.Condition`` has them, which the agent itself need not import."""


class Metrics:
    """The agent's metrics, in a registry of their own.

    Args:
        state_dir: where the plugin keeps a file for each attachment, as this process sees it.
        pin_root: where what decides at sockets is pinned, likewise.
    """

    def __init__(self, state_dir: str, pin_root: str = PIN_ROOT) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge

        self._registry = CollectorRegistry()
        self._installed = Gauge(
            f"{_PREFIX}_installed",
            "1 if the plugin is installed and in order, 0 if not.",
            registry=self._registry,
        )
        self._checked = Gauge(
            f"{_PREFIX}_last_check_timestamp_seconds",
            "When the installation was last looked at.",
            registry=self._registry,
        )
        self._insertions = Counter(
            f"{_PREFIX}_reinsertions",
            "How often the entry had to be put into a network configuration again.",
            registry=self._registry,
        )
        self._failures = Counter(
            f"{_PREFIX}_failures",
            "How often a look at the installation ended in an error.",
            registry=self._registry,
        )
        self._pods = Gauge(
            f"{_PREFIX}_pods",
            "Pods of this node, by what the last round found of them, before mending.",
            ["state"],
            registry=self._registry,
        )
        for state in POD_STATES:
            self._pods.labels(state)
        self._repairs = Counter(
            f"{_PREFIX}_repairs",
            "Pods whose rules were installed again.",
            registry=self._registry,
        )
        attachments = Gauge(
            f"{_PREFIX}_attachments",
            "Pods the plugin has installed rules in.",
            registry=self._registry,
        )
        attachments.set_function(lambda: float(_count(state_dir)))
        self._registry.register(Decisions(state_dir, pin_root))
        info = Gauge(
            f"{_PREFIX}_info", "1, with the version.", ["version"], registry=self._registry
        )
        info.labels(__version__).set(1)

    def pods(self, found: Iterable[tuple[str, bool]]) -> None:
        """Count what a round found: each pod's state, and whether it was mended."""
        states = list(found)
        for state in POD_STATES:
            self._pods.labels(state).set(sum(one == state for one, _ in states))
        self._repairs.inc(sum(repaired for _, repaired in states))

    def looked(self, *, in_order: bool) -> None:
        """Count a look at the installation."""
        self._installed.set(in_order)
        self._checked.set_to_current_time()
        if not in_order:
            self._failures.inc()

    def inserted(self) -> None:
        """Count an entry that had to be put in again."""
        self._insertions.inc()

    def answer(self) -> Answer:
        """Write them all."""
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        return Answer(200, generate_latest(self._registry), CONTENT_TYPE_LATEST)


def _count(directory: str) -> int:
    try:
        return sum(n.endswith(".json") and not n.startswith(".") for n in os.listdir(directory))
    except OSError:
        return 0
