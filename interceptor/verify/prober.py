"""Makes the probes of one family, all at once, and watches where they end."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import nullcontext
from typing import TYPE_CHECKING

from interceptor.analysis.packet import Translated
from interceptor.system import netns
from interceptor.verify.attempt import Attempt
from interceptor.verify.echo import End
from interceptor.verify.judge import (
    Result,
    is_direct,
    judge_answered,
    judge_elsewhere,
    judge_lost,
    judge_refused,
    judge_taken,
)
from interceptor.verify.probe import Probe, Way
from interceptor.verify.sockets import original_destination, other_ends

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from interceptor.verify.sockets import Endpoint
    from interceptor.verify.stand_ins import StandIns

_PATIENCE_S = 1.0
"""How long connections may take to be taken, all together; every end is on this machine."""
_ACCEPT_GRACE_S = 0.2
"""How long our own listeners may take to accept what the kernel has taken."""
_ANSWER_S = 0.5
"""How long tokens may take to come back, all together."""
_AGAIN_S = 2.0
"""How long to go on making connections one by one."""


class Prober:
    """Clients to the stand-ins of one family."""

    def __init__(self, there: StandIns) -> None:
        self._there = there
        self._echoers = there.echoers

    def run(self, probes: Sequence[Probe], longest_s: float) -> list[Result]:
        """Make all connections at once and see each to its end.

        However many get no answer, it takes no longer than what one may take, and in no case
        longer than ``longest_s``; what is not known by then counts as no answer. Only where
        clients happen to share an address and port, and one cannot be told from the other, those
        are made once more, one by one.
        """
        end = time.monotonic() + longest_s
        results = self._round(probes, end)
        again_end = min(end, time.monotonic() + _AGAIN_S)
        for number, probe in enumerate(probes):
            if results[number] is None and time.monotonic() < again_end:
                results[number] = self._round([probe], end)[0]
        return [
            result or judge_lost(probe, passed_on=False)
            for probe, result in zip(probes, results, strict=True)
        ]

    def _round(self, probes: Sequence[Probe], end: float) -> list[Result | None]:
        """Make connections and judge them; ``None`` for one that cannot be told from another.

        Among connections of clients of different addresses and ports there is no such.
        """
        attempts: list[Attempt] = []
        try:
            for probe in probes:
                attempts.append(self._attempt(probe))  # noqa: PERF401 - to close those there are
            self._until(
                lambda: all(a.error or a.is_connected or a.is_settled for a in attempts),
                min(_PATIENCE_S, end - time.monotonic()),
            )
            connected = [attempt for attempt in attempts if attempt.is_connected]
            shared = _shared(attempts)
            self._find_ends(connected, shared, end)
            for attempt in connected:
                if attempt.end and (
                    attempt.end.connection or not is_direct(attempt.probe, attempt.end)
                ):
                    attempt.send()
            self._until(
                lambda: all(a.is_settled for a in connected if a.has_sent),
                min(_ANSWER_S, end - time.monotonic()),
            )
            is_late = time.monotonic() >= end
            return [self._judge(attempt, shared, is_late=is_late) for attempt in attempts]
        finally:
            for attempt in attempts:
                attempt.close()
            self._echoers.forget()

    def _attempt(self, probe: Probe) -> Attempt:
        outside = self._there.outside
        where = (
            netns.inside(outside)
            if probe.way is Way.INBOUND and outside is not None
            else nullcontext()
        )
        return Attempt(probe, self._there.family, where)

    def _until(self, is_done: Callable[[], bool], longest_s: float) -> None:
        end = time.monotonic() + longest_s
        while not is_done() and time.monotonic() < end:
            self._echoers.turn()
            self._there.proxies.turn()

    def _find_ends(self, connected: Sequence[Attempt], shared: set[Endpoint], end: float) -> None:
        """Find out who took each: by its endpoint here, in the kernel's list, or by its token.

        The token is last, as it may reach a service that did not ask for it. It is needed where
        translation had to change the source port too, because the proxy's side of the connection
        was still remembered from an earlier client with the same port.
        """
        self._until(
            lambda: self._found_all(connected, shared),
            min(_ACCEPT_GRACE_S, end - time.monotonic()),
        )
        # What our own listeners have not accepted by now they never got.
        self._found_all(connected, shared, all_ports=True)
        lost = [a for a in connected if a.end is None and a.endpoint not in shared]
        for attempt in lost:
            attempt.send()
        self._until(
            lambda: all(attempt.is_settled for attempt in lost),
            min(_ANSWER_S, end - time.monotonic()),
        )
        for attempt in lost:
            found = self._echoers.received(attempt.token)
            if found and not _is_passed_on(attempt, found):
                attempt.end = found

    def _found_all(
        self, connected: Sequence[Attempt], shared: set[Endpoint], *, all_ports: bool = False
    ) -> bool:
        """Look for the ends that are not known yet; whether all are that can be.

        ``all_ports`` is to believe that others have taken what was sent to ports of ours too.
        """
        for attempt in connected:
            if attempt.end is None:
                accepted = [*self._echoers.accepted_from(attempt.endpoint)]
                attempt.end = _end_of(attempt, accepted, shared)
        left = [attempt for attempt in connected if attempt.end is None]
        if left:
            rows = other_ends({attempt.endpoint[0] for attempt in left})
            for attempt in left:
                to = attempt.destination
                ends = [
                    End(True, at, client, self._there.proxies.taker(to, at, client))  # noqa: FBT003
                    for client, at, is_listened in rows
                    # What the proxy makes itself for an earlier attempt has no listener's port.
                    if (
                        client == attempt.endpoint
                        or (is_listened and self._is_alone(attempt, connected, client))
                    )
                    # Between two sockets of this namespace each is the other's other end.
                    and at != attempt.endpoint
                    and (
                        at[1] not in self._there.mine
                        or (all_ports and self._there.proxies.may_have(to, at, client))
                    )
                ]
                attempt.end = _end_of(attempt, ends, shared)
        return all(attempt.end for attempt in left)

    def _is_alone(self, attempt: Attempt, connected: Sequence[Attempt], client: Endpoint) -> bool:
        """Whether a client may be an attempt with another port: nobody else has its address.

        The addresses on the cable are ours, and translation changes ports, not addresses.
        """
        is_ours = self._there.outside is not None and not attempt.probe.is_stranger
        on_cable = is_ours and not client[0].is_loopback
        return on_cable and len(connected) == 1 and client[0] == attempt.endpoint[0]

    def _judge(self, attempt: Attempt, shared: set[Endpoint], *, is_late: bool) -> Result | None:
        """Say what became of it: its fate, and whether what was sent and asked came back."""
        is_answered = attempt.is_answered
        others = frozenset(self._there.others)
        if not attempt.is_stream:
            attempt.end = self._echoers.received(attempt.token)
        if attempt.end:
            return judge_taken(
                attempt.probe,
                attempt.end,
                is_answered=is_answered,
                steered=self._there.proxies.steered,
            )
        # What stays in the pod comes to a listener of ours, or is lost.
        is_beyond = attempt.probe.way is not Way.LOCAL
        if isinstance(attempt.probe.expected, Translated) and is_beyond:
            return judge_elsewhere(attempt.probe)
        if attempt.has_other:
            return judge_answered(attempt.probe, others)
        if not attempt.is_connected:
            return judge_refused(attempt.probe, attempt.error, others, is_late=is_late)
        if attempt.endpoint in shared:
            return None
        passed_on = self._echoers.received(attempt.token) is not None
        return judge_lost(attempt.probe, passed_on=passed_on)


def _shared(attempts: Sequence[Attempt]) -> set[Endpoint]:
    """Give the addresses and ports that more than one client has, each to another end."""
    count = Counter(attempt.endpoint for attempt in attempts if attempt.is_stream)
    return {client for client, clients in count.items() if clients > 1}


def _end_of(attempt: Attempt, ends: Sequence[End], shared: set[Endpoint]) -> End | None:
    """Choose among the ends of connections from an attempt's address and port."""
    for end in ends:
        went = original_destination(end.connection) if end.connection else None
        if attempt.destination in (end.at, went):
            return end
    return ends[0] if ends and attempt.endpoint not in shared else None


def _is_passed_on(attempt: Attempt, end: End) -> bool:
    """Whether a token came where it was sent, and by a connection of somebody else."""
    return end.at == attempt.destination and end.peer != attempt.endpoint
