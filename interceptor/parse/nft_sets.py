"""The named sets and maps of one table, and how often they are looked up in a listing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interceptor.parse.nft_value import UnknownError, element

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_RULES = 1 << 20
"""More than a kernel takes; a listing may be made up so that it would be any number."""


class Budget:
    """How many rules the rules of one listing may become."""

    def __init__(self) -> None:
        self._left = _MOST_RULES

    def take(self, count: int) -> None:
        """Take some, or raise ``UnknownError`` if there are not so many left."""
        if count > self._left:
            raise UnknownError
        self._left -= count


class Sets:
    """What matches and verdicts are looked up in.

    Args:
        budget: of the listing.
    """

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.known: dict[str, Any] = {}
        """What matches were read as, for rules that ask the same again."""
        self._elements: dict[str, Any] = {}
        self._changing: set[str] = set()

    def add(self, name: str, elements: Any) -> None:
        """Add a set or map with its elements."""
        self._elements[name] = elements

    def note_changes(self, statements: Any) -> None:
        """Note which sets a rule puts something into, or takes it out of."""
        for statement in statements if isinstance(statements, list) else []:
            match statement:
                case {"set": {"set": str(name)}} | {"map": {"map": str(name)}}:
                    self._changing.add(name.removeprefix("@"))

    def members(self, right: Any) -> list[Any]:
        """Give what a match compares with, one by one."""
        match right:
            case str() if right.startswith("@"):
                return [element(one) for one in self._named(right)]
            case {"set": list(members)}:
                return [element(one) for one in members]
        return [right]

    def pairs(self, data: Any) -> Iterator[tuple[Any, Any]]:
        """Give what a map has for what."""
        match data:
            case str() if data.startswith("@"):
                found = self._named(data)
            case {"set": list(found)}:
                pass
            case _:
                raise UnknownError
        for one in found:
            match one:
                case [key, verdict]:
                    yield element(key), verdict
                case _:
                    raise UnknownError

    def _named(self, reference: str) -> list[Any]:
        """Give the elements of a named set, unless packets change it as they go."""
        name = reference[1:]
        elements = self._elements.get(name)
        if not isinstance(elements, list) or name in self._changing:
            raise UnknownError
        return elements
