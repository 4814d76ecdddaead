"""What a kernel tells of a packet on its way: events, put together to one way each.

Pure. A tracer has a table of its own: its first chains have the kernel tell of the first packet of
each connection, its last ones are met when everything else has let the packet pass. What a packet
sends to its own host goes twice: out, and in by ``lo`` with another number; the two are joined.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

import msgspec

from interceptor.analysis.packet import Address  # noqa: TC001 - msgspec looks it up
from interceptor.dialect import is_tracers
from interceptor.names import LOOPBACK_INTERFACE, Family

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST_S = 0.1
"""After so long without an event a packet is taken to be at its end: the kernel threw it away
between two hooks, or somebody holds it."""

BEGIN, KNOWN, END = "begin", "known", "end"
"""What the chains of a tracer's table are called, before a dash. Where one that begins has a rule
met, a packet begins its way; its name goes on with the protocol. In ``known`` a packet whose
connection was decided about before is let go: no more is told of it, not even that."""


class Kind(StrEnum):
    """What an event is about."""

    RULE = "rule"
    LAST = "last"
    """There is no further rule in a chain."""
    RETURN = "return"
    POLICY = "policy"


class Header(msgspec.Struct, frozen=True):
    """Both ends, as they are in a packet at that moment."""

    source: Address
    source_port: int
    destination: Address
    destination_port: int


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A rule, a return or a policy that a packet met.

    Args:
        at: seconds since the epoch.
        generation: which rules were in force, as a number that grows.
        packet: the kernel's number of the packet; others have it later.
        family: of the table, as ``table``, ``chain`` and ``handle`` for a rule.
        verdict: as nft calls it.
        header: of the packet; told once a base chain.
        in_interface: ``""`` if there is none, likewise ``out_interface``.
    """

    at: float
    generation: int
    packet: int
    family: Family
    table: str
    chain: str
    kind: Kind
    handle: int = 0
    verdict: str = "continue"
    header: Header | None = None
    in_interface: str = ""
    out_interface: str = ""


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """All that happened to a packet: how it began, how it was at last, what it met in between.

    It ``is_lost`` if it came neither to its end nor to a rule that threw it away.
    """

    protocol: str
    begun: Event
    header: Header
    last: Header
    met: tuple[Event, ...]
    is_lost: bool = False

    @property
    def is_inbound(self) -> bool:
        """Whether it came in from outside."""
        return not self.begun.out_interface


class _Open:
    """A packet on its way."""

    def __init__(self, protocol: str, begun: Event, header: Header) -> None:
        self.protocol = protocol
        self.begun = begun
        self.header = self.last = header
        self.met: list[Event] = []
        self.touched = begun.at
        self.is_new = False

    def way(self, *, is_lost: bool = False) -> Way:
        return Way(
            is_lost=is_lost,
            protocol=self.protocol,
            begun=self.begun,
            header=self.header,
            last=self.last,
            met=tuple(self.met),
        )


class Ways:
    """Puts events together.

    Args:
        table: the tracer's own.
    """

    def __init__(self, table: str) -> None:
        self._table = table
        self._open: dict[int, _Open] = {}
        self._coming: dict[tuple[Address, int], _Open] = {}
        """What left by ``lo`` and is not in yet, by where it comes from."""

    def add(self, event: Event) -> Iterator[Way]:
        """Take an event, and give the ways that are over by it."""
        if event.family is Family.INET and event.table == self._table:
            yield from self._mark(event)
            return
        found = self._open.get(event.packet)
        if found is None:
            return
        self._touch(found, event)
        if not is_tracers(event.family, event.table):
            found.met.append(event)
        if event.verdict == "drop":
            del self._open[event.packet]
            yield found.way()

    def _mark(self, event: Event) -> Iterator[Way]:
        """Take an event of the own table."""
        role, _, which = event.chain.partition("-")
        found = self._open.get(event.packet)
        if role == BEGIN and event.header:
            if event.in_interface == LOOPBACK_INTERFACE:
                self._come_in(event, event.header)
            elif event.kind is Kind.RULE:
                if found and found.is_new:
                    yield found.way(is_lost=True)
                protocol = which.partition("-")[0]
                self._open[event.packet] = _Open(protocol, event, event.header)
        elif found and role == KNOWN:
            self._touch(found, event)
            found.is_new = True
        elif found and role == END:
            self._touch(found, event)
            del self._open[event.packet]
            if event.out_interface == LOOPBACK_INTERFACE:
                self._coming[found.last.source, found.last.source_port] = found
            else:
                yield found.way()

    def _come_in(self, event: Event, header: Header) -> None:
        """Go on with a packet that left by ``lo``."""
        found = self._coming.pop((header.source, header.source_port), None)
        if found:
            found.touched = event.at
            self._open[event.packet] = found

    @staticmethod
    def _touch(found: _Open, event: Event) -> None:
        found.touched = event.at
        found.last = event.header or found.last

    def overdue(self, now: float) -> Iterator[Way]:
        """Give the ways that no event belongs to any more."""
        yield from _overdue(self._open, now)
        yield from _overdue(self._coming, now)

    @property
    def due(self) -> float | None:
        """When the next of them is overdue, as seconds since the epoch, if there are any."""
        touched = [one.touched for one in (*self._open.values(), *self._coming.values())]
        return min(touched) + LONGEST_S if touched else None

    def forget(self) -> int:
        """Give up all that are on their way, and how many: of some an event was lost."""
        lost = len(self._open) + len(self._coming)
        self._open.clear()
        self._coming.clear()
        return lost


Key = TypeVar("Key")


def _overdue(ways: dict[Key, _Open], now: float) -> Iterator[Way]:
    late = [key for key, one in ways.items() if now - one.touched >= LONGEST_S]
    for key in late:
        one = ways.pop(key)
        if one.is_new:
            yield one.way(is_lost=True)
