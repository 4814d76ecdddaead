"""The names a sheet's rows may use, and the small languages of its sets and conditions."""

from __future__ import annotations

import re
from enum import StrEnum
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Any

from interceptor.config import DnsCapture
from interceptor.errors import SheetError
from interceptor.names import Family
from interceptor.parse.words import Kind, read_literal
from interceptor.settings import SETTINGS, Scope
from interceptor.sheets.option import Records, Word
from interceptor.values import (
    EVERYTHING,
    Accounts,
    Ids,
    Interfaces,
    Mark,
    Marks,
    Networks,
    Ports,
)

if TYPE_CHECKING:
    from interceptor.config import Config
    from interceptor.facts import HostFacts
    from interceptor.sheets.sheet import Sheet

_NESTED = (Kind.NETWORKS, Kind.INTERFACES)
"""Sets of which one member can be inside another."""

Value = int | Word | Ports | Ids | Networks | Interfaces | Marks | Records

_REFERENCE = re.compile(r"\{(\w+)\}")
_TYPES: dict[Kind, type] = {
    Kind.PORTS: Ports,
    Kind.IDS: Ids,
    Kind.NETWORKS: Networks,
    Kind.INTERFACES: Interfaces,
    Kind.MARKS: Marks,
    Kind.PORT: int,
    Kind.MARK: int,
}


def _value(setting: object) -> Value | None:
    """Give a setting as a row may use it: accounts by their ids, one network as networks."""
    match setting:
        case Accounts():
            return setting.ids
        case IPv4Network():
            return Networks.of((setting,))
        case StrEnum():
            return Word(str(setting), tuple(type(setting)))
        case int() | Ports() | Networks() | Interfaces() | Marks():
            return setting
        case _:
            return None


