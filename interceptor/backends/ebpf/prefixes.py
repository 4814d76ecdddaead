"""Sets of numbers as prefixes with flags, such that the longest prefix says all that holds.

A kernel's trie gives the one longest prefix a number has. So each prefix here has the flags of the
shorter ones it lies in as well; and sets are found again by putting together what has a flag.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from interceptor.values import Range, merge

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Prefix = tuple[int, int]
"""The first number, and how many leading bits count."""


class Facts(msgspec.Struct, frozen=True):
    """What holds of numbers: ``usual`` of those that no prefix covers."""

    usual: int
    prefixes: dict[Prefix, int]


def of_range(low: int, high: int, bits: int) -> Iterator[Prefix]:
    """Give the fewest prefixes that make up a range."""
    while low <= high:
        size = low & -low if low else 1 << bits
        while low + size - 1 > high:
            size >>= 1
        yield low, bits - size.bit_length() + 1
        low += size


def facts(sets: Mapping[int, Iterable[Range]], bits: int) -> Facts:
    """Put sets of ranges, each with a flag, into one table of prefixes."""
    own: dict[Prefix, int] = {}
    for flag, ranges in sets.items():
        for low, high in ranges:
            for prefix in of_range(low, high, bits):
                own[prefix] = own.get(prefix, 0) | flag
    found: dict[Prefix, int] = {}
    around: list[tuple[int, int]] = []
    for (first, length), flags in sorted(own.items()):
        while around and around[-1][0] < first:
            around.pop()
        held = flags | (around[-1][1] if around else 0)
        found[first, length] = held
        around.append((first + (1 << (bits - length)) - 1, held))
    usual = found.pop((0, 0), 0)
    return Facts(usual, found)


def ranges(table: Facts, flag: int, bits: int) -> tuple[Range, ...]:
    """Give the set that has a flag back."""
    if table.usual & flag:
        return ((0, (1 << bits) - 1),)
    return merge(
        (first, first + (1 << (bits - length)) - 1)
        for (first, length), flags in table.prefixes.items()
        if flags & flag
    )
