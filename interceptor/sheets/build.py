"""``build(sheet, config, facts)``: the ``Ruleset`` a policy means. Same inputs, same rules."""

from __future__ import annotations

from itertools import groupby, pairwise
from typing import TYPE_CHECKING

import msgspec

from interceptor.config import FamilyChoice
from interceptor.dialect import CALL_COMMENT
from interceptor.errors import ConfigError, RulesetError, SheetError
from interceptor.model import (
    Base,
    Chain,
    ConnectionMark,
    Destination,
    DestinationPort,
    FamilyIs,
    Gid,
    InInterface,
    Match,
    OutInterface,
    PacketMark,
    Rule,
    Ruleset,
    Source,
    SourcePort,
    Table,
    Uid,
    check_rule,
    reachable,
    without_idle,
)
from interceptor.names import PRIORITIES, Family, Hook, builtin_type
from interceptor.parse.words import WordReader, tokenize
from interceptor.sheets.routing import build_routing
from interceptor.sheets.vocabulary import Vocabulary
from interceptor.values import Ports

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from interceptor.config import Config
    from interceptor.facts import HostFacts
    from interceptor.model.pod_config import SocketPolicy
    from interceptor.sheets.sheet import Row, Sheet
    from interceptor.values import Ids, Interfaces, Marks, Networks


_TRANSLATING = frozenset({"--to-destination", "--to-source"})
"""Options of actions that name an address, which is of one family."""


def family_of(config: Config, facts: HostFacts) -> Family:
    """Decide which families are intercepted."""
    match config.ip_families:
        case FamilyChoice.IPV4:
            return Family.IP
        case FamilyChoice.IPV6:
            return Family.IP6
        case FamilyChoice.DUAL:
            return Family.INET
        case FamilyChoice.AUTO:
            return Family.INET if facts.has_ipv6 else Family.IP


def build(sheet: Sheet, config: Config, facts: HostFacts) -> Ruleset:
    """Make the rules a sheet means for a configuration on a host.

    Raises:
        ConfigError: a user or group name that the host does not know, options or settings that
            the sheet does not have, or settings that it refuses.
        SheetError: a row that makes no sense, with file and line.
    """
    if sheet.lacks:
        from interceptor.sheets.given import refuse_lacking

        refuse_lacking(sheet, config)
    config = config.with_accounts(facts.users, facts.groups)
    family = family_of(config, facts)
    vocabulary = Vocabulary.of(config, sheet, facts, family)
    _refuse(sheet, vocabulary)
    tables = [
        _table(sheet, family, name, chains, vocabulary) for name, chains in sheet.chains.items()
    ]
    ruleset = Ruleset(
        tuple(table for table in tables if table.chains),
        tuple(build_routing(sheet, family, vocabulary)),
        _sockets(config, facts, vocabulary),
    )
    try:
        ruleset.validate()
    except RulesetError as error:
        raise SheetError(f"{sheet.file}: {error}", hint=error.hint) from None
    return ruleset


def _sockets(config: Config, facts: HostFacts, vocabulary: Vocabulary) -> SocketPolicy | None:
    """Give the same policy for programs at sockets, if somebody asks for it."""
    if facts.pod is None:
        return None
    from interceptor.model.pod_config import SocketPolicy
    from interceptor.sheets.sockets import pod_config, refuse_unsupported

    refuse_unsupported(config)
    kept = vocabulary.value("kept_ports")
    if not isinstance(kept, Ports):
        raise TypeError(kept)
    return SocketPolicy(pod_config(config, facts, facts.pod, kept=kept))


def _refuse(sheet: Sheet, vocabulary: Vocabulary) -> None:
    for number, refusal in enumerate(sheet.refuse):
        try:
            holds = vocabulary.holds(refusal.when)
        except ValueError as error:
            raise SheetError(f"{sheet.place(f'refuse[{number}]')}: refuse: {error}") from None
        if holds:
            raise ConfigError(f"sheet {sheet.name}: {refusal.why}")


def _table(
    sheet: Sheet, family: Family, name: str, chains: dict[str, list[Row]], vocabulary: Vocabulary
) -> Table:
    built: dict[str, Chain] = {}
    for chain, rows in chains.items():
        base = _base(name, chain)
        mark = CALL_COMMENT if base and not sheet.verbatim else ""
        rules = tuple(
            within
            for rule in _rules(rows, chains, vocabulary, mark)
            if (within := _in_family(rule, family, verbatim=sheet.verbatim)) is not None
        )
        _check_first(rules, base, sheet.place(f"chains.{name}.{chain}"))
        if rules or base is None:
            built[chain] = Chain(chain, rules, base)
    if not sheet.keep_unreachable:
        kept = {
            c.name for base in built.values() if base.base for c in reachable(built, base.name)
        }
        built = {chain: built[chain] for chain in built if chain in kept}
    return Table(family, name, without_idle(built.values()))


def _check_first(rules: tuple[Rule, ...], base: Base | None, place: str) -> None:
    """Refuse ``first`` where nobody else has rules, or where one comes after one that is not."""
    if any(rule.first for rule in rules) and base is None:
        raise SheetError(f"{place}: first is for rows of built-in chains")
    if any(late.first and not early.first for early, late in pairwise(rules)):
        raise SheetError(f"{place}: rows that are first stand before those that are not")


