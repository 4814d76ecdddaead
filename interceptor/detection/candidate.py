"""A sheet with settings, built in a language and held against live rules."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from interceptor.backends.drift import Finding, compare
from interceptor.detection.pattern import base_of
from interceptor.detection.terms import OPTION, default_text
from interceptor.errors import InterceptorError
from interceptor.facts import HostFacts
from interceptor.layers import DEFAULTS, resolve
from interceptor.layers import Layer as SettingsLayer
from interceptor.model import Chain, Destination, Goto, Jump, Rule, Ruleset, Source, Table
from interceptor.names import Family
from interceptor.render import iptables, nftables
from interceptor.settings import SETTINGS
from interceptor.sheets.build import build
from interceptor.sources import sheet_layer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from interceptor.config import Config
    from interceptor.detection.found import Layer
    from interceptor.detection.pairing import Pairing, Placed
    from interceptor.sheets.sheet import Sheet
    from interceptor.values import Networks

_CHAIN = 2
"""Rules that a chain counts as that only one of both has."""
_CHOICES = {(Family.IP,): "ipv4", (Family.IP6,): "ipv6", (Family.IP, Family.IP6): "dual"}


class Candidate(msgspec.Struct, frozen=True):
    """Settings, the rules they mean without comments, and how those compare.

    ``differences`` are rules that are missing or extra; ``left`` are those in built-in chains that
    look like rows of the sheet, and that it does not have with these settings.
    """

    values: Mapping[str, str]
    config: Config
    target: Ruleset
    differences: int
    left: int

    @property
    def distance(self) -> tuple[int, int]:
        """Order candidates: the less is unlike the better, and others' rules are no difference."""
        return self.differences + self.left, self.differences


