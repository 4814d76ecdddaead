"""Sets of numbers as prefixes: the longest one tells the same as asking each set."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from interceptor.backends.ebpf import prefixes
from interceptor.values import Range, merge

_BITS = 8
_RANGE = st.tuples(st.integers(0, 255), st.integers(0, 255)).map(
    lambda pair: (min(pair), max(pair))
)
_SETS = st.lists(st.lists(_RANGE, max_size=6).map(merge), min_size=1, max_size=4).map(
    lambda sets: {1 << n: each for n, each in enumerate(sets)}
)


def _longest(table: prefixes.Facts, number: int) -> int:
    """Look a number up as the kernel's trie does."""
    for length in range(_BITS, 0, -1):
        first = number >> (_BITS - length) << (_BITS - length)
        if (first, length) in table.prefixes:
            return table.prefixes[first, length]
    return table.usual


@given(_SETS)
def test_the_longest_prefix_says_all(sets: dict[int, tuple[Range, ...]]) -> None:
    table = prefixes.facts(sets, _BITS)
    for number in range(256):
        wanted = sum(
            flag
            for flag, ranges in sets.items()
            if any(low <= number <= high for low, high in ranges)
        )
        assert _longest(table, number) == wanted


@given(_SETS)
def test_sets_are_found_again(sets: dict[int, tuple[Range, ...]]) -> None:
    table = prefixes.facts(sets, _BITS)
    for flag, ranges in sets.items():
        assert prefixes.ranges(table, flag, _BITS) == ranges


def test_a_range_of_everything_is_one_prefix_of_no_bits() -> None:
    assert list(prefixes.of_range(0, 255, _BITS)) == [(0, 0)]
    assert prefixes.facts({4: ((0, 2**128 - 1),)}, 128) == prefixes.Facts(4, {})