class Vocabulary:
    """Names with typed values; ``ValueError`` with half a sentence for what makes no sense."""

    def __init__(self, values: dict[str, Value]) -> None:
        self._values = values

    @classmethod
    def of(cls, config: Config, sheet: Sheet, facts: HostFacts, family: Family) -> Vocabulary:
        """Take the settings, whose account names are resolved, and add a sheet's options and sets.

        Beside the settings there are ``captured_resolvers``, where the DNS queries go that are
        captured, and ``with_ipv6``.

        Raises:
            ConfigError: options the sheet does not have, or not so.
            SheetError: a name that is taken, or a set that makes no sense, with its place.
        """
        vocabulary = cls(
            {
                name: value
                for name, row in SETTINGS.items()
                if row.scope is Scope.POLICY
                and (value := _value(getattr(config, name))) is not None
            }
            | {
                "captured_resolvers": _captured_resolvers(config, facts),
                "with_ipv6": int(Family.IP6 in family.members),
            }
        )
        options: dict[str, Value] = {}
        if sheet.options or config.options:
            from interceptor.sheets.given import option_values

            options = option_values(sheet, config)
        for name, value in options.items():
            try:
                vocabulary = vocabulary.extended(name, value)
            except ValueError as error:
                raise SheetError(f"{sheet.place(f'options.{name}')}: option: {error}") from None
        for kind, named in (
            (Kind.PORTS, sheet.sets.ports),
            (Kind.NETWORKS, sheet.sets.networks),
            (Kind.IDS, sheet.sets.ids),
            (Kind.INTERFACES, sheet.sets.interfaces),
        ):
            for name, expression in named.items():
                try:
                    vocabulary = vocabulary.extended(name, vocabulary.set(kind, expression))
                except ValueError as error:
                    place = sheet.place(f"sets.{kind}.{name}")
                    raise SheetError(f"{place}: set {name}: {error}") from None
        return vocabulary

    def extended(self, name: str, value: Value) -> Vocabulary:
        """Give a vocabulary with one more name."""
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise ValueError(f"{name!r} is no name: small letters, digits and underscores are")
        if name in self._values:
            raise ValueError(f"the name {name!r} is taken")
        return Vocabulary({**self._values, name: value})

    def value(self, name: str) -> Value:
        """Look a name up."""
        if name not in self._values:
            known = ", ".join(sorted(self._values))
            raise ValueError(f"there is no name {name!r}; known are {known}")
        return self._values[name]

    def families(self, name: str) -> frozenset[Family]:
        """Give the family of a name, or those that networks have addresses of; "" is both."""
        if not name or name in Family.INET.members:
            return frozenset(Family(name).members if name else Family.INET.members)
        value = self.value(name)
        if not isinstance(value, Networks):
            raise ValueError(f"family is ip, ip6 or the name of networks, not {name!r}")  # noqa: TRY004
        return frozenset(family for family in Family.INET.members if value.part(family))

    def read(self, kind: Kind, text: str) -> Any:
        """Read an option's text: a ``{name}`` of the right type, or a literal."""
        found = _REFERENCE.fullmatch(text)
        if found is None:
            if "{" in text:
                raise ValueError(f"{text!r} is more than one name: make a set of it")
            # Written by a person: port 0 and open ranges are slips, not what a kernel prints.
            match kind:
                case Kind.PORTS:
                    return Ports.parse(text)
                case Kind.MARK_BITS:
                    return Mark.parse(text)
            return read_literal(kind, text)
        value = self.value(found[1])
        if isinstance(value, Word) and kind is Kind.PROTOCOL:
            return value.text
        if isinstance(value, int):
            if kind is Kind.PORTS:
                return Ports.of(value)
            if kind is Kind.MARKS:
                return Marks((Mark(value),))
            if kind is Kind.MARK_BITS:
                return Mark(value)
        if not isinstance(value, _TYPES.get(kind, ())):
            # Not a TypeError: it is the sheet's author who mixed types, not a caller.
            raise ValueError(f"{{{found[1]}}} holds {type(value).__name__}, {kind} are needed")  # noqa: TRY004
        return value

    def set(self, kind: Kind, expression: str) -> Value:
        """Work out ``{a} + 15020 - {b}``, or two such sums with a word between them.

        ``within`` and ``outside`` keep networks, or interfaces, that lie wholly inside the second
        sum, or do not. ``beyond`` takes the second sum away from the first, but leaves everything
        as it is: it is for what rows before this one have dealt with already.
        """
        head, *rest = re.split(r" (within|outside|beyond) ", expression, maxsplit=1)
        value = self._sum(kind, head)
        match rest:
            case [("within" | "outside") as word, frame]:
                if kind not in _NESTED:
                    raise ValueError(f"only networks and interfaces can be {word} others")
                value = value.within(self._sum(kind, frame), inside=word == "within")
            case ["beyond", frame]:
                if kind in _NESTED:
                    raise ValueError(f"{kind} are outside others, not beyond them")
                handled = self._sum(kind, frame)
                value = value if value.is_everything else value - handled
        return value  # type: ignore[no-any-return]  # the kind decides

    def _sum(self, kind: Kind, expression: str) -> Any:
        words = expression.split()
        if len(words) % 2 == 0:
            raise ValueError(f"{expression!r} is not terms joined by + and -")
        value = self.read(kind, words[0])
        for operator, word in zip(words[1::2], words[2::2], strict=True):
            term = self.read(kind, word)
            if operator == "+":
                value = value + term
            elif operator == "-" and kind not in _NESTED:
                value = value - term
            else:
                raise ValueError(f"{operator!r} does not join {kind}")
        return value

    def holds(self, condition: str) -> bool:
        """Work out a row's ``when``; an empty one always holds, and ``and`` binds first."""
        if not condition.strip():
            return True
        # All are worked out, so that a wrong name never hides behind a false one.
        ways = [[self._holds(t) for t in way.split(" and ")] for way in condition.split(" or ")]
        return any(all(way) for way in ways)

    def _holds(self, term: str) -> bool:
        match term.split():
            case [name]:
                return bool(self.value(name))
            case ["not", name]:
                return not self.value(name)
            case [name, "is", word]:
                return self._is(name, word)
            case [name, "is", "not", word]:
                return not self._is(name, word)
        raise ValueError(f"{term!r} is no condition: NAME, not NAME, NAME is WORD or is not WORD")

    def _is(self, name: str, word: str) -> bool:
        value = self.value(name)
        if isinstance(value, Word):
            if word not in value.words:
                raise ValueError(f"{name} is never {word!r}, but one of {', '.join(value.words)}")
            return value.text == word
        if word != EVERYTHING:
            raise ValueError(f"{name} holds {type(value).__name__}, which can only be *")
        return isinstance(value, Ports | Ids | Networks) and value.is_everything

    def members(self, name: str, collection: str) -> tuple[Vocabulary, ...]:
        """Give a vocabulary for each member of a collection, in the order it was written.

        A member of a set is a set of its own and has the ``name``; of a record each field is
        called ``name_field``.
        """
        value = self.value(collection)
        match value:
            case Records():
                return tuple(self._with_fields(name, row) for row in value.rows)
            case int() | Word():
                raise ValueError(f"{collection!r} is no set, so there is no each in it")
        return tuple(self.extended(name, member) for member in value.members)

    def without_member(self, name: str, collection: str) -> Vocabulary:
        """Give a vocabulary to check rows with, where a collection has no member."""
        value = self.value(collection)
        if isinstance(value, Records):
            return self._with_fields(name, value.blank)
        return self.extended(name, value)

    def _with_fields(self, name: str, row: dict[str, Value]) -> Vocabulary:
        found = self
        for field, value in row.items():
            found = found.extended(f"{name}_{field}", value)
        return found


def _captured_resolvers(config: Config, facts: HostFacts) -> Networks:
    match config.capture_dns:
        case DnsCapture.OFF:
            return Networks()
        case DnsCapture.RESOLV_CONF:
            return facts.resolvers
        case DnsCapture.ALL:
            return Networks.everything()
