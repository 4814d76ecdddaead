"""What iptables-nft leaves behind: tables and base chains it made on the way to our rules.

Pure. iptables makes a table or a built-in chain with the first rule in it and never removes one.
So it is noted at install what was not there before (``ip nat``, ``ip nat OUTPUT``), and whatever
of that nobody else uses goes with our last rule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from interceptor.backends.ownership import OwnRules
from interceptor.dialect import RECORD_CHAIN
from interceptor.model import Ruleset, Table
from interceptor.names import PRIORITIES, Family
from interceptor.system.nfnetlink import Remains

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from interceptor.backends.interface import Wanted
    from interceptor.dialect import Ownership
    from interceptor.system.nfnetlink import Held


class Made(msgspec.Struct, frozen=True):
    """A table that was made for us, or one base chain in a table that was there."""

    family: Family
    table: str
    chain: str = ""

    def __str__(self) -> str:
        return f"{self.family} {self.table} {self.chain}".rstrip()

    @classmethod
    def read(cls, texts: Iterable[str]) -> Iterator[Made]:
        """Read what can be such a table or chain; whoever is root in a pod can write others."""
        known = {
            str(one): one
            for family in Family.INET.members
            for table, hooks in PRIORITIES.items()
            for one in (cls(family, table), *(cls(family, table, h.upper()) for h in hooks))
        }
        for text in texts:
            if text in known:
                yield known[text]


def made(target: Ruleset, held: Held) -> Iterator[Made]:
    """Name what installing a target will make: tables, and base chains in those that are there."""
    for table in target.tables:
        there = held.get((table.family, table.name))
        if there is None:
            yield Made(table.family, table.name)
            continue
        for chain in table.chains:
            if chain.base and chain.name not in there.chains:
                yield Made(table.family, table.name, chain.name)


def remains(
    wanted: Wanted, observed: Ruleset, held: Held, ownership: Ownership
) -> Iterator[Remains]:
    """Find what nobody will need once all is as wanted; what holds the record comes last.

    A process that is killed half-way leaves the record, and with it the list of what to remove.
    """
    found = [
        one
        for key, there in held.items()
        if (table := observed.table(*key)) is not None
        if (one := _of_table(table, there.chains, wanted, ownership)) is not None
    ]
    yield from sorted(found, key=lambda one: one.own)


def _of_table(
    table: Table, chains: frozenset[str], wanted: Wanted, ownership: Ownership
) -> Remains | None:
    names = [
        m for m in Made.read(wanted.made) if (m.family, m.table) == (table.family, table.name)
    ]
    future = wanted.ruleset.table(table.family, table.name)
    needed = {chain.name for chain in future.chains} if future else set()
    unused = {c.name for c in table.chains if c.base and _is_unused(table, c.name, ownership)}
    free = (unused & chains) - needed
    foreign = {c for c in chains if not ownership.owns_chain(c)} - free
    was_made = any(not m.chain for m in names)
    whole = future is None and was_made and not foreign
    bases = free if was_made else free & {m.chain for m in names}
    if not (whole or bases):
        return None
    own = (RECORD_CHAIN,) if RECORD_CHAIN in chains and RECORD_CHAIN not in needed else ()
    return Remains(table.family, table.name, own, tuple(sorted(bases)), whole)


def _is_unused(table: Table, name: str, ownership: Ownership) -> bool:
    """Whether a base chain decides nothing without our rules."""
    chain = table.chain(name)
    if chain is None or chain.base is None or chain.base.policy != "accept":
        return False
    return all(OwnRules(table, ownership).of(name))


def keeping_records(wanted: Ruleset, observed: Ruleset, found: Iterable[Remains]) -> Ruleset:
    """Add to what is wanted the records that stay until what they name is gone."""
    tables = {(table.family, table.name): table for table in wanted.tables}
    for one in found:
        table = observed.table(one.family, one.table)
        kept = tuple(c for c in table.chains if c.name in one.own) if table else ()
        if kept:
            there = tables.get((one.family, one.table), Table(one.family, one.table))
            tables[one.family, one.table] = msgspec.structs.replace(
                there, chains=(*there.chains, *kept)
            )
    return Ruleset(tuple(tables.values()))
