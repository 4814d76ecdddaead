"""New connections through the rules: as they are, with ten thousand exclusions, and with none."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from bench.install import many_networks
from bench.timing import Contender, race, show
from tests.lab.paths import NFTABLES, interceptor
from tests.lab.pod import FAR, Pod, new_pod
from tests.lab.traffic import recorder

if TYPE_CHECKING:
    from collections.abc import Callable

_CONNECTIONS = 2000
"""In one round: many enough that starting a round does not count."""


def bench(rounds: int) -> None:
    """Print the time of so many connections from the pod, which the proxy's port takes."""
    with new_pod() as pod, recorder(pod.pod, 15001), recorder(pod.outside, 80):
        none = f"{_CONNECTIONS} connections, no rules"
        times = race(
            [
                Contender(none, lambda: _connect(pod), _with(pod, None)),
                Contender("default rules", lambda: _connect(pod), _with(pod, "")),
                Contender(
                    "10,000 networks excluded",
                    lambda: _connect(pod),
                    _with(pod, many_networks()),
                ),
            ],
            rounds,
        )
        show(f"nftables, {_CONNECTIONS} new connections outwards", times, beside="default rules")


def _with(pod: Pod, config: str | None) -> Callable[[], object]:
    """Make a run that sets the pod up."""
    if config is None:
        return lambda: interceptor("uninstall", namespace=pod.pod)
    return lambda: interceptor(
        *("install", "--config", "-", *NFTABLES.flags), namespace=pod.pod, stdin=config
    )


def _connect(pod: Pod) -> None:
    with pod.pod:
        for _ in range(_CONNECTIONS):
            with socket.create_connection((FAR[4], 80), timeout=5) as connection:
                # One after the other: whoever answers has accepted.
                connection.recv(4096)
