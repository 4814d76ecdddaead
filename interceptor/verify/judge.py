"""What became of one probe, from who took it and whether he answered."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import msgspec

from interceptor.analysis.packet import Direct, Dropped, Redirected, Translated, Transparent
from interceptor.verify.probe import Probe, Way
from interceptor.verify.sockets import original_destination

if TYPE_CHECKING:
    from interceptor.verify.echo import End


class Result(msgspec.Struct, frozen=True):
    """What became of one probe, and anything worth saying about it.

    Where ``is_known`` is false nothing became known, and ``note`` says why.
    """

    probe: Probe
    seen: str
    ok: bool
    note: str = ""
    is_known: bool = True


def unknown(probe: Probe, why: str) -> Result:
    """Give the result of a probe that shows nothing."""
    return Result(probe, "", ok=False, note=why, is_known=False)


def is_direct(probe: Probe, end: End) -> bool:
    """Whether a connection went where it was sent, as far as its end shows.

    The port alone does not tell: a proxy may listen at the very port that is connected to. So
    it is looked where the end is, in the pod or outside, and at which address. Nor does the
    address, where a transparent listener took it: then it is the port he listens on.
    """
    packet = probe.packet
    if end.in_pod is (probe.way is Way.OUTBOUND):
        return False
    meant = packet.destination, packet.destination_port
    return end.at == meant and end.taker in (packet.destination_port, None)


def is_translated(probe: Probe, end: End) -> bool:
    """Whether a connection that is to be sent elsewhere came there."""
    meant, packet = probe.expected, probe.packet
    if not isinstance(meant, Translated):
        return False
    at = meant.address or packet.destination, meant.port or packet.destination_port
    return end.at == at


def judge_elsewhere(probe: Probe) -> Result:
    """Judge one that is to be sent to somebody who is not ours, and of whom nothing is known.

    Were it not sent there, one of our own listeners would have it.
    """
    return unknown(probe, f"{probe.expected}: whether it comes there only who is there can tell")


def judge_taken(
    probe: Probe,
    end: End,
    *,
    is_answered: bool,
    steered: type[Redirected | Transparent] = Transparent,
) -> Result:
    """Judge a connection that somebody is known to have taken.

    ``steered`` is what brings it to another listener and leaves its addresses as they are.
    """
    if end.taker is None:
        return unknown(probe, "the kernel does not tell which of two listeners took it")
    if is_translated(probe, end):
        return Result(probe, str(probe.expected), ok=True)
    seen, ok = _seen(probe, end, steered)
    caught = end.in_pod and not is_direct(probe, end)
    if probe.packet.protocol == "tcp" and end.connection is None:
        if not caught:
            # Somebody's service, reached as it should be, got no token; a proxy did.
            return Result(probe, seen, ok)
        note = (
            "through the proxy to its end" if is_answered else "taken by the proxy, not passed on"
        )
        return Result(probe, seen, ok, note)
    if not is_answered:
        return Result(probe, seen, ok=False, note="what was sent did not come back")
    if not caught:
        return Result(probe, seen, ok)
    if end.connection is None:
        return Result(probe, seen, ok, "answered in the name of who was asked")
    found = original_destination(end.connection)
    if end.taker != end.at[1]:
        # A transparent listener has it as its own address; translation may know another.
        found = end.at if found in (end.at, None) else found
    if found != (probe.packet.destination, probe.packet.destination_port):
        lost = f"{found[0]} port {found[1]}" if found else "unknown"
        note = f"the original destination is lost: {lost}"
        return Result(probe, seen, ok=False, note=note)
    return Result(probe, seen, ok, "original destination recovered")


def _seen(probe: Probe, end: End, steered: type[Redirected | Transparent]) -> tuple[str, bool]:
    """Say where it ended, and whether that is as expected."""
    port = probe.packet.destination_port
    if isinstance(probe.expected, Translated):
        meant = probe.expected.address or probe.packet.destination, probe.expected.port or port
        if end.at == meant:
            return str(probe.expected), True
    if is_direct(probe, end):
        # In the pod, to be taken to the port that was asked for anyway changes nothing.
        same = end.in_pod and probe.expected in (Redirected(port), Transparent(port))
        return str(probe.expected if same else Direct()), same or probe.expected == Direct()
    if end.in_pod and end.taker is not None:
        seen = (Redirected if end.taker == end.at[1] else steered)(end.taker)
        return str(seen), seen == probe.expected
    return f"sent elsewhere, to port {end.at[1]} outside", False


def judge_answered(probe: Probe, others: frozenset[int]) -> Result:
    """Judge a datagram that somebody else answered, in the name of who was asked.

    Args:
        probe: what was tried.
        others: UDP ports of the pod that are somebody else's.
    """
    meant = probe.expected
    if isinstance(meant, Redirected) and meant.port in others:
        if probe.is_stranger:
            return unknown(probe, f"whoever has port {meant.port}, or was asked, answered")
        return Result(probe, str(meant), ok=True, note="answered by the proxy")
    return Result(probe, "answered by somebody else", ok=False)


def judge_lost(probe: Probe, *, passed_on: bool) -> Result:
    """Judge a connection that was taken, nobody knows by whom.

    ``passed_on`` is whether what it sent came to its end by a connection of somebody else.
    """
    note = "passed on by a proxy" if passed_on else "given up at once, or sent to another host"
    return Result(probe, "taken by somebody unknown", ok=False, note=note)


def judge_refused(probe: Probe, code: int, others: frozenset[int], *, is_late: bool) -> Result:
    """Judge a connection that nobody took.

    Args:
        probe: what was tried.
        code: the errno it ended with, or 0.
        others: UDP ports of the pod that are somebody else's.
        is_late: whether it was cut short by ``--timeout``.
    """
    meant = probe.expected
    ok = isinstance(meant, Dropped)
    if code not in (0, errno.ETIMEDOUT):
        return Result(probe, os.strerror(code).lower(), ok)
    if is_late:
        return Result(probe, "no answer", ok=False, note="the time was up")
    if probe.packet.protocol != "tcp" and isinstance(meant, Redirected) and meant.port in others:
        return unknown(probe, f"whoever has port {meant.port} does not answer it")
    return Result(probe, "no answer", ok, "" if ok else "lost on its way there or back")
