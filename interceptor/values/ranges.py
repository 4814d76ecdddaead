"""Sets of whole numbers: ports, ids, and accounts that are not looked up yet."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, Self

import msgspec

from interceptor.values.lists import EVERYTHING, split

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOST_DIGITS = 20
"""More than any number here has; Python takes long over numbers of very many."""

Range = tuple[int, int]


def merge(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """Sort ranges and join those that touch or overlap."""
    merged: list[Range] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


class Ranges(msgspec.Struct, frozen=True, eq=False):
    """A set of whole numbers as sorted ranges with a gap between any two, ends included."""

    ranges: tuple[Range, ...] = ()
    written: tuple[Range, ...] = ()

    LOWEST: ClassVar[int] = 0
    HIGHEST: ClassVar[int]
    WHAT: ClassVar[str]
    SEPARATOR: ClassVar[re.Pattern[str]] = re.compile(r"[-:]")

    @classmethod
    def of(cls, *items: int | Range) -> Self:
        """Make a set of numbers and ranges."""
        return cls(merge((i, i) if isinstance(i, int) else i for i in items))

    @classmethod
    def everything(cls) -> Self:
        """Every number there is, also those a user may not write."""
        return cls(((0, cls.HIGHEST),))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``80,8000-8100``, or ``*``."""
        if text.strip() == EVERYTHING:
            return cls.everything()
        written = tuple(cls.parse_range(item) for item in split(text))
        return cls(merge(written), written)

    @classmethod
    def parse_range(cls, item: str) -> Range:
        """Read ``80``, ``8000-8100`` or ``8000:8100``."""
        first, *rest = cls.SEPARATOR.split(item, maxsplit=1)
        low = cls.parse_number(first)
        high = cls.parse_number(rest[0]) if rest else low
        if low > high:
            raise ValueError(f"the range {item!r} runs backwards")
        return low, high

    @classmethod
    def parse_number(cls, text: str) -> int:
        """Read one number within bounds."""
        if not (text.isascii() and text.isdigit()):
            raise ValueError(f"{text!r} is no {cls.WHAT}")
        if len(text) > _MOST_DIGITS:
            raise ValueError(f"{text[:_MOST_DIGITS]!r}... is no {cls.WHAT}")
        if not cls.LOWEST <= int(text) <= cls.HIGHEST:
            raise ValueError(f"{cls.WHAT} {text} is not within {cls.LOWEST}..{cls.HIGHEST}")
        return int(text)

    @property
    def is_everything(self) -> bool:
        """Whether no number is left out."""
        return self.ranges == ((0, self.HIGHEST),)

    @property
    def members(self) -> tuple[Self, ...]:
        """Give the numbers and ranges as they were written, each as a set of its own."""
        return tuple(type(self)((one,)) for one in self.written or self.ranges)

    def __eq__(self, other: object) -> bool:
        return self.ranges == other.ranges if type(other) is type(self) else NotImplemented

    def __ne__(self, other: object) -> bool:
        # What msgspec inherits here compares identities.
        return not self == other

    def __hash__(self) -> int:
        return hash(self.ranges)

    def __bool__(self) -> bool:
        return bool(self.ranges)

    def __contains__(self, number: int) -> bool:
        return any(low <= number <= high for low, high in self.ranges)

    def __add__(self, other: Self) -> Self:
        return type(self)(merge(self.ranges + other.ranges))

    def __sub__(self, other: Self) -> Self:
        left = list(self.ranges)
        for low, high in other.ranges:
            cut: list[Range] = []
            for first, last in left:
                if first < low:
                    cut.append((first, min(last, low - 1)))
                if last > high:
                    cut.append((max(first, high + 1), last))
            left = cut
        return type(self)(tuple(left))

    def __str__(self) -> str:
        if self.is_everything:
            return EVERYTHING
        return _text(self.ranges)

    @property
    def text(self) -> str:
        """Write it as it was written."""
        return EVERYTHING if self.is_everything else _text(self.written or self.ranges)


def _text(ranges: tuple[Range, ...]) -> str:
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in ranges)


class Ports(Ranges, frozen=True, eq=False):
    """A set of TCP or UDP ports."""

    LOWEST: ClassVar[int] = 1
    HIGHEST: ClassVar[int] = 65535
    WHAT: ClassVar[str] = "port"


class Ids(Ranges, frozen=True, eq=False):
    """A set of numeric user or group ids; 2^32-1 is the kernel's "no id"."""

    HIGHEST: ClassVar[int] = 2**32 - 2
    WHAT: ClassVar[str] = "id"


class Accounts(msgspec.Struct, frozen=True):
    """Users or groups as the user wrote them: ids, and names that are not looked up yet."""

    ids: Ids = Ids()
    names: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``1337,2000-2010,envoy``."""
        items = split(text)
        names = tuple(item for item in items if not item[0].isdigit() and item != EVERYTHING)
        for name in names:
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?", name):
                raise ValueError(f"{name!r} is no id and no account name")
        numbers = ",".join(item for item in items if item not in names)
        return cls(Ids.parse(numbers), names)

    @property
    def is_everything(self) -> bool:
        """Whether no id is left out."""
        return self.ids.is_everything

    def resolve(self, known: dict[str, int]) -> Accounts:
        """Put ids in the place of names; ``KeyError`` with the name that is not known."""
        if not self.names:
            return self
        ids = tuple((known[name], known[name]) for name in self.names)
        written = (*(self.ids.written or self.ids.ranges), *ids)
        return Accounts(Ids(merge(written), written))

    def __bool__(self) -> bool:
        return bool(self.ids or self.names)

    def __str__(self) -> str:
        return ",".join(filter(None, (str(self.ids), *self.names)))

    @property
    def text(self) -> str:
        """Write it as it was written, names last."""
        return ",".join(filter(None, (self.ids.text, *self.names)))
