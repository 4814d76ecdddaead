"""The nftables backend: tables of our own, of family inet, replaced in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.backends.drift import Finding, compare
from interceptor.backends.interface import Step, failure
from interceptor.model import Ruleset, Table
from interceptor.names import Family
from interceptor.parse import nft_json
from interceptor.render import nftables as render
from interceptor.system.command import find, need, run

if TYPE_CHECKING:
    from interceptor.dialect import Dialect
    from interceptor.system.deadline import Deadline


class NftablesBackend:
    """Rules through ``nft -f``; what is there through ``nft -j list ruleset``."""

    name = "nftables"

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect

    def families(self) -> frozenset[Family]:
        """Give both families if nft is here: a table of family inet is for both."""
        return frozenset((Family.IP, Family.IP6) if find("nft") else ())

    def observe(self, deadline: Deadline) -> Ruleset:
        """Read every table, also those iptables-nft keeps."""
        argv = [need("nft", package="nftables"), "-j", "list", "ruleset"]
        outcome = run(argv, deadline)
        if outcome.returncode != 0:
            raise failure(argv, "", outcome)
        return nft_json.parse(outcome.stdout)

    def own(self, observed: Ruleset) -> Ruleset:
        """Give our tables, whole."""
        return Ruleset(
            tuple(
                table
                for table in observed.tables
                if table.family is Family.INET and self._dialect.owns_table(table.name)
            )
        )

    def target(self, ruleset: Ruleset) -> Ruleset:
        """Lower to nft's shapes and names."""
        return render.lower(ruleset, self._dialect)

    def made(self, ruleset: Ruleset, observed: Ruleset) -> tuple[str, ...]:
        """Name nothing: the tables are ours anyway."""
        del ruleset, observed
        return ()

    def plan(
        self, target: Ruleset, observed: Ruleset, made: tuple[str, ...] = ()
    ) -> tuple[Step, ...]:
        """Give one transaction, or none if all is as it should be."""
        del made
        text = transition(target, self.own(observed))
        if not text:
            return ()
        return (Step((need("nft", package="nftables"), "-f", "-"), text, {}),)

    def apply(self, step: Step, deadline: Deadline) -> None:
        """Run the tool."""
        outcome = run(step.argv, deadline, stdin=step.stdin, environment=step.environment)
        if outcome.returncode != 0:
            raise failure(step.argv, step.stdin, outcome)

    def findings(self, target: Ruleset, observed: Ruleset) -> tuple[Finding, ...]:
        """Compare with the target."""
        return tuple(compare(target, self.own(observed), render.words))


def transition(target: Ruleset, own: Ruleset) -> str:
    """Write the script that turns our tables into the target; empty if nothing has to change.

    Rules are flushed and filled again below chains that stay: a packet takes one generation of a
    base chain as a whole, old or new. Removing and adding the base chains themselves could show
    it the new one before it is active and the old one after it is gone.
    """
    parts = [
        f"delete table {old.family} {old.name}\n"
        for old in own.tables
        if target.table(old.family, old.name) is None
    ]
    for new in target.tables:
        held = own.table(new.family, new.name)
        if held is None:
            parts.append(render.table_text(new))
        elif {c.name: c for c in held.chains} != {c.name: c for c in new.chains}:
            parts.append(_replacement(new, held))
    return "".join(parts)


def _replacement(new: Table, held: Table) -> str:
    name = f"{new.family} {new.name}"
    wanted = {chain.name: chain.base for chain in new.chains}
    stale = [c.name for c in held.chains if c.name not in wanted or c.base != wanted[c.name]]
    lines = [f"flush table {name}\n", *(f"delete chain {name} {chain}\n" for chain in stale)]
    return "".join([*lines, render.table_text(new)])
