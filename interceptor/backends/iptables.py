"""The iptables backend, in both variants: rules on nf_tables, and the older kernel interface."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Literal

import msgspec

from interceptor.backends.drift import compare, flagged
from interceptor.backends.iptables_plan import (
    FAMILIES,
    both_families,
    own_part,
    transition,
    with_called_chains,
)
from interceptor.backends.iptables_remains import keeping_records, made, remains
from interceptor.backends.shadow import shadowing
from interceptor.backends.step import RemovalStep, Step, ToolStep, failure
from interceptor.errors import HostError
from interceptor.model import Ruleset
from interceptor.names import Family
from interceptor.parse import iptables_save
from interceptor.render import iptables as render
from interceptor.system import host, nfnetlink
from interceptor.system.command import find, run
from interceptor.system.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Mapping

    from interceptor.backends.drift import Finding
    from interceptor.backends.interface import Wanted
    from interceptor.dialect import Dialect, Ownership
    from interceptor.model import Table
    from interceptor.system.nfnetlink import Held, Remains

Variant = Literal["nft", "legacy"]
_VERSION_TIMEOUT_S = 5.0
_TOOLS = {Family.IP: "iptables", Family.IP6: "ip6tables"}


class IptablesBackend:
    """Rules through ``iptables-restore``; what is there through ``iptables-save``.

    Args:
        variant: which of the two iptables.
        ownership: the names by which our chains are known.
        legacy_lock: a file to lock instead of the host's /run/xtables.lock, so that a change in
            one pod never waits for one in another; for iptables-legacy only.
        in_process: read iptables-legacy by libiptc instead of ``iptables-legacy-save``.
    """

    def __init__(
        self,
        variant: Variant,
        ownership: Ownership,
        *,
        legacy_lock: str | None = None,
        in_process: bool = False,
    ) -> None:
        self.name = f"iptables-{variant}"
        self.variant = variant
        self._ownership = ownership
        self._legacy_lock = legacy_lock
        self._in_process = in_process

    def families(self) -> frozenset[Family]:
        """Give the families whose tools are here; IPv6 only if the kernel speaks it."""
        there = {f for f in FAMILIES if self._find(f, "restore") and self._find(f, "save")}
        return frozenset(there if host.kernel_has_ipv6() else there - {Family.IP6})

    def observe(self, deadline: Deadline) -> Ruleset:
        """Read every table of both families.

        Raises:
            HostError: this host does not have the language, or cannot print where ours are in it.
        """
        if self.variant == "legacy":
            # Asking for tables would make them; a family that has none is not asked.
            there = [f for f in FAMILIES if host.legacy_tables(ipv6=f is Family.IP6)]
            return Ruleset(tuple(t for f in there for t in self._read(f, deadline).tables))
        held = nfnetlink.look()
        tables: list[Table] = []
        for family in dict.fromkeys(family for family, _ in held if family in FAMILIES):
            ours = self._places_of_ours(family, held)
            # Without its tool, a family that holds nothing of ours is none of our business.
            if ours or self._find(family, "save"):
                found = self._read(family, deadline)
                _check_whole(family, ours, found)
                tables += [_with_flags(table, held) for table in found.tables]
        return Ruleset(tuple(tables))

    def _read(self, family: Family, deadline: Deadline) -> Ruleset:
        return iptables_save.parse(self._save(family, deadline), family)

    def _places_of_ours(self, family: Family, held: Held) -> list[tuple[str, str]]:
        """Give table and name of each chain of ours that the kernel has in a family."""
        return [
            (name, chain)
            for (of, name), table in held.items()
            for chain in sorted(table.chains)
            if of is family and self._ownership.owns_chain(chain)
        ]

    def own(self, observed: Ruleset) -> Ruleset:
        """Give our chains and the rules that call them."""
        return own_part(observed, self._ownership)

    def target(self, ruleset: Ruleset, dialect: Dialect) -> Ruleset:
        """Lower to both families, as far as the rules are for both."""
        return both_families(ruleset, verbatim=dialect.verbatim)

    def made(self, target: Ruleset) -> tuple[str, ...]:
        """Name what is not there yet; tables of iptables-legacy stay for ever anyway."""
        if self.variant == "legacy":
            return ()
        return tuple(map(str, made(target, nfnetlink.look())))

    def plan(self, wanted: Wanted, observed: Ruleset) -> tuple[Step, ...]:
        """Give one restore for each family that changes, and the removal of what was made.

        Raises:
            HostError: rules are wanted in a table that iptables cannot print, or that is dormant.
        """
        found: list[Remains] = []
        if self.variant == "nft":
            held = nfnetlink.look()
            for table in wanted.ruleset.tables:
                # What is put back is put back where it was, whatever it is worth there.
                if wanted.like is None and (table.family, table.name) in held:
                    _check_usable(observed.table(table.family, table.name), table)
            found += remains(wanted, observed, held, self._ownership)
        kept = keeping_records(wanted.ruleset, observed, found)
        restored = msgspec.structs.replace(wanted, ruleset=kept)
        texts = {f: transition(restored, observed, f, self._ownership) for f in FAMILIES}
        restores = [self._restore(family, text) for family, text in texts.items() if text]
        return (*restores, *map(RemovalStep, found))

    def findings(self, target: Ruleset, observed: Ruleset) -> tuple[Finding, ...]:
        """Compare with the target, and look for foreign rules before our calls."""
        own = with_called_chains(self.own(observed), target, observed)
        return (
            *flagged(own),
            *compare(target, own, render.words),
            *self.shadowing(target, observed),
        )

    def shadowing(self, target: Ruleset, observed: Ruleset) -> tuple[Finding, ...]:
        """Find foreign rules before our calls in the built-in chains."""
        return tuple(shadowing(target, observed, self._ownership))

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
        argv = [self._need(family, "save"), "-c"]
        outcome = run(argv, deadline, environment=self._environment())
        if outcome.returncode != 0:
            raise failure(argv, "", outcome)
        return outcome.stdout.decode(errors="replace")

    def _restore(self, family: Family, text: str) -> Step:
        argv = [self._need(family, "restore"), "--noflush"]
        if self.variant == "legacy":
            argv.append("--wait")
        return ToolStep(tuple(argv), text, self._environment())


def _check_whole(family: Family, ours: list[tuple[str, str]], found: Ruleset) -> None:
    """Refuse a dump that leaves our chains out: it leaves out tables it cannot print."""
    for name, chain in ours:
        table = found.table(family, name)
        if table is None or table.chain(chain) is None:
            raise _unprintable(family, name)


def _with_flags(table: Table, held: Held) -> Table:
    """Add what iptables-save does not print; a table in its dump need not be in the kernel."""
    there = held.get((table.family, table.name))
    if there is None or not there.dormant:
        return table
    return msgspec.structs.replace(table, flags=("dormant",))


def _check_usable(there: Table | None, wanted: Table) -> None:
    """Refuse to add to a table that could not be looked into, or in which no rule is asked."""
    name = f"{wanted.family} {wanted.name}"
    if there is None:
        raise _unprintable(wanted.family, wanted.name)
    if there.flags:
        raise HostError(
            f"table {name} is dormant: whatever is in it, none of its rules is asked",
            hint=f"wake it with nft add table {name}, or choose --backend nftables",
        )


def _unprintable(family: Family, name: str) -> HostError:
    return HostError(
        f"{_TOOLS[family]}-nft-save cannot print table {family} {name}",
        hint=f"nft list table {family} {name} shows what is there that iptables cannot say",
    )


@cache
def _is_variant(tool: str, variant: Variant) -> bool:
    """Whether the tool of plain name is of this variant; before 1.8 there was only legacy."""
    path = find(tool)
    if path is None:
        return False
    said = run([path, "--version"], Deadline(_VERSION_TIMEOUT_S)).stdout
    return variant_of(said.decode(errors="replace")) == variant


def variant_of(said: str) -> Variant:
    """Tell by what ``iptables --version`` says which of the two it is.

    Since 1.8 each names itself; before that there was only the older one, and what says nothing
    anybody knows is taken for that as well: it will fail with words of its own if it is none.
    """
    return "nft" if re.search(r"\(nf_tables\)", said) else "legacy"
