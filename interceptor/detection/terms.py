"""What a sheet's names are made of: which settings a value found in a rule speaks of."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

from interceptor.config import DnsCapture
from interceptor.parse.words import Kind, read_literal
from interceptor.settings import SETTINGS, Scope
from interceptor.values import Accounts, Ids, Interfaces, Marks, Network, Networks, Ports, Ranges

if TYPE_CHECKING:
    from collections.abc import Mapping

    from interceptor.sheets.sheet import Sheet

OPTION = "option:"
"""Begins the name of a parameter that is an option of its sheet."""
RESOLVERS = "captured_resolvers"
"""The only name of a sheet that the host fills, and not a setting."""

_SETS = (Ports, Accounts, Networks, Interfaces, Marks)
_SET_TYPES = ("ports", "networks", "ids", "interfaces", "marks", "records")
_LOOP = re.compile(r"(\w+) in (reversed )?(\w+)")

Set = Ports | Ids | Networks | Interfaces | Marks


class Loop(msgspec.Struct, frozen=True):
    """What a row's ``each`` goes through; ``field`` is the part of a record."""

    collection: str
    is_reversed: bool
    field: str = ""


class Expression(msgspec.Struct, frozen=True):
    """A set of a sheet, as far as it says what may be in it."""

    kind: Kind
    names: tuple[str, ...]
    literal: Set


class Terms:
    """The names of one sheet.

    Args:
        sheet: whose they are.
    """

    def __init__(self, sheet: Sheet) -> None:
        self._options = sheet.options
        kinds = {
            Kind.PORTS: sheet.sets.ports,
            Kind.NETWORKS: sheet.sets.networks,
            Kind.IDS: sheet.sets.ids,
            Kind.INTERFACES: sheet.sets.interfaces,
        }
        self._sets = {
            name: _expression(kind, text)
            for kind, named in kinds.items()
            for name, text in named.items()
        }

    def loops(self, each: str) -> Mapping[str, Loop]:
        """Give what each variable of an ``each`` stands for, fields of records by their names."""
        found: dict[str, Loop] = {}
        for name, backwards, collection in _LOOP.findall(each):
            found[name] = Loop(collection, bool(backwards))
            if collection in self._options:
                for field in self._options[collection].fields:
                    found[f"{name}_{field}"] = Loop(collection, bool(backwards), field)
        return found

    def repeats(self, name: str) -> bool:
        """Whether a name may hold any number of values, so that a row of it may be many rules."""
        if name in self._sets:
            return any(map(self.repeats, self._sets[name].names))
        if name in self._options:
            return self._options[name].type in _SET_TYPES
        return name == RESOLVERS or (name in SETTINGS and isinstance(_default(name), _SETS))

    def allows(self, name: str, value: Any) -> bool:
        """Whether a value can be that of a name, as far as the name's words alone say."""
        known = self._sets.get(name)
        if known is None or self.repeats(name) or not isinstance(value, type(known.literal)):
            return True
        others = members(_without(value, known.literal))
        if isinstance(value, Ranges) and known.names:
            literal: Any = known.literal
            if literal - value:
                return False
        return len(others) <= len(known.names) and all(
            _takes(known.names[0], text) for text in others
        )

    def spoken_of(self, name: str, value: Any) -> tuple[str, Any]:
        """Give the setting or option a value belongs to, and what of it; ``""`` for none."""
        known = self._sets.get(name)
        if known is None:
            return (f"{OPTION}{name}", value) if name in self._options else (name, value)
        if not known.names:
            return "", value
        return self.spoken_of(known.names[0], _without(value, known.literal))


def _takes(name: str, text: str) -> bool:
    """Whether a setting can be this."""
    try:
        if name in SETTINGS:
            SETTINGS[name].parse(text)
    except ValueError:
        return False
    return True


def _default(name: str) -> Any:
    return SETTINGS[name].parse(SETTINGS[name].default)


def _expression(kind: Kind, text: str) -> Expression:
    head = re.split(r" (?:within|outside|beyond) ", text, maxsplit=1)[0].split()
    names: list[str] = []
    literal: Set = read_literal(kind, "") if kind is not Kind.PORTS else Ports()
    for sign, word in zip(("+", *head[1::2]), head[0::2], strict=False):
        if sign != "+":
            continue
        if word.startswith("{"):
            names.append(word.strip("{}"))
        else:
            literal = literal + _literal(kind, word)
    return Expression(kind, tuple(names), literal)


def _literal(kind: Kind, word: str) -> Any:
    try:
        return Ports.parse(word) if kind is Kind.PORTS else read_literal(kind, word)
    except ValueError:
        # Whoever builds the sheet is told of it.
        return type(_EMPTY[kind])()


_EMPTY: dict[Kind, Set] = {
    Kind.PORTS: Ports(),
    Kind.NETWORKS: Networks(),
    Kind.IDS: Ids(),
    Kind.INTERFACES: Interfaces(),
}


def _without(value: Any, literal: Set) -> Any:
    """Take away what a set has in it anyway; everything stays everything."""
    if isinstance(value, Ranges) and isinstance(literal, Ranges):
        return value if value.is_everything else value - literal
    if isinstance(value, Networks) and isinstance(literal, Networks):
        there = {*literal.ip, *literal.ip6}
        every: tuple[Network, ...] = (*value.ip, *value.ip6)
        kept = [network for network in every if network not in there]
        return Networks.written_as(kept)
    if isinstance(value, Interfaces) and isinstance(literal, Interfaces):
        return Interfaces(tuple(n for n in value.names if n not in literal.names))
    return value


def members(value: Any) -> list[str]:
    """Give a value's parts as text, in their order."""
    if isinstance(value, Networks | Ports | Ids | Interfaces | Marks):
        if value.is_everything:
            return ["*"]
        return [str(member) for member in value.members]
    return [str(value)]


def parameters(sheet: Sheet) -> tuple[str, ...]:
    """Name all that can be chosen in a sheet: settings of a policy it has, and its options."""
    settings = (
        name
        for name, row in SETTINGS.items()
        if row.scope is Scope.POLICY
        and name not in sheet.lacks
        and name not in ("sheet", "options", "ip_families")
    )
    return (*settings, *(f"{OPTION}{name}" for name in sheet.options))


def is_set(sheet: Sheet, name: str) -> bool:
    """Whether a parameter may hold any number of values."""
    if name.startswith(OPTION):
        return sheet.options[name.removeprefix(OPTION)].type in (*_SET_TYPES, "address")
    return isinstance(_default(name), _SETS)


def choices(sheet: Sheet, name: str) -> tuple[str, ...]:
    """Give all values of a parameter that has only a few."""
    if name.startswith(OPTION):
        option = sheet.options[name.removeprefix(OPTION)]
        return ("true", "false") if option.type == "switch" else tuple(option.words)
    default = _default(name)
    if isinstance(default, bool):
        return ("true", "false")
    if name == "capture_dns":
        return tuple(map(str, (DnsCapture.OFF, DnsCapture.ALL, DnsCapture.RESOLV_CONF)))
    return tuple(map(str, type(default))) if isinstance(default, StrEnum) else ()


def default_text(sheet: Sheet, name: str) -> str:
    """Give what a parameter is if nobody says otherwise."""
    from interceptor.sources import sheet_layer

    if name.startswith(OPTION):
        return sheet.options[name.removeprefix(OPTION)].default_text
    return sheet_layer(sheet).values.get(name, SETTINGS[name].default)
