"""Follow one packet through the chains at a hook, or on its whole way, in the kernel's order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from interceptor.analysis.packet import (
    Fate,
    Packet,
    Unknown,
)
from interceptor.analysis.run import Run, Stop, Visit
from interceptor.names import Hook

if TYPE_CHECKING:
    from collections.abc import Callable

    from interceptor import model


_MOST_RUNS = 128
"""Ways tried, where it is not known which of several a packet takes."""


class Walk(msgspec.Struct, frozen=True):
    """What becomes of a packet, the rules that made it so, and what they changed in it.

    ``packet`` is as rules left it; its addresses are the old ones, whatever became of it.
    ``stops`` are the base chains it came to, also those in which no rule matched.
    """

    fate: Fate
    path: tuple[Visit, ...]
    packet: Packet
    stops: tuple[Stop, ...] = ()


def walk(ruleset: model.Ruleset, hook: Hook, packet: Packet, language: str = "") -> Walk:
    """Follow a packet through every base chain at a hook, lowest priority number first.

    Translation is done once, for a connection's first packet: after a redirect, or once a socket
    has it, no further nat chain is asked. Of rules that are for one language alone those for
    ``language`` are asked, or all of them.
    """
    return _tried(packet, lambda run: run.hook(ruleset, hook, language))


def walk_received(ruleset: model.Ruleset, packet: Packet, language: str = "") -> Walk:
    """Follow a packet that comes in from outside and is for this host."""

    def way(run: Run) -> None:
        run.hook(ruleset, Hook.PREROUTING, language)
        run.hook(ruleset, Hook.INPUT, language)

    return _tried(packet, way)


def walk_sent(ruleset: model.Ruleset, packet: Packet, language: str = "") -> Walk:
    """Follow a packet that this host sends, and if it stays here, as it comes in again by ``lo``.

    There it meets no nat chain, and its sender is forgotten.
    """

    def way(run: Run) -> None:
        run.hook(ruleset, Hook.OUTPUT, language)
        run.leave()
        run.hook(ruleset, Hook.POSTROUTING, language)
        if run.stays():
            run.return_by_loopback()
            run.hook(ruleset, Hook.PREROUTING, language, again=True)
            run.hook(ruleset, Hook.INPUT, language)

    return _tried(packet, way)


def _tried(packet: Packet, way: Callable[[Run], None]) -> Walk:
    """Go a way with each answer to what cannot be known; give what is the same with all."""

    def gone(answers: tuple[int, ...]) -> Run:
        run = Run(packet, answers)
        way(run)
        return run

    first = gone(())
    pending, runs = first.others(), 1
    while pending and not isinstance(first.fate, Unknown):
        run = gone(pending.pop())
        pending += run.others()
        runs += 1
        differs = (run.fate, run.packet.zone) != (first.fate, first.packet.zone)
        if differs or runs > _MOST_RUNS:
            return _walk(first, Unknown(first.doubt))
    return _walk(first, first.fate)


def _walk(run: Run, fate: Fate) -> Walk:
    return Walk(fate, tuple(run.path), run.left(), tuple(run.stops))
