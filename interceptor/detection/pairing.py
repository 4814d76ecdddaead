"""Which live chain is which of a sheet: rows laid upon rules, whatever the chains are called.

A chain of a sheet is laid upon a live one by dealing the rules out to the rows, in the order of
both, so that as much as can be is explained; what a call is worth depends on how well the called
chains go together. Names only decide between what is else the same.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from interceptor.detection.dealing import deal
from interceptor.detection.pattern import (
    Fit,
    Pattern,
    Shape,
    base_of,
    fit,
    holes,
    patterns,
    shape,
)
from interceptor.detection.terms import members
from interceptor.names import Family
from interceptor.render import iptables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from interceptor.detection.terms import Terms
    from interceptor.model import Chain, Table
    from interceptor.sheets.sheet import Sheet

_DEEPEST = 12
"""Calls within calls that are followed; sheets have five."""
_SURE = 0.7
"""How well a chain that nothing calls has to go with a live one of another name."""
_ODD = 0.3
"""What a rule counts less that would put into one row's list what others do not have."""
_NAMED = 0.3
"""How well with one of its own name."""


class Pair(msgspec.Struct, frozen=True):
    """One rule of a live chain, by its number from 0, and the row that explains it."""

    number: int
    pattern: Pattern
    fit: Fit


class Laid(msgspec.Struct, frozen=True):
    """A chain of a sheet upon a live one: ``quality`` is from 0, nothing, to 1, all explained."""

    pairs: tuple[Pair, ...]
    quality: float
    weight: float


class Placed(msgspec.Struct, frozen=True):
    """A chain of a sheet, and the live one it is."""

    table: str
    chain: str
    live: Table
    held: Chain
    laid: Laid