def _base(table: str, chain: str) -> Base | None:
    for hook, priority in PRIORITIES[table].items():
        if hook.upper() == chain:
            return Base(builtin_type(table, hook), Hook(hook), priority)
    return None


def _in_family(rule: Rule, family: Family, *, verbatim: bool) -> Rule | None:
    """Give a rule as far as it is for a family of its table; a verbatim one as it is."""
    if any(m.family not in family.members for m in rule.matches if isinstance(m, FamilyIs)):
        return None
    if verbatim or family is Family.INET:
        return rule
    kept: list[Match] = []
    for match in rule.matches:
        if isinstance(match, Source | Destination):
            always, never = match.networks.covers(family), not match.networks.part(family)
            if (always and match.negated) or (never and not match.negated):
                return None
            if not (always or never):
                kept.append(type(match)(match.networks.only(family), negated=match.negated))
        else:
            kept.append(match)
    return msgspec.structs.replace(rule, matches=tuple(kept))


def _rules(
    rows: list[Row], chains: dict[str, list[Row]], vocabulary: Vocabulary, mark: str
) -> Iterator[Rule]:
    """Expand a chain's rows: neighbours with one ``each`` together, the others by themselves.

    ``mark`` begins the comment of rules that call no chain of ours, so that they are found again.
    """
    for _, group in groupby(enumerate(rows), key=lambda pair: pair[1].each or pair[0]):
        repeated = [row for _, row in group]
        for words, wanted in _each(repeated[0], vocabulary):
            for row in repeated:
                for rule in _rule(row, chains, words, mark):
                    if wanted:
                        yield rule


def _each(row: Row, vocabulary: Vocabulary) -> list[tuple[Vocabulary, bool]]:
    """Give one vocabulary for each member; for no member, one that only serves to check rows."""
    found = [(vocabulary, True)]
    for loop in row.each.split(",") if row.each else ():
        try:
            found = [
                (extended, wanted and one)
                for words, wanted in found
                for extended, one in _members(loop, words)
            ]
        except ValueError as error:
            raise SheetError(f"{row.place}: {error}") from None
    return found


def _members(loop: str, vocabulary: Vocabulary) -> list[tuple[Vocabulary, bool]]:
    match loop.split():
        case [name, "in", collection]:
            members = vocabulary.members(name, collection)
        case [name, "in", "reversed", collection]:
            members = vocabulary.members(name, collection)[::-1]
        case _:
            raise ValueError(
                f"each is {loop.strip()!r}, not of the form NAME in NAME or NAME in reversed NAME"
            )
    if not members:
        return [(vocabulary.without_member(name, collection), False)]
    return [(member, True) for member in members]


def _rule(
    row: Row, chains: dict[str, list[Row]], vocabulary: Vocabulary, mark: str
) -> Iterator[Rule]:
    """Read one row, for each family by itself if it names an address to go to or come from.

    It gives nothing if its condition does not hold or its sets leave nothing to match.
    """
    try:
        for action, family, is_wanted in _actions(row, vocabulary):
            words = [*tokenize(row.match), *action]
            rule = WordReader(words, chains, vocabulary.read, strict=True).read()
            why = row.why if rule.target else f"{mark}{row.why}"
            rule = msgspec.structs.replace(rule, why=why, only=row.only, first=row.first)
            wanted = vocabulary.holds(row.when) and is_wanted
            check_rule(rule)
            within = vocabulary.families(row.family) & vocabulary.families(family)
            matches = simplify(rule.matches) if wanted and within else None
            if matches is not None:
                only = tuple(FamilyIs(one) for one in within) if len(within) == 1 else ()
                yield msgspec.structs.replace(rule, matches=(*only, *matches))
    except ValueError as error:
        raise SheetError(f"{row.place}: {error}") from None
    except RulesetError as error:
        raise SheetError(f"{row.place}: {error}", hint=error.hint) from None


def _actions(row: Row, vocabulary: Vocabulary) -> Iterable[tuple[list[str], str, bool]]:
    """Give a row's action in words, the family it is for, and whether it is wanted."""
    words = tokenize(row.action)
    if not _TRANSLATING.intersection(words):
        return ((words, "", True),)
    from interceptor.sheets.translation import for_families

    return for_families(words, vocabulary)


def simplify(matches: tuple[Match, ...]) -> tuple[Match, ...] | None:
    """Leave out what is always true; ``None`` if something can never be."""
    kept = []
    for match in matches:
        value = match_set(match)
        # "Any user" still asks for a socket, so it is not the same as no match.
        always = value is not None and value.is_everything and not isinstance(match, Uid | Gid)
        never = value is not None and not value
        if (never and not match.negated) or (always and match.negated):
            return None
        if not (always or never):
            kept.append(match)
    return tuple(kept)


def match_set(match: Match) -> Ports | Ids | Networks | Interfaces | Marks | None:
    """Give the set a match holds, if it holds one."""
    match match:
        case Source() | Destination():
            return match.networks
        case SourcePort() | DestinationPort():
            return match.ports
        case Uid() | Gid():
            return match.ids
        case InInterface() | OutInterface():
            return match.interfaces
        case PacketMark() | ConnectionMark():
            return match.marks
        case _:
            return None
