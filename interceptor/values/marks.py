"""Marks of packets, sockets and connections."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

import msgspec

from interceptor.values.lists import split

if TYPE_CHECKING:
    from collections.abc import Iterable

FULL_MASK = 0xFFFFFFFF


class Mark(msgspec.Struct, frozen=True):
    """A packet, socket or connection mark: ``value`` in the bits of ``mask``."""

    value: int
    mask: int = FULL_MASK

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``1337``, ``0x539`` or ``0x539/0xfff``."""
        value, slash, mask_text = text.partition("/")
        try:
            mark = cls(int(value, 0), int(mask_text, 0) if slash else FULL_MASK)
        except ValueError:
            raise ValueError(f"{text!r} is no mark: write 0x539 or 0x539/0xfff") from None
        if not (0 <= mark.value <= FULL_MASK and 0 <= mark.mask <= FULL_MASK):
            raise ValueError(f"{text!r} is no mark of 32 bits")
        if mark.value & ~mark.mask:
            raise ValueError(f"{text!r} can never match: the value has bits outside its mask")
        return mark

    def __str__(self) -> str:
        return f"{self.value:#x}" if self.mask == FULL_MASK else f"{self.value:#x}/{self.mask:#x}"


class Marks(msgspec.Struct, frozen=True):
    """A set of marks, any of which will do."""

    marks: tuple[Mark, ...] = ()

    is_everything: ClassVar[bool] = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``0x539/0xfff,7``."""
        return cls.of(Mark.parse(item) for item in split(text))

    @classmethod
    def of(cls, marks: Iterable[Mark]) -> Self:
        """Sort marks and drop doubles."""
        return cls(tuple(sorted(set(marks), key=lambda mark: (mark.mask, mark.value))))

    @property
    def members(self) -> tuple[Marks, ...]:
        """Give the marks, each as a set of its own."""
        return tuple(Marks((mark,)) for mark in self.marks)

    def __bool__(self) -> bool:
        return bool(self.marks)

    def __str__(self) -> str:
        return ",".join(map(str, self.marks))
