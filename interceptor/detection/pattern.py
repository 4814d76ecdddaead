"""A sheet's rows as patterns: rules with holes where settings stand, to lay upon live rules."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import msgspec

from interceptor import model
from interceptor.errors import RulesetError
from interceptor.names import PRIORITIES, Family, Hook, builtin_type
from interceptor.parse.words import Kind, WordReader, read_literal, tokenize
from interceptor.sheets.build import match_set
from interceptor.values import Ids, Networks, Ports

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.model import Action, Base, Match, Rule
    from interceptor.sheets.sheet import Row, Sheet

_NAME = re.compile(r"\{(\w+)\}")
_PLACES = ("--to-destination", "--to-source")
_PLACE = re.compile(r"(?P<address>\{\w+\}|[0-9.]*)(?::(?P<port>.+))?")
"""An address and a port, of which at least one is a name."""

Key = tuple[type, bool]
"""The class of a match, and whether it is negated."""


class Hole(msgspec.Struct, frozen=True):
    """Where a row has a ``{name}``; ``part`` is the one of it that an action takes."""

    name: str
    part: str = ""

    @property
    def value(self) -> Hole:
        """Stand for the bits of a mark."""
        return Hole(self.name, "value")

    @property
    def mask(self) -> Hole:
        """Stand for the bits of a mark that are looked at."""
        return Hole(self.name, "mask")


class Bound(msgspec.Struct, frozen=True):
    """What a hole was found to hold: a set of values, or one."""

    name: str
    value: Any
    part: str = ""


class Fit(msgspec.Struct, frozen=True):
    """That a rule is one of those a row makes, and what its holes hold then.

    ``calls`` are the chains the row and the rule call, if they do.
    """

    bound: tuple[Bound, ...]
    calls: tuple[str, str] | None
    weight: float


class Pattern(msgspec.Struct, frozen=True):
    """A row as a rule with holes.

    ``group`` counts the groups of rows that are repeated together; ``is_sure`` is whether the row
    makes a rule whatever the settings are.
    """

    row: Row
    group: int
    keys: dict[Key, Any]
    action: Action
    is_sure: bool


def holes(row: Row) -> frozenset[str]:
    """Name what a row's match, action and repetition speak of."""
    return frozenset(_NAME.findall(f"{row.match} {row.action}"))


def patterns(sheet: Sheet, table: str, chain: str, language: str) -> tuple[Pattern, ...]:
    """Give the rows of a chain that are for a language.

    ``SheetError`` is for ``build``: rows that make no sense are left out here.
    """
    found: list[Pattern] = []
    group, last = -1, ""
    for row in sheet.chains[table][chain]:
        if not row.each or row.each != last:
            group += 1
        last = row.each
        if row.only in ("", language):
            try:
                found.append(_pattern(row, sheet.chains[table], group))
            except (ValueError, RulesetError):
                continue
    return tuple(found)


def _pattern(row: Row, chains: dict[str, list[Row]], group: int) -> Pattern:
    words = [*tokenize(row.match), *tokenize(row.action)]
    at = next((n for n, word in enumerate(words[:-1], 1) if word in _PLACES), 0)
    place = words[at] if at and "{" in words[at] else ""
    if place:
        words[at] = "192.0.2.1"
    rule = WordReader(words, chains, _read, strict=True).read()
    action = _translated(rule.action, place) if place else rule.action
    keys = {_key(match): _held(match) for match in rule.matches if not _is_idle(match)}
    has_sets = any(_is_hole(value) for value in keys.values())
    return Pattern(row, group, keys, action, not (row.when or row.each or row.family or has_sets))


def _read(kind: Kind, text: str) -> Any:
    found = _NAME.fullmatch(text)
    if found:
        return Hole(found[1])
    if kind is Kind.PORTS:
        return Ports.parse(text)
    return read_literal(kind, text)


def _translated(action: Action, place: str) -> Action:
    """Put holes into an action whose address, port or both are names."""
    found = _PLACE.fullmatch(place)
    if found is None:
        raise ValueError(place)
    address, port = found["address"], found["port"]
    read: Any = _read(Kind.ADDRESS, address) if address else None
    if isinstance(action, model.TranslateDestination):
        return model.TranslateDestination(read, _read(Kind.PORT, port) if port else None)
    return model.SetSource(read)


def _is_hole(value: Any) -> bool:
    return isinstance(value, Hole)


def _is_idle(match: Match) -> bool:
    return isinstance(match, model.Aside) or (
        isinstance(match, model.FamilyIs) and not match.negated
    )


