"""The iptables backend, in both variants: rules on nf_tables, and the older kernel interface."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Literal

from interceptor.backends.drift import Finding, compare, foreign_before
from interceptor.backends.interface import Step, failure
from interceptor.backends.iptables_plan import both_families, of_family, own_part, transition
from interceptor.errors import HostError
from interceptor.model import Ruleset, Table
from interceptor.names import Family
from interceptor.parse import iptables_save
from interceptor.render import iptables as render
from interceptor.system import facts
from interceptor.system.command import find, run
from interceptor.system.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Mapping

    from interceptor.dialect import Dialect

Variant = Literal["nft", "legacy"]
_VERSION_TIMEOUT_S = 5.0
_TOOLS = {Family.IP: "iptables", Family.IP6: "ip6tables"}


class IptablesBackend:
    """Rules through ``iptables-restore``; what is there through ``iptables-save``.

    Args:
        variant: which of the two iptables.
        dialect: the names by which our chains are known.
        legacy_lock: a file to lock instead of the host's /run/xtables.lock, so that a change in
            one pod never waits for one in another; for iptables-legacy only.
        in_process: read iptables-legacy by libiptc instead of ``iptables-legacy-save``.
    """

    def __init__(
        self,
        variant: Variant,
        dialect: Dialect,
        *,
        legacy_lock: str | None = None,
        in_process: bool = False,
    ) -> None:
        self._in_process = in_process
        self.name = f"iptables-{variant}"
        self.variant = variant
        self._dialect = dialect
        self._legacy_lock = legacy_lock

    def families(self) -> frozenset[Family]:
        """Give the families whose tools are here; IPv6 only if the kernel speaks it."""
        there = {f for f in _TOOLS if self._find(f, "restore") and self._find(f, "save")}
        return frozenset(there if facts.kernel_has_ipv6() else there - {Family.IP6})

    def observe(self, deadline: Deadline) -> Ruleset:
        """Read every table of both families."""
        tables: list[Table] = []
        for family in sorted(self.families()):
            # Asking iptables-legacy would make tables; if the kernel has none, it has no rules.
            if self.variant == "legacy" and not facts.legacy_tables(ipv6=family is Family.IP6):
                continue
            tables += iptables_save.parse(self._save(family, deadline), family).tables
        return Ruleset(tuple(tables))

    def own(self, observed: Ruleset) -> Ruleset:
        """Give our chains and the rules that call them."""
        return own_part(observed, self._dialect)

    def target(self, ruleset: Ruleset) -> Ruleset:
        """Lower to both families, as far as the rules are for both."""
        return both_families(ruleset)

    def made(self, ruleset: Ruleset, observed: Ruleset) -> tuple[str, ...]:
        """Name tables that are not there yet; those of iptables-legacy stay until the end."""
        if self.variant == "legacy":
            return ()
        return tuple(
            f"{table.family} {table.name}"
            for table in self.target(ruleset).tables
            if observed.table(table.family, table.name) is None
        )

    def plan(
        self, target: Ruleset, observed: Ruleset, made: tuple[str, ...] = ()
    ) -> tuple[Step, ...]:
        """Give one restore for each family that changes, and the removal of tables made for us."""
        own = self.own(observed)
        steps = []
        for family in _TOOLS:
            new, old = of_family(target, family), of_family(own, family)
            text = transition(new, old, self._dialect)
            if text:
                steps.append(self._restore_step(family, text))
        if not target.tables:
            steps += self._removal_steps(own, observed, made)
        return tuple(steps)

    def apply(self, step: Step, deadline: Deadline) -> None:
        """Run the tool."""
        outcome = run(step.argv, deadline, stdin=step.stdin, environment=step.environment)
        if outcome.returncode != 0:
            raise failure(step.argv, step.stdin, outcome)

    def findings(self, target: Ruleset, observed: Ruleset) -> tuple[Finding, ...]:
        """Compare with the target, and look for foreign rules before our calls."""
        own = self.own(observed)
        found = list(compare(target, own, render.words))
        for table in own.tables:
            there = observed.table(table.family, table.name)
            for chain in table.chains if there else ():
                whole = there.chain(chain.name) if there and chain.base else None
                if whole:
                    where = f"{table.family} {table.name} {chain.name}"
                    found += foreign_before(where, whole, chain)
        return tuple(found)

    def _find(self, family: Family, operation: str) -> str | None:
        """Find ``ip6tables-nft-save`` and the like; where none is so named, see what is plain."""
        tool = _TOOLS[family]
        named = find(f"{tool}-{self.variant}-{operation}")
        if named or not _is_variant(tool, self.variant):
            return named
        return find(f"{tool}-{operation}")

    def _need(self, family: Family, operation: str) -> str:
        path = self._find(family, operation)
        if path is None:
            raise HostError(
                f"there is no {_TOOLS[family]}-{self.variant}-{operation} on this host",
                hint="install iptables, or choose another --backend or --iptables-variant",
            )
        return path

    def _environment(self) -> Mapping[str, str]:
        if self.variant == "legacy" and self._legacy_lock:
            return {"XTABLES_LOCKFILE": self._legacy_lock}
        return {}

    def _save(self, family: Family, deadline: Deadline) -> str:
        if self._in_process and self.variant == "legacy":
            from interceptor.backends import libiptc

            text = libiptc.dump(family, deadline)
            if text is not None:
                return text
        argv = [self._need(family, "save")]
        outcome = run(argv, deadline, environment=self._environment())
        if outcome.returncode != 0:
            raise failure(argv, "", outcome)
        return outcome.stdout.decode(errors="replace")

    def _restore_step(self, family: Family, text: str) -> Step:
        argv = [self._need(family, "restore"), "--noflush"]
        if self.variant == "legacy":
            argv.append("--wait")
        return Step(tuple(argv), text, self._environment())

    def _removal_steps(self, own: Ruleset, observed: Ruleset, made: tuple[str, ...]) -> list[Step]:
        """Remove tables that were made for us and hold nothing else, in one transaction.

        iptables-nft has no words for that; nft has, and where nft is not installed an empty
        table stays behind, which decides nothing.
        """
        nft = find("nft")
        empty = [
            f"delete table {table.family} {table.name}\n"
            for table in observed.tables
            if f"{table.family} {table.name}" in made
            and _holds_only(table, own.table(table.family, table.name))
        ]
        return [Step((nft, "-f", "-"), "".join(empty), {})] if nft and empty else []


def _holds_only(table: Table, ours: Table | None) -> bool:
    """Whether nothing would be left in a table without our part: no rule, chain or policy."""
    for chain in table.chains:
        mine = ours.chain(chain.name) if ours else None
        left = [rule for rule in chain.rules if mine is None or rule not in mine.rules]
        foreign_chain = chain.base is None and mine is None
        if left or foreign_chain or (chain.base and chain.base.policy != "accept"):
            return False
    return True


@cache
def _is_variant(tool: str, variant: Variant) -> bool:
    """Whether the tool of plain name is of this variant; before 1.8 there was only legacy."""
    path = find(tool)
    if path is None:
        return False
    version = run([path, "--version"], Deadline(_VERSION_TIMEOUT_S))
    return (b"nf_tables" in version.stdout) == (variant == "nft")
