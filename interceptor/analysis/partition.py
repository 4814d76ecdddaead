"""One dimension of packets, cut into atoms: values no rule at hand tells apart.

Each kind of dimension takes the sets that are asked for, and then gives the mask of atoms of a
set, the atom of a value, a value of an atom, and the values of a mask in words.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from interceptor.analysis.diagram import lowest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from interceptor.values import Interfaces
    from interceptor.values.ranges import Range

RangeSet = tuple[tuple[int, int], ...]
"""Sorted ranges with a gap between any two, ends included."""


def bits(mask: int) -> Iterator[int]:
    """Give the numbers of the bits that are set."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


class Numbers:
    """Whole numbers from ``first`` to ``last``, as ports, ids and addresses are.

    Args:
        first: the lowest value.
        last: the highest.
        sets: the sets that are asked for.
    """

    def __init__(self, first: int, last: int, sets: Iterable[RangeSet] = ()) -> None:
        self._last = last
        wanted = dict.fromkeys(sets)
        toggles: dict[int, int] = {first: 0}
        for number, ranges in enumerate(wanted):
            bit = 1 << number
            for low, high in ranges:
                toggles[low] = toggles.get(low, 0) ^ bit
                toggles[high + 1] = toggles.get(high + 1, 0) ^ bit
        self._starts = sorted(start for start in toggles if first <= start <= last)
        atoms: dict[int, int] = {}
        self._atom_at: list[int] = []
        signature = 0
        for start in self._starts:
            signature ^= toggles[start]
            self._atom_at.append(atoms.setdefault(signature, len(atoms)))
        self.size = len(atoms)
        self._weights = [signature.bit_count() for signature in atoms]
        masks = [0] * len(wanted)
        for signature, atom in atoms.items():
            for number in bits(signature):
                masks[number] |= 1 << atom
        self._masks = dict(zip(wanted, masks, strict=True))

    def mask(self, ranges: RangeSet) -> int:
        """Give the atoms of a set that was asked for."""
        return self._masks[ranges]

    def atom(self, value: int) -> int:
        """Give the atom a value is in."""
        return self._atom_at[bisect_right(self._starts, value) - 1]

    def plainest(self) -> int:
        """Give the atom that is in the fewest sets."""
        return min(range(self.size), key=self._weights.__getitem__)

    def ranges(self, mask: int) -> list[Range]:
        """Give the values of some atoms as ranges, neighbours joined."""
        found: list[Range] = []
        ends = [start - 1 for start in self._starts[1:]] + [self._last]
        for low, high, atom in zip(self._starts, ends, self._atom_at, strict=True):
            if mask >> atom & 1:
                if found and found[-1][1] == low - 1:
                    found[-1] = (found[-1][0], high)
                else:
                    found.append((low, high))
        return found

    def witness(self, mask: int, liked: Callable[[int], bool] = lambda _: True) -> int:
        """Give one value of some atoms; one that is liked, if an end of a range is."""
        ends = [end for pair in self.ranges(mask) for end in pair]
        return next((end for end in ends if liked(end)), ends[0])


class Words:
    """A few words, as protocols and states are, and perhaps one for all others.

    Args:
        words: those that are asked for, or possible.
        others: stands for what none of them is; ``""`` if there is nothing else.
    """

    def __init__(self, words: Iterable[str], others: str = "") -> None:
        self.words: tuple[str, ...] = (*dict.fromkeys(words), *((others,) if others else ()))
        self._atoms = {word: atom for atom, word in enumerate(self.words)}
        self._others = others
        self.size = len(self.words)

    def atom(self, word: str) -> int:
        """Give the atom of a word."""
        return self._atoms[word if word in self._atoms else self._others]

    def mask(self, words: Iterable[str]) -> int:
        """Give the atoms of words; of those that are not possible, none."""
        return sum(1 << self._atoms[word] for word in set(words) if word in self._atoms)

    def named(self, mask: int) -> list[str]:
        """Give the words of some atoms."""
        return [self.words[atom] for atom in bits(mask)]

    def witness(self, mask: int) -> str:
        """Give one word of some atoms."""
        return self.words[lowest(mask)]


