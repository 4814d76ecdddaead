"""A picture of rules before anybody writes it: boxes, their lines, arrows, end points."""

from __future__ import annotations

import msgspec

from interceptor.names import Family

Counters = dict[tuple[Family, str, str, int], tuple[int, int]]
"""Packets and bytes by family, table, chain and number of a rule."""


class VisitAt(msgspec.Struct, frozen=True):
    """A rule a packet met, by its place; rules count from 1."""

    family: Family
    table: str
    chain: str
    number: int


class Hop(msgspec.Struct, frozen=True):
    """One stretch of a journey: who hands what to whom, and why it goes there."""

    source: str
    target: str
    label: str
    detail: str = ""


class Marks(msgspec.Struct, frozen=True):
    """What a picture shows beside the rules."""

    title: str = "Rules"
    path: tuple[VisitAt, ...] = ()
    counters: Counters = msgspec.field(default_factory=dict)
    hops: tuple[Hop, ...] = ()


class Limits(msgspec.Struct, frozen=True):
    """How much is drawn.

    ``rules`` are those of one chain, ``lines`` those of all; a chain that calls more than
    ``targets`` others names them, without arrows.
    """

    boxes: int = 400
    rules: int = 40
    lines: int = 4000
    arrows: int = 600
    targets: int = 16


class Count(msgspec.Struct, frozen=True):
    """How often a rule matched, in one family where it is there for both."""

    family: str
    packets: int
    bytes: int

    def __str__(self) -> str:
        unit = "packet" if self.packets == 1 else "packets"
        return f"{self.family}{' ' if self.family else ''}{self.packets:,} {unit}"


class Line(msgspec.Struct, frozen=True):
    """A rule as it is shown; ``skipped`` rules before it are not.

    ``steps`` are the places it has on the path, ``text`` is the line it was read from.
    """

    number: int
    matches: str
    kind: str
    action: str
    why: str
    text: str = ""
    counts: tuple[Count, ...] = ()
    steps: tuple[int, ...] = ()
    skipped: int = 0

    @property
    def counted(self) -> str:
        """Its counters as a text."""
        return " · ".join(map(str, self.counts))


class Box(msgspec.Struct, frozen=True):
    """A chain: where the kernel calls it, and its lines; ``more`` rules come after the last."""

    id: str
    name: str
    hook: str
    place: str
    lines: tuple[Line, ...]
    more: int = 0

    @property
    def on_path(self) -> bool:
        """Whether a packet's path leads through it."""
        return any(line.steps for line in self.lines)


class End(msgspec.Struct, frozen=True):
    """Where packets go that leave the chains."""

    id: str
    label: str
    kind: str
    on_path: bool = False


class Arrow(msgspec.Struct, frozen=True):
    """From a line of a box to another box or an end; what is not ``routed`` is named alone."""

    source: str
    number: int
    target: str
    kind: str
    on_path: bool = False
    routed: bool = True


class Group(msgspec.Struct, frozen=True):
    """A table."""

    id: str
    name: str
    families: str
    boxes: tuple[Box, ...]
    ends: tuple[End, ...]
    arrows: tuple[Arrow, ...]
    note: str = ""

    @property
    def heading(self) -> str:
        """Its name, and whose packets it sees."""
        return f"table {self.name} · {self.families}{f' · {self.note}' if self.note else ''}"

    @property
    def on_path(self) -> bool:
        """Whether a packet's path leads through it."""
        return any(box.on_path for box in self.boxes)


class Drawing(msgspec.Struct, frozen=True):
    """All there is to write; ``order`` is a line a hook, ``notes`` say what was left out."""

    title: str
    groups: tuple[Group, ...]
    hops: tuple[Hop, ...] = ()
    order: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    has_path: bool = False

    @property
    def summary(self) -> str:
        """How much is drawn, in a sentence."""
        boxes = [box for group in self.groups for box in group.boxes]
        lines = sum(len(box.lines) for box in boxes)
        tables = ", ".join(group.heading for group in self.groups) or "no table"
        said = f"{many(len(boxes), 'chain')} with {many(lines, 'rule')}: {tables}."
        return f"{said} A packet's path is marked by numbers." if self.has_path else said


def many(count: int, what: str) -> str:
    """Write a number of things."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