class Fitting:
    """One sheet against the live rules it was laid upon.

    Args:
        sheet: the dialect.
        pairing: which names its chains have in the language.
        placed: which live chain is which.
        families: those that are intercepted.
        resolvers: where captured DNS queries go.
        layer: the language, and whether all of it is known.
    """

    def __init__(
        self,
        sheet: Sheet,
        pairing: Pairing,
        placed: tuple[Placed, ...],
        families: tuple[Family, ...],
        resolvers: Networks,
        layer: Layer,
    ) -> None:
        self.sheet = sheet
        self._pairing = pairing
        self._placed = placed
        self._families = families
        self._facts = HostFacts(resolvers=resolvers)
        self._language = layer.language
        self._known = (
            None if layer.is_whole else {(table.family, table.name) for table in layer.tables}
        )
        self.held = self._renamed()
        self._there = _by_place(self.held)
        self._shared = {
            f"{one.live.family} {one.table} {one.chain}"
            for one in placed
            if self._language == iptables.LANGUAGE and base_of(one.table, one.chain)
        }
        self._called = {chain.name for chain in self._there.values()}
        self._counted = {where: Counter(chain.rules) for where, chain in self._there.items()}

    def _renamed(self) -> Ruleset:
        """Give what is live under the sheet's names; of built-in chains what belongs to it."""
        names = {
            (id(one.live), one.held.name): self._pairing.expected(one.table, one.chain)[1]
            for one in self._placed
        }
        tables: dict[tuple[Family, str], list[Chain]] = {}
        for one in self._placed:
            table, name = self._pairing.expected(one.table, one.chain)
            of_sheet = base_of(one.table, one.chain)
            is_shared = of_sheet is not None and self._language == iptables.LANGUAGE
            mine = {pair.number for pair in one.laid.pairs}
            rules = tuple(
                _plain(rule, {c: n for (live, c), n in names.items() if live == id(one.live)})
                for number, rule in enumerate(one.held.rules)
                if not is_shared or number in mine
            )
            base = of_sheet if is_shared else one.held.base
            tables.setdefault((one.live.family, table), []).append(Chain(name, rules, base))
        return Ruleset(tuple(Table(f, name, tuple(c)) for (f, name), c in tables.items()))

    def try_out(self, values: Mapping[str, str]) -> Candidate | None:
        """Build the sheet with these parameters and compare; ``None`` if it refuses them."""
        try:
            config = self.configured(values)
            target = self._lowered(config)
        except (InterceptorError, ValueError):
            return None
        return Candidate(values, config, target, self._differences(target), self._left(target))

    def configured(self, values: Mapping[str, str]) -> Config:
        """Give the settings; options and settings are told apart by their names."""
        given = {k: v for k, v in values.items() if not k.startswith(OPTION)}
        options = {
            k.removeprefix(OPTION): v
            for k, v in values.items()
            if k.startswith(OPTION) and v != default_text(self.sheet, k)
        }
        given["options"] = ";".join(f"{name}={text}" for name, text in options.items())
        if self._language == iptables.LANGUAGE or "ip_families" not in given:
            given["ip_families"] = _CHOICES[self._families]
        given["sheet"] = path_of(self.sheet) or self.sheet.name
        layers = [DEFAULTS, sheet_layer(self.sheet), SettingsLayer(given, lambda key: key)]
        return resolve(layers).config

    def _lowered(self, config: Config) -> Ruleset:
        policy = build(self.sheet, config, self._facts)
        if self._language == nftables.LANGUAGE:
            lowered = nftables.lower(policy, self.sheet.dialect)
        else:
            tables = [
                table
                for family in self._families
                for table in iptables.lower(policy, family, verbatim=self.sheet.verbatim).tables
            ]
            # What a dump leaves out may be there all the same.
            lowered = Ruleset(
                tuple(t for t in tables if not self._known or (t.family, t.name) in self._known)
            )
        routing = tuple(one for one in policy.routing if one.family in self._families)
        return msgspec.structs.replace(_without_words(lowered), routing=routing)

    def _differences(self, target: Ruleset) -> int:
        """Count rules that are missing or extra, and chains in another order."""
        wanted = _by_place(target)
        differences = 0
        for where in wanted.keys() | self._counted.keys():
            asked = wanted[where].rules if where in wanted else ()
            held = self._held_at(where, asked)
            there = Counter(held) if where in self._shared else self._counted.get(where, Counter())
            counted = Counter(asked)
            apart = (there - counted).total() + (counted - there).total()
            if apart:
                differences += apart
            elif where in wanted and where in self._there:
                differences += asked != held
            if (where in wanted) != (where in self._there) and (held or where in wanted):
                differences += _CHAIN
        return differences

    def _left(self, target: Ruleset) -> int:
        wanted = _by_place(target)
        asked = {where: wanted[where].rules if where in wanted else () for where in self._shared}
        there = {
            where: len(self._there[where].rules) for where in self._shared & self._there.keys()
        }
        return sum(n - len(self._held_at(where, asked[where])) for where, n in there.items())

    def explained(self, candidate: Candidate) -> frozenset[int]:
        """Give the identities of the live rules that are the mesh's."""
        wanted = _by_place(candidate.target)
        found: set[int] = set()
        for one in self._placed:
            where = f"{one.live.family} {one.table} {one.chain}"
            numbers = [*range(len(one.held.rules))]
            if where in self._shared:
                asked = wanted[where].rules if where in wanted else ()
                mine = [pair.number for pair in one.laid.pairs]
                there = self._there[where].rules
                kept = set(map(id, self._held_at(where, asked)))
                numbers = [n for n, rule in zip(mine, there, strict=True) if id(rule) in kept]
            found |= {id(one.held.rules[number]) for number in numbers}
        return frozenset(found)

    def _held_at(self, where: str, asked: tuple[Rule, ...]) -> tuple[Rule, ...]:
        """Give the rules of a live chain; of a built-in one those that the sheet can mean.

        Others' rules may look like a row's, as one that lets an interface go does. In a chain they
        share they are the mesh's if the sheet has them, or if they call what is the mesh's.
        """
        held = self._there[where].rules if where in self._there else ()
        if where not in self._shared:
            return held
        known = frozenset(asked)
        return tuple(rule for rule in held if rule in known or rule.target in self._called)

    def held_for(self, candidate: Candidate) -> Ruleset:
        """Give what is live of a mesh that has these settings, under the sheet's names."""
        wanted = _by_place(candidate.target)
        tables = []
        for table in self.held.tables:
            chains = []
            for chain in table.chains:
                where = f"{table.family} {table.name} {chain.name}"
                asked = wanted[where].rules if where in wanted else ()
                rules = self._held_at(where, asked)
                if rules or where in wanted or where not in self._shared:
                    chains.append(Chain(chain.name, rules, chain.base))
            tables.append(Table(table.family, table.name, tuple(chains)))
        return Ruleset(tuple(tables))

    def findings(self, candidate: Candidate) -> tuple[Finding, ...]:
        """Name each difference in the words of ``status``."""
        say = nftables.words if self._language == nftables.LANGUAGE else _words
        return tuple(compare(candidate.target, self.held_for(candidate), say))

    def name_of(self, table: str, chain: str) -> str:
        """Give the name that a chain of the sheet has in the language."""
        return self._pairing.expected(table, chain)[1]

    def given(self, candidate: Candidate) -> dict[str, str]:
        """Give the settings that are not the sheet's defaults, as flags take them."""
        return dict(_given(self.sheet, candidate.values))


def path_of(sheet: Sheet) -> str:
    """Give the path of a user's sheet, ``""`` for a shipped one."""
    return sheet.file if sheet.file.startswith("/") else ""


def _given(sheet: Sheet, values: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, text in values.items():
        read: Callable[[str], object] = (
            sheet.options[name.removeprefix(OPTION)].read
            if name.startswith(OPTION)
            else SETTINGS[name].parse
        )
        if read(text) != read(default_text(sheet, name)):
            yield name, text


def _words(rule: Rule) -> str:
    is_six = any(
        isinstance(match, Source | Destination) and match.networks.ip6 for match in rule.matches
    )
    return iptables.words(rule, Family.IP6 if is_six else Family.IP)


def _by_place(ruleset: Ruleset) -> dict[str, Chain]:
    return {
        f"{table.family} {table.name} {chain.name}": chain
        for table in ruleset.tables
        for chain in table.chains
    }


def _plain(rule: Rule, names: Mapping[str, str]) -> Rule:
    """Give a live rule without its comment, calling chains by the sheet's names."""
    action = rule.action
    if isinstance(action, Jump | Goto) and action.chain in names:
        action = type(action)(names[action.chain])
    text = rule.text if action == rule.action else ""
    return Rule(rule.matches, action, text=text)


def _without_words(ruleset: Ruleset) -> Ruleset:
    """Give rules without comments."""
    return Ruleset(
        tuple(
            msgspec.structs.replace(
                table,
                chains=tuple(
                    msgspec.structs.replace(
                        chain, rules=tuple(Rule(r.matches, r.action) for r in chain.rules)
                    )
                    for chain in table.chains
                ),
            )
            for table in ruleset.tables
        )
    )
