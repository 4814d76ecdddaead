"""What became of one probe, from who took it and whether he answered."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import msgspec

from interceptor.analysis.packet import Direct, Dropped, Redirected
from interceptor.verify.probe import Probe, Way
from interceptor.verify.sockets import original_destination

if TYPE_CHECKING:
    from interceptor.verify.echo import End


class Result(msgspec.Struct, frozen=True):
    """What became of one probe, and anything worth saying about it."""

    probe: Probe
    seen: str
    ok: bool
    note: str = ""


def is_direct(probe: Probe, end: End) -> bool:
    """Whether a connection went where it was sent.

    The port alone does not tell: a proxy may listen at the very port that is connected to. So
    it is looked where the end is, in the pod or outside, and at which address.
    """
    packet = probe.packet
    if end.in_pod is (probe.way is Way.OUTBOUND):
        return False
    if packet.protocol != "tcp":
        return end.at[1] == packet.destination_port
    return end.at == (packet.destination, packet.destination_port)


def judge_taken(probe: Probe, end: End, *, is_answered: bool) -> Result:
    """Judge a connection that somebody is known to have taken."""
    seen, ok = _seen(probe, end)
    redirected = end.in_pod and not is_direct(probe, end)
    if end.connection is None:
        if not redirected or probe.packet.protocol != "tcp":
            # Somebody's service, reached as it should be, got no token; a proxy did.
            return Result(probe, seen, ok)
        note = (
            "through the proxy to its end" if is_answered else "taken by the proxy, not passed on"
        )
        return Result(probe, seen, ok, note)
    if not is_answered:
        return Result(probe, seen, ok=False, note="what was sent did not come back")
    if not redirected:
        return Result(probe, seen, ok)
    found = original_destination(end.connection)
    if found != (probe.packet.destination, probe.packet.destination_port):
        lost = f"{found[0]} port {found[1]}" if found else "unknown"
        note = f"the original destination is lost: {lost}"
        return Result(probe, seen, ok=False, note=note)
    return Result(probe, seen, ok, "original destination recovered")


def _seen(probe: Probe, end: End) -> tuple[str, bool]:
    """Say where it ended, and whether that is as expected."""
    if is_direct(probe, end):
        # In the pod, a redirect to the port that was asked for anyway changes nothing.
        same = end.in_pod and probe.expected == Redirected(probe.packet.destination_port)
        return str(probe.expected if same else Direct()), same or probe.expected == Direct()
    if end.in_pod:
        seen = Redirected(end.at[1])
        return str(seen), seen == probe.expected
    return f"sent elsewhere, to port {end.at[1]} outside", False


def judge_lost(probe: Probe, *, passed_on: bool) -> Result:
    """Judge a connection that was taken, nobody knows by whom.

    ``passed_on`` is whether what it sent came to its end by a connection of somebody else.
    """
    note = "passed on by a proxy" if passed_on else "given up at once, or sent to another host"
    return Result(probe, "taken by somebody unknown", ok=False, note=note)


def judge_refused(probe: Probe, code: int, *, is_late: bool) -> Result:
    """Judge a connection that nobody took.

    Args:
        probe: what was tried.
        code: the errno it ended with, or 0.
        is_late: whether it was cut short by ``--timeout``.
    """
    ok = isinstance(probe.expected, Dropped)
    if code not in (0, errno.ETIMEDOUT):
        return Result(probe, os.strerror(code).lower(), ok)
    if is_late:
        return Result(probe, "no answer", ok=False, note="the time was up")
    return Result(probe, "no answer", ok, "" if ok else "lost on its way there or back")
