"""What others have in the kernel beside ours, in whichever language it can be read best."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from interceptor.backends.overtake import without_shared
from interceptor.backends.ownership import foreign_part
from interceptor.dialect import OURS
from interceptor.errors import CommandError, HostError
from interceptor.model import Ruleset
from interceptor.names import Family
from interceptor.operations.select import IPTABLES_NFT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from interceptor.model import Table
    from interceptor.system.nfnetlink import Held


class Others:
    """The tables of others in one namespace.

    Args:
        held: the tables of nf_tables.
        iptables: what each of the two iptables holds, by its name, as far as it can be read.
        nft: reads all tables of nf_tables; it is asked only if somebody has one that iptables
            does not print.
    """

    def __init__(
        self, held: Held, iptables: Mapping[str, Ruleset], nft: Callable[[], Ruleset]
    ) -> None:
        self._held = held
        self._iptables = iptables
        self._nft = nft

    def beside(self, name: str, target: Ruleset) -> Ruleset:
        """Give all of them that are in force, without what in them is ours.

        Args:
            name: the language that ours are, or will be, in.
            target: ours there; the base chains it has rules in are left out.
        """
        both = {**self._iptables, IPTABLES_NFT: self._nf_tables()}
        found: list[Table] = []
        for language, held in both.items():
            others = foreign_part(held, OURS)
            if language == name:
                others = without_shared(others, target)
            found += others.tables
        return Ruleset(tuple(found))

    def _nf_tables(self) -> Ruleset:
        """Give what is in force in nf_tables: iptables' tables as it prints them itself."""
        listed = () if isinstance(self._listed, str) else self._listed.tables
        tables = {(t.family, t.name): t for t in listed if (t.family, t.name) in self._foreign}
        for table in self._iptables[IPTABLES_NFT].tables:
            if not table.flags:
                tables.setdefault((table.family, table.name), table)
        return Ruleset(tuple(tables.values()))

    @property
    def unlisted(self) -> tuple[str, ...]:
        """Name tables nobody can look into: there is no nft, or it cannot print them."""
        if isinstance(self._listed, str):
            names = ", ".join(f"{family} {name}" for family, name in sorted(self._foreign))
            return (f"others' tables ({names}): {self._listed}",)
        listed = {(table.family, table.name) for table in self._listed.tables}
        missing = sorted(self._foreign - listed)
        return tuple(f"table {family} {name}: nft cannot print it" for family, name in missing)

    @cached_property
    def _foreign(self) -> frozenset[tuple[Family, str]]:
        """The tables of nf_tables in force that are not ours and that only nft prints whole.

        iptables leaves out base chains that are not as it makes them.
        """
        return frozenset(
            (family, name)
            for (family, name), table in self._held.items()
            if table.chains and not table.dormant
            if not (family is Family.INET and OURS.owns_table(name))
            if not table.chains <= self._printed(family, name)
        )

    def _printed(self, family: Family, name: str) -> set[str]:
        """Name the chains of a table that iptables prints."""
        table = self._iptables[IPTABLES_NFT].table(family, name)
        return {chain.name for chain in table.chains} if table else set()

    @cached_property
    def _listed(self) -> Ruleset | str:
        """What nft lists, or why it does not: that is no reason to stop for others' tables."""
        if not self._foreign:
            return Ruleset()
        try:
            return self._nft()
        except (HostError, CommandError) as error:
            return error.message
