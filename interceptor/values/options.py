"""Settings that only one dialect has, as text: the sheet they are for knows what they mean."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Self

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

OPTION_NAME = re.compile(r"[a-z][a-z0-9_]*")


class Options(msgspec.Struct, frozen=True):
    """Names with values, sorted by name; each name is there once."""

    given: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``vnet=docker0:172.17.0.0/16;ingress=true``; an empty text is none."""
        given: dict[str, str] = {}
        for item in text.split(";") if text.strip() else ():
            name, equals, value = (part.strip() for part in item.partition("="))
            if not (equals and OPTION_NAME.fullmatch(name)):
                raise ValueError(f"{item.strip()!r} is not of the form name=value")
            if name in given:
                raise ValueError(f"the option {name!r} is there twice")
            if not value.isprintable():
                raise ValueError(f"{name}: {value!r} has characters that do not print")
            given[name] = value
        return cls(tuple(sorted(given.items())))

    @property
    def values(self) -> Mapping[str, str]:
        """Give the values by name."""
        return dict(self.given)

    def __bool__(self) -> bool:
        return bool(self.given)

    def __str__(self) -> str:
        return ";".join(f"{name}={value}" for name, value in self.given)
