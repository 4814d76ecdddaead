"""Values of a tool's options: sources laid over one another, the strongest last."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from interceptor.frontends.translation import Worth

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from interceptor.frontends.option import Option
    from interceptor.frontends.row import Flag, Table


class Said(msgspec.Struct, frozen=True):
    """One text that was given for an option, and where."""

    option: Option
    text: str
    origin: str


class Given(msgspec.Struct, frozen=True):
    """What counts, by key; of repeated options each text. Texts are put plainly.

    ``strength`` is a higher number for what a stronger source says.
    """

    rows: Mapping[str, Option]
    counts: Mapping[str, tuple[Said, ...]]
    strength: Mapping[str, int]

    def text(self, key: str) -> str:
        """Give a value as text; those of a repeated option are joined by commas."""
        said = self.counts.get(key)
        return ",".join(one.text for one in said if one.text) if said else self.rows[key].unset

    def texts(self, key: str) -> tuple[str, ...]:
        """Give each text of a repeated option."""
        return tuple(one.text for one in self.counts.get(key, ()))

    def is_on(self, key: str) -> bool:
        """Whether a switch is on."""
        return self.text(key) == "true"

    def is_given(self, key: str) -> bool:
        """Whether somebody gave a value, and not an empty one."""
        return any(one.text for one in self.counts.get(key, ()))

    def origin(self, key: str) -> str:
        """Name where a value is from, for a message; nothing if it is the default."""
        return ", ".join(dict.fromkeys(one.origin for one in self.counts.get(key, ())))

    def is_stronger(self, key: str, other: str) -> bool:
        """Whether a stronger source gives a value than another one, or only this one is given."""
        return self.strength.get(key, -1) > self.strength.get(other, -1)

    def notes(self) -> Iterator[str]:
        """Tell a person what was given and has no effect."""
        for key, said in self.counts.items():
            if (idle := self.rows[key].idle) and self.text(key) != self.rows[key].unset:
                yield f"{said[-1].origin} has no effect: {idle}"

    def ours(self) -> dict[str, Worth]:
        """Give the settings of ours that stand beside the tool's options."""
        return {
            row.ours: Worth(self.text(key), self.origin(key))
            for key, row in self.rows.items()
            if row.ours and self.is_given(key)
        }


def lay(table: Table[Option], *sources: Iterable[Said]) -> Given:
    """Lay sources over one another, weakest first, and read every text.

    A text that a stronger source hides is read as well: a mistake does not wait for the day that
    one is gone. What is in one source and repeated adds up there, and is replaced as a whole by a
    stronger one.

    Raises:
        ConfigError: a text cannot be meant, or asks for what cannot be done here.
    """
    counts: dict[str, tuple[Said, ...]] = {}
    strength: dict[str, int] = {}
    for rank, source in enumerate(sources):
        found: dict[str, tuple[Said, ...]] = {}
        for one in source:
            key = one.option.key
            read = Said(one.option, one.option.plain(one.text, one.origin), one.origin)
            before = found.get(key, ()) if one.option.repeated else ()
            found[key] = (*before, read)
        counts |= found
        strength |= dict.fromkeys(found, rank)
    return Given(table.rows, counts, strength)


def by_flags(flags: Iterable[Flag[Option]]) -> list[Said]:
    """Give what flags say."""
    return [Said(flag.option, flag.text, flag.shown) for flag in flags]


def by_environment(table: Table[Option], environment: Mapping[str, str]) -> list[Said]:
    """Give what variables say."""
    return [
        Said(row, environment[name], name)
        for row in table.rows.values()
        for name in row.environment
        if name in environment
    ]