class InterfaceNames:
    """Names of interfaces; a name in a set may end in ``+``, for all that begin so.

    ``""`` is that there is none, as at a hook that does not know it.
    """

    def __init__(self, sets: Iterable[Interfaces], always: Sequence[str] = ()) -> None:
        named = dict.fromkeys(name for one in sets for name in one.names)
        plain = [name for name in named if not name.endswith("+")]
        prefixes = [name[:-1] for name in named if name.endswith("+")]
        fresh = [_fresh(prefix, named) for prefix in sorted(prefixes, key=len)]
        found = dict.fromkeys(["", *always, *plain, *fresh, _fresh("", named)])
        by_signature: dict[tuple[bool, ...] | str, str] = {}
        for name in found:
            alone = not name or name in always
            by_signature.setdefault(
                name if alone else tuple(_fits(name, one) for one in named), name
            )
        self._named, self._always = [*named], always
        self.names = [*by_signature.values()]
        self.size = len(self.names)

    def mask(self, interfaces: Interfaces) -> int:
        """Give the atoms of a set that was asked for."""
        return sum(
            1 << atom
            for atom, name in enumerate(self.names)
            if any(_fits(name, wanted) for wanted in interfaces.names)
        )

    def atom(self, name: str) -> int:
        """Give the atom of a name."""
        if name in self.names:
            return self.names.index(name)
        mine = tuple(_fits(name, one) for one in self._named)
        for atom, other in enumerate(self.names):
            is_class = other and other not in self._always
            if is_class and tuple(_fits(other, one) for one in self._named) == mine:
                return atom
        raise KeyError(name)

    def witness(self, mask: int) -> str:
        """Give one name of some atoms."""
        return self.names[lowest(mask)]

    def words(self, mask: int) -> list[str]:
        """Say which names some atoms are."""
        return [self._word(self.names[atom]) for atom in bits(mask)]

    def _word(self, name: str) -> str:
        if not name:
            return "none"
        if name in self._named or name == "lo":
            return name
        prefixes = [one for one in self._named if _fits(name, one)]
        return max(prefixes, key=len) if prefixes else "any other"


def _fits(name: str, wanted: str) -> bool:
    return name.startswith(wanted[:-1]) if wanted.endswith("+") else name == wanted


def _fresh(prefix: str, named: Iterable[str]) -> str:
    """Make a name of a prefix that no other name or longer prefix is about."""
    for stem in ("", "0", "9", "x0", "y9", "q7z"):
        name = f"{prefix or 'eth'}{stem if prefix else stem or '0'}"
        longer = [n for n in named if len(n.removesuffix("+")) > len(prefix)]
        if not any(_fits(name, one) for one in longer):
            return name
    return f"{prefix}~"


class Bits:
    """Numbers of 32 bits of which masks ask for some bits, as marks are.

    Args:
        asked: values and masks.
    """

    def __init__(self, asked: Iterable[tuple[int, int]]) -> None:
        self._asked = tuple(dict.fromkeys(asked))
        cubes: list[tuple[tuple[int, int], list[tuple[int, int]], int]] = [((0, 0), [], 0)]
        for number, one in enumerate(self._asked):
            split = []
            for cube, avoided, signature in cubes:
                met = _meet(cube, one)
                if met is not None and _escape(met, avoided) is not None:
                    split.append((met, avoided, signature | 1 << number))
                if _escape(cube, [*avoided, one]) is not None:
                    split.append((cube, [*avoided, one], signature))
            cubes = split
        self._cubes = cubes
        self._values = [_escape(cube, avoided) or 0 for cube, avoided, _ in cubes]
        self._signatures = {signature: atom for atom, (_, _, signature) in enumerate(cubes)}
        self.size = len(cubes)

    def mask(self, value: int, mask: int) -> int:
        """Give the atoms of what was asked for."""
        number = self._asked.index((value, mask))
        return sum(
            1 << atom for atom, (_, _, sign) in enumerate(self._cubes) if sign >> number & 1
        )

    def atom(self, value: int) -> int:
        """Give the atom of a number."""
        signature = sum(
            1 << number
            for number, (wanted, mask) in enumerate(self._asked)
            if value & mask == wanted
        )
        return self._signatures[signature]

    def image(self, change: Callable[[int], int]) -> list[int]:
        """Give for each atom the one its numbers are in after a change."""
        return [self.atom(change(value)) for value in self._values]

    def witness(self, mask: int) -> int:
        """Give one number of some atoms, the smallest at hand."""
        return min(self._values[atom] for atom in bits(mask))

    def word(self, atom: int) -> str:
        """Say which numbers an atom is: a value and its mask, less what others ask for."""
        (value, known), _, signature = self._cubes[atom]
        if not signature:
            return "any other"
        return f"{value:#x}" if known == _ALL else f"{value:#x}/{known:#x}"


_ALL = (1 << 32) - 1


def _meet(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int] | None:
    """Give the numbers that have both patterns of bits, as a pattern."""
    (value, mask), (wanted, asked) = one, other
    if (value ^ wanted) & mask & asked:
        return None
    return value | wanted, mask | asked


def _escape(cube: tuple[int, int], avoided: list[tuple[int, int]]) -> int | None:
    """Give a number that has a pattern and none of others, if there is one."""
    value, fixed = cube
    hit = next((one for one in avoided if not (value ^ one[0]) & fixed & one[1]), None)
    if hit is None:
        return value
    rest = [one for one in avoided if one is not hit]
    for bit in bits(hit[1] & ~fixed):
        turned = ~hit[0] & 1 << bit
        found = _escape((value | turned, fixed | 1 << bit), rest)
        if found is not None:
            return found
    return None