class Pairing:
    """A sheet laid upon tables of one language.

    Args:
        sheet: whose rows are laid.
        terms: its names.
        language: ``iptables`` or ``nftables``.
        agreed: members of lists that several rows had when it was laid before; others count less.
    """

    def __init__(
        self,
        sheet: Sheet,
        terms: Terms,
        language: str,
        agreed: Mapping[str, frozenset[str]] | None = None,
    ) -> None:
        self._agreed = agreed or {}
        self._sheet = sheet
        self._terms = terms
        self._language = language
        self._patterns: dict[tuple[str, str], tuple[Pattern, ...]] = {}
        self._laid: dict[tuple[str, str, int, str], Laid] = {}
        self._chains: dict[int, dict[str, Chain]] = {}
        self._shapes: dict[tuple[int, str], tuple[Shape, ...]] = {}
        self._repeating: dict[int, bool] = {}

    def place(self, tables: tuple[Table, ...]) -> tuple[Placed, ...]:
        """Give each chain of the sheet its place, as far as there is one."""
        if self._language == iptables.LANGUAGE:
            return tuple(
                placed
                for live in tables
                if live.name in self._sheet.chains
                for placed in self._place((live.name,), live)
            )
        found: list[Placed] = []
        for named in dict.fromkeys(self._sheet.nftables[name] for name in self._sheet.chains):
            own = tuple(n for n in self._sheet.chains if self._sheet.nftables[n] == named)
            ways = [self._place(own, live) for live in tables]
            best = max(
                ways,
                key=lambda way: (
                    sum(one.laid.weight for one in way),
                    bool(way) and way[0].live.name == named,
                ),
                default=(),
            )
            found += best
        return tuple(found)

    def expected(self, table: str, chain: str) -> tuple[str, str]:
        """Give the names of table and chain that a sheet's chain has in the language."""
        if self._language == iptables.LANGUAGE:
            return table, chain
        is_base = base_of(table, chain) is not None
        name = self._sheet.dialect.nft_chain(table, chain, base=is_base)
        return self._sheet.nftables[table], name

    def _place(self, tables: tuple[str, ...], live: Table) -> tuple[Placed, ...]:
        placed: dict[tuple[str, str], Placed] = {}
        for table in tables:
            for chain in self._sheet.chains[table]:
                if base_of(table, chain) and (one := self._best_base(table, chain, live)):
                    placed[table, chain] = one
        while one := self._next(placed, live):
            placed[one.table, one.chain] = one
        self._add_uncalled(tables, live, placed)
        return tuple(placed.values())

    def _best_base(self, table: str, chain: str, live: Table) -> Placed | None:
        base = base_of(table, chain)
        ways = [
            Placed(table, chain, live, held, laid)
            for held in live.chains
            if held.base and base and (held.base.type, held.base.hook) == (base.type, base.hook)
            if (laid := self._lay(table, chain, live, held)).pairs
        ]
        expected = self.expected(table, chain)[1]
        return max(ways, key=lambda w: (w.laid.weight, w.held.name == expected), default=None)

    def _next(self, placed: dict[tuple[str, str], Placed], live: Table) -> Placed | None:
        """Give the chain that is called and whose place is the surest."""
        taken = {one.held.name for one in placed.values()}
        votes: Counter[tuple[str, str, str]] = Counter()
        for one in placed.values():
            for pair in one.laid.pairs:
                if pair.fit.calls:
                    wanted, there = pair.fit.calls
                    if (one.table, wanted) not in placed and there not in taken:
                        # Counters count; thousandths are fine enough.
                        votes[one.table, wanted, there] += int(1000 * pair.fit.weight)
        for (table, wanted, there), _ in votes.most_common():
            held = self._chain(live, there)
            if held is not None:
                return Placed(table, wanted, live, held, self._lay(table, wanted, live, held))
        return None

    def _add_uncalled(
        self, tables: tuple[str, ...], live: Table, placed: dict[tuple[str, str], Placed]
    ) -> None:
        """Place chains whose calls are missing, by name, or else by what is in them."""
        if not placed:
            return
        taken = {one.held.name for one in placed.values()}
        known = {rule.target for chain in live.chains for rule in chain.rules}
        for table in tables:
            for chain in self._sheet.chains[table]:
                if (table, chain) in placed or base_of(table, chain):
                    continue
                name = self.expected(table, chain)[1]
                ways = [
                    Placed(table, chain, live, held, laid)
                    for held in live.chains
                    if held.base is None and held.name not in taken
                    if held.name == name or (held.rules and held.name not in known)
                    if (laid := self._lay(table, chain, live, held)).quality
                    >= (_NAMED if held.name == name else _SURE)
                ]
                best = max(ways, key=lambda w: (w.held.name == name, w.laid.quality), default=None)
                if best is not None:
                    placed[table, chain] = best
                    taken.add(best.held.name)

    def _chain(self, live: Table, name: str) -> Chain | None:
        if id(live) not in self._chains:
            self._chains[id(live)] = {chain.name: chain for chain in live.chains}
        return self._chains[id(live)].get(name)

    def _shapes_of(self, live: Table, held: Chain) -> tuple[Shape, ...]:
        key = id(live), held.name
        if key not in self._shapes:
            self._shapes[key] = tuple(shape(rule, live.family) for rule in held.rules)
        return self._shapes[key]

    def _patterns_of(self, table: str, chain: str) -> tuple[Pattern, ...]:
        if (table, chain) not in self._patterns:
            found = patterns(self._sheet, table, chain, self._language)
            self._patterns[table, chain] = found
            for pattern in found:
                self._repeating[id(pattern)] = bool(pattern.row.each) or any(
                    map(self._terms.repeats, holes(pattern.row))
                )
        return self._patterns[table, chain]

    def _lay(self, table: str, chain: str, live: Table, held: Chain, depth: int = 0) -> Laid:
        key = table, chain, id(live), held.name
        if key not in self._laid:
            # A kernel has no chain that calls itself; a text may.
            self._laid[key] = Laid((), 0, 0)
            self._laid[key] = self._deal(table, chain, live, held, depth)
        return self._laid[key]

    def _deal(self, table: str, chain: str, live: Table, held: Chain, depth: int) -> Laid:
        rows = self._patterns_of(table, chain)
        shapes = self._shapes_of(live, held)
        by_form: dict[object, list[int]] = {}
        fits: list[dict[int, Fit]] = []
        for one in shapes:
            form = frozenset(one.keys), type(one.rule.action)
            if form not in by_form:
                by_form[form] = [
                    n
                    for n, row in enumerate(rows)
                    if form[0] <= row.keys.keys() and type(row.action) is form[1]
                ]
            fits.append(
                {
                    n: found
                    for n in by_form[form]
                    if (found := self._fit(rows[n], one, table, live, depth))
                }
            )
        pairs = tuple(
            Pair(number, rows[row], fits[number][row])
            for number, row in deal(rows, shapes, fits, self._repeating)
        )
        worth = sum(min(1.0, pair.fit.weight) for pair in pairs)
        there = len(pairs) if held.base else len(shapes)
        met = {id(pair.pattern) for pair in pairs}
        missing = sum(1 for row in rows if row.is_sure and id(row) not in met)
        quality = worth / (there + missing) if there + missing else 0.5
        return Laid(pairs, quality, sum(pair.fit.weight for pair in pairs))

    def _fit(self, row: Pattern, one: Shape, table: str, live: Table, depth: int) -> Fit | None:
        found = fit(row, one)
        if found is None or not all(self._terms.allows(b.name, b.value) for b in found.bound):
            return None
        if self._agreed and self._is_odd(row, found):
            found = msgspec.structs.replace(found, weight=found.weight - _ODD)
        if found.calls is None:
            return found
        wanted, there = found.calls
        is_named = self.expected(table, wanted)[1] == there
        held = self._chain(live, there)
        quality = 0.0
        if held is not None and depth < _DEEPEST:
            quality = self._lay(table, wanted, live, held, depth + 1).quality
        if not quality and not is_named:
            return None
        weight = found.weight * (0.3 + quality) + (0.25 if is_named else 0)
        return msgspec.structs.replace(found, weight=weight)

    def _is_odd(self, row: Pattern, found: Fit) -> bool:
        """Whether a row would have a member in a list that other rows do not have."""
        loops = self._terms.loops(row.row.each)
        for bound in found.bound:
            loop = loops.get(bound.name)
            if loop is not None and loop.field:
                continue
            name = loop.collection if loop else bound.name
            spoken, value = self._terms.spoken_of(name, bound.value)
            known = self._agreed.get(spoken)
            if known is not None and not known.issuperset(members(value)):
                return True
        return False


def families_of(placed: tuple[Placed, ...]) -> tuple[Family, ...]:
    """Give the families of the tables in which chains have their places."""
    there = {family for one in placed for family in one.live.family.members}
    return tuple(family for family in Family.INET.members if family in there)
