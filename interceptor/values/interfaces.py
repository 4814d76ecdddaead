"""Sets of interface names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, Self

import msgspec

from interceptor.names import INTERFACE_NAME_MAX
from interceptor.values.lists import split

if TYPE_CHECKING:
    from collections.abc import Iterable

INTERFACE_NAME = re.compile(rf"(?=.{{1,{INTERFACE_NAME_MAX}}}$)[A-Za-z0-9_.:@-]+\+?")
"""Narrower than the kernel, so that no name can be more than a word of a rule."""


class Interfaces(msgspec.Struct, frozen=True, eq=False):
    """A set of interface names; one that ends in ``+`` stands for all that begin so."""

    names: tuple[str, ...] = ()
    written: tuple[str, ...] = ()

    is_everything: ClassVar[bool] = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``eth1,docker+``."""
        names = split(text)
        for name in names:
            if not INTERFACE_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no interface name")
        return msgspec.structs.replace(cls.of(names), written=tuple(names))

    @classmethod
    def of(cls, names: Iterable[str]) -> Self:
        """Sort names and drop those that another one's ``+`` covers."""
        sorted_names = sorted(set(names))
        begins = [name[:-1] for name in sorted_names if name.endswith("+")]
        return cls(
            tuple(
                name
                for name in sorted_names
                if not any(name.startswith(b) and name != f"{b}+" for b in begins)
            )
        )

    def within(self, outer: Interfaces, *, inside: bool = True) -> Interfaces:
        """Give those names all of which are in ``outer``, or the others."""
        return Interfaces(
            tuple(n for n in self.names if any(_covers(o, n) for o in outer.names) is inside)
        )

    def __add__(self, other: Interfaces) -> Interfaces:
        return Interfaces.of((*self.names, *other.names))

    @property
    def members(self) -> tuple[Interfaces, ...]:
        """Give the names as they were written, each as a set of its own."""
        return tuple(Interfaces((name,)) for name in self.written or self.names)

    def __eq__(self, other: object) -> bool:
        return self.names == other.names if isinstance(other, Interfaces) else NotImplemented

    def __ne__(self, other: object) -> bool:
        # What msgspec inherits here compares identities.
        return not self == other

    def __hash__(self) -> int:
        return hash(self.names)

    def __bool__(self) -> bool:
        return bool(self.names)

    def __str__(self) -> str:
        return ",".join(self.names)

    @property
    def text(self) -> str:
        """Write it as it was written."""
        return ",".join(self.written or self.names)


def _covers(outer: str, name: str) -> bool:
    """Whether every interface that a name stands for is one of another's."""
    return name.startswith(outer[:-1]) if outer.endswith("+") else name == outer