def _key(match: Match) -> Key:
    return type(match), match.negated


def _held(match: Match) -> Any:
    """Give what a match holds, beside its negation."""
    held = tuple(getattr(match, name) for name in match.__struct_fields__ if name != "negated")
    return held[0] if len(held) == 1 else held


@cache
def base_of(table: str, chain: str) -> Base | None:
    """Give what ties a sheet's chain to a hook, if it is a built-in one."""
    for hook, priority in PRIORITIES[table].items():
        if hook.upper() == chain:
            return model.Base(builtin_type(table, hook), Hook(hook), priority)
    return None


class Shape(msgspec.Struct, frozen=True):
    """A live rule as patterns are laid upon it.

    ``family`` is the only one it can be about, if there is one.
    """

    rule: Rule
    keys: dict[Key, tuple[Match, ...]]
    family: Family | None


def shape(rule: Rule, family: Family) -> Shape:
    """Take a rule of a table of some family apart."""
    keys: dict[Key, tuple[Match, ...]] = {}
    only: Family | None = family if family is not Family.INET else None
    for match in rule.matches:
        if isinstance(match, model.FamilyIs) and not match.negated:
            only = match.family
        elif not _is_idle(match):
            keys[_key(match)] = (*keys.get(_key(match), ()), match)
    for match in rule.matches:
        if isinstance(match, model.Source | model.Destination) and only is None:
            only = Family.IP if match.networks.ip else Family.IP6
    return Shape(rule, keys, only)


def fit(pattern: Pattern, live: Shape) -> Fit | None:
    """Lay a pattern upon a rule; ``None`` if the row cannot have made it."""
    if not live.keys.keys() <= pattern.keys.keys():
        return None
    done = _fit_action(pattern.action, live.rule.action)
    if done is None:
        return None
    bound, calls = done
    found = list(bound)
    for key, wanted in pattern.keys.items():
        there = live.keys.get(key, ())
        one = _fit_match(key, wanted, there, live.family)
        if one is None:
            return None
        found += one
    weight = 1 + len(live.keys) * 0.25 - (len(pattern.keys) - len(live.keys)) * 0.25
    return Fit(tuple(found), calls, weight)


def _fit_match(
    key: Key, wanted: Any, there: tuple[Match, ...], family: Family | None
) -> tuple[Bound, ...] | None:
    is_address = key[0] in (model.Source, model.Destination)
    if not there:
        if key[1]:
            # "None of these" is left out for the family that has none of them.
            return () if is_address else None
        if not isinstance(wanted, Hole):
            return None
        if is_address:
            return (Bound(wanted.name, _all_of(family)),)
        is_port = key[0] in (model.SourcePort, model.DestinationPort)
        return (Bound(wanted.name, Ports.everything()),) if is_port else None
    if not isinstance(wanted, Hole):
        return () if all(_is_within(_held(match), wanted, match) for match in there) else None
    return tuple(Bound(wanted.name, _held(match)) for match in there)


def _all_of(family: Family | None) -> Networks:
    every = Networks.everything()
    return every if family is None else every.only(family)


def _is_within(held: Any, wanted: Any, match: Match) -> bool:
    """Whether a match holds what a row's does, or the part of it for one family or element."""
    if held == wanted:
        return True
    if match_set(match) is None:
        return False
    if isinstance(wanted, Networks):
        return {*held.ip, *held.ip6} <= {*wanted.ip, *wanted.ip6}
    if isinstance(wanted, Ports | Ids):
        return bool(held) and not held - wanted
    return set(held.members) <= set(wanted.members)


_Done = tuple[tuple[Bound, ...], tuple[str, str] | None]


def _fit_action(wanted: Action, there: Action) -> _Done | None:
    if type(wanted) is not type(there):
        return None
    if isinstance(wanted, model.Jump | model.Goto):
        return (), (wanted.chain, cast("model.Jump", there).chain)
    found: list[Bound] = []
    for name in wanted.__struct_fields__:
        value, held = getattr(wanted, name), getattr(there, name)
        if isinstance(value, Hole):
            found.append(Bound(value.name, held, value.part))
        elif value != held:
            return None
    return tuple(found), None


def intercepts(action: Action) -> bool:
    """Whether an action hands a connection over to a port here."""
    if isinstance(action, model.TranslateDestination):
        return action.address is not None and action.address.is_loopback
    return isinstance(action, model.Redirect | model.TProxy)


def called(rules: tuple[Rule, ...]) -> Iterator[str]:
    """Name the chains that rules call, in order."""
    yield from dict.fromkeys(rule.target for rule in rules if rule.target)
