"""What became of packets, and what becomes of them by what became of them so far."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

import msgspec

from interceptor.analysis.packet import Direct, Fate, Unknown

if TYPE_CHECKING:
    from collections.abc import Callable

    from interceptor.analysis.diagram import Node

SOME_ZONE = -1
"""It is not known which zone, unless an earlier rule says so."""


class Outcome(msgspec.Struct, frozen=True):
    """What became of a packet, and the conntrack zone it was put into, if it was."""

    fate: Fate
    zone: int | None = None


class Ways(NamedTuple):
    """What becomes of a packet after some place, by what became of it so far.

    ``asked``: nat chains still are asked; ``here``: it goes to this host now; ``elsewhere``: its
    destination is another now.
    """

    asked: Node
    here: Node
    elsewhere: Node


def instead(fate: Fate) -> Callable[[object], Outcome]:
    """Say what became of what would otherwise just have gone on."""

    def change(outcome: object) -> Outcome:
        was = cast("Outcome", outcome)
        return Outcome(fate, was.zone) if isinstance(was.fate, Direct) else was

    return change


def in_zone(zone: int) -> Callable[[object], Outcome]:
    """Put all into a zone, also what would later be put into another."""

    def change(outcome: object) -> Outcome:
        was = cast("Outcome", outcome)
        return was if isinstance(was.fate, Unknown) else Outcome(was.fate, zone)

    return change
