"""The nftables backend: a table of our own, of family inet, replaced in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.backends.drift import compare, flagged
from interceptor.backends.step import Step, ToolStep, failure
from interceptor.dialect import is_tracers
from interceptor.errors import CommandError, ParseError
from interceptor.model import Ruleset, Table
from interceptor.names import Family
from interceptor.parse import nft_json
from interceptor.render import nftables as render
from interceptor.system import nfnetlink
from interceptor.system.command import find, need, run

if TYPE_CHECKING:
    from interceptor.backends.drift import Finding
    from interceptor.backends.interface import Wanted
    from interceptor.dialect import Dialect, Ownership
    from interceptor.system.deadline import Deadline


class NftablesBackend:
    """Rules through ``nft -f``; what is there through ``nft -j list ruleset``.

    Args:
        ownership: the names by which our tables are known.
    """

    name = "nftables"

    def __init__(self, ownership: Ownership) -> None:
        self._ownership = ownership

    def families(self) -> frozenset[Family]:
        """Give both families if nft is here: a table of family inet is for both."""
        return frozenset((Family.IP, Family.IP6) if find("nft") else ())

    def observe(self, deadline: Deadline) -> Ruleset:
        """Read every table, also those iptables-nft keeps; no process is started for none.

        nft 1.0.6 writes broken JSON for some tables with flags. If somebody has one, tables are
        read one by one, and those of others that cannot be read are left out. So are tables that
        somebody traces by.
        """
        nft = need("nft", package="nftables")
        held = nfnetlink.look()
        if not held:
            return Ruleset()
        try:
            listed = self._list(nft, deadline, "ruleset").tables
        except ParseError:
            listed = tuple(t for key in held for t in self._read(nft, deadline, *key))
        return Ruleset(
            tuple(t for t in listed if (t.family, t.name) in held or not _is_tracers(t))
        )

    def _read(self, nft: str, deadline: Deadline, family: Family, name: str) -> tuple[Table, ...]:
        """Read one table; none if it is not ours, and cannot be read or is gone by now."""
        try:
            return self._list(nft, deadline, "table", family, name).tables
        except (ParseError, CommandError):
            if family is Family.INET and self._ownership.owns_table(name):
                raise
            return ()

    def _list(self, nft: str, deadline: Deadline, *what: str) -> Ruleset:
        argv = [nft, "-j", "list", *what]
        outcome = run(argv, deadline)
        if outcome.returncode != 0:
            raise failure(argv, "", outcome)
        return nft_json.parse(outcome.stdout)

    def own(self, observed: Ruleset) -> Ruleset:
        """Give our tables, whole."""
        return Ruleset(tuple(table for table in observed.tables if self._owns(table)))

    def target(self, ruleset: Ruleset, dialect: Dialect) -> Ruleset:
        """Lower to nft's shapes and names."""
        return render.lower(ruleset, dialect)

    def made(self, target: Ruleset) -> tuple[str, ...]:
        """Name nothing: the tables are ours anyway."""
        del target
        return ()

    def plan(self, wanted: Wanted, observed: Ruleset) -> tuple[Step, ...]:
        """Give one transaction, or none if all is as it should be."""
        text = transition(wanted.ruleset, self.own(observed), anew=wanted.anew)
        if not text:
            return ()
        return (ToolStep((need("nft", package="nftables"), "-f", "-"), text),)

    def findings(self, target: Ruleset, observed: Ruleset) -> tuple[Finding, ...]:
        """Compare with the target."""
        own = self.own(observed)
        return (*flagged(own), *compare(target, own, render.words))

    def shadowing(self, target: Ruleset, observed: Ruleset) -> tuple[Finding, ...]:
        """Find nothing: our chains are shared with nobody."""
        del target, observed
        return ()

    def _owns(self, table: Table) -> bool:
        return table.family is Family.INET and self._ownership.owns_table(table.name)


def _is_tracers(table: Table) -> bool:
    return is_tracers(table.family, table.name)


def transition(target: Ruleset, own: Ruleset, *, anew: bool = False) -> str:
    """Write the script that turns our tables into the target; empty if nothing has to change.

    Rules are flushed and filled again below chains that stay: a packet takes one generation of a
    base chain as a whole, old or new. Removing and adding the base chains themselves could show
    it the new one before it is active and the old one after it is gone.

    The script says all that has to be there, also if it is there already, and flushes first: if
    it met another state than the one it was written for, it would still lead to the target.
    """
    parts = [
        f"delete table {old.family} {old.name}\n"
        for old in own.tables
        if target.table(old.family, old.name) is None
    ]
    for new in target.tables:
        held = own.table(new.family, new.name)
        if held is None or anew or not _same(held, new):
            parts.append(_replacement(new, held))
    return "".join(parts)


def _same(held: Table, new: Table) -> bool:
    chains = {chain.name: chain for chain in held.chains}
    return not held.flags and chains == {chain.name: chain for chain in new.chains}


def _replacement(new: Table, held: Table | None) -> str:
    name = f"{new.family} {new.name}"
    lines = [f"add table {name}\n"]
    if held is not None and held.flags:
        # A dormant table intercepts nothing, so nothing is lost by taking it away first.
        lines += [f"delete table {name}\n", f"add table {name}\n"]
    elif held is not None:
        wanted = {chain.name: chain.base for chain in new.chains}
        stale = [c.name for c in held.chains if c.name not in wanted or c.base != wanted[c.name]]
        lines += [f"flush table {name}\n", *(f"delete chain {name} {chain}\n" for chain in stale)]
    else:
        lines.append(f"flush table {name}\n")
    return "".join([*lines, render.table_text(new)])
