"""TCP flags, cut into atoms as questions about them ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor import model

if TYPE_CHECKING:
    from collections.abc import Iterable

_SYN = "SYN"
"""The only flag of a connection's first packet."""


class FlagSets:
    """Sets of TCP flags, by which of the questions asked they answer with yes."""

    def __init__(self, asked: Iterable[tuple[tuple[str, ...], tuple[str, ...]]]) -> None:
        self._asked = tuple(asked)
        signatures: dict[int, int] = {}
        self.first = signatures.setdefault(self._signature({_SYN}), 0)
        for number in range(1 << len(model.TCP_FLAGS)) if self._asked else ():
            flags = {f for bit, f in enumerate(model.TCP_FLAGS) if number >> bit & 1}
            signatures.setdefault(self._signature(flags), len(signatures))
        self._signatures = signatures
        self.size = len(signatures)

    def _signature(self, flags: set[str]) -> int:
        return sum(
            1 << number
            for number, (mask, wanted) in enumerate(self._asked)
            if flags & set(mask) == set(wanted)
        )

    def mask(self, mask: tuple[str, ...], flags: tuple[str, ...]) -> int:
        """Give the atoms for which just these of the flags looked at are set."""
        number = self._asked.index((mask, flags))
        return sum(1 << atom for sign, atom in self._signatures.items() if sign >> number & 1)
