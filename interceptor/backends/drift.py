"""How what a kernel holds differs from what was meant, named rule by rule."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from interceptor.model import Chain, Rule, Ruleset


class Kind(StrEnum):
    """What kind of difference it is."""

    MISSING_CHAIN = "missing-chain"
    EXTRA_CHAIN = "extra-chain"
    CHANGED_HOOK = "changed-hook"
    CHANGED_TABLE = "changed-table"
    """A table with rules of ours has flags; dormant means that none of its rules is asked."""
    MISSING_RULE = "missing-rule"
    EXTRA_RULE = "extra-rule"
    MOVED_RULE = "moved-rule"
    FOREIGN_BEFORE = "foreign-before"
    """A rule that is not ours decides about some TCP packets before ours is asked."""
    SHADOWED = "shadowed"
    """A rule that is not ours decides about every TCP packet, so that ours is never asked."""
    MISSING_IP_RULE = "missing-ip-rule"
    """No rule sends packets of the mark to the table that keeps them here."""
    MISSING_ROUTE = "missing-route"
    MISSING_ADDRESS = "missing-address"
    """``lo`` lacks an address the proxy hands connections over from."""
    EXTRA_ROUTING = "extra-routing"
    """A rule, route or address of ours that nothing needs."""
    MISSING_POLICY = "missing-policy"
    """Nothing is enforced at the pod's sockets that should be."""
    EXTRA_POLICY = "extra-policy"
    CHANGED_POLICY = "changed-policy"
    MISSING_PROGRAM = "missing-program"
    """A policy is there, and not all programs that would enforce it."""
    STACKED = "stacked"
    """Another kernel language holds rules of ours as well."""
    UNSEEN = "unseen"
    """Rules of ours are, or may be, where this process cannot look."""


class Finding(msgspec.Struct, frozen=True):
    """One difference: where in the kernel, and the rule in that language's words."""

    kind: Kind
    where: str
    what: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.where}" + (f": {self.what}" if self.what else "")


def flagged(own: Ruleset) -> Iterator[Finding]:
    """Find tables that have flags; ours are made without."""
    for table in own.tables:
        if table.flags:
            where = f"{table.family} {table.name}"
            yield Finding(Kind.CHANGED_TABLE, where, " ".join(table.flags))


def compare(target: Ruleset, own: Ruleset, say: Callable[[Rule], str]) -> Iterator[Finding]:
    """Find differences in chains and in the order and presence of rules.

    Args:
        target: what should be there, lowered.
        own: what of ours is there.
        say: writes a rule in the kernel language's words.
    """
    wanted, held = _chains(target), _chains(own)
    for where in sorted(wanted.keys() - held.keys()):
        yield Finding(Kind.MISSING_CHAIN, where)
    for where in sorted(held.keys() - wanted.keys()):
        yield Finding(Kind.EXTRA_CHAIN, where)
    for where in sorted(wanted.keys() & held.keys()):
        if wanted[where].base != held[where].base:
            yield Finding(Kind.CHANGED_HOOK, where)
        yield from _compare_rules(where, wanted[where].rules, held[where].rules, say)


def _chains(ruleset: Ruleset) -> dict[str, Chain]:
    return {
        f"{table.family} {table.name} {chain.name}": chain
        for table in ruleset.tables
        for chain in table.chains
    }


def _compare_rules(
    where: str, wanted: tuple[Rule, ...], held: tuple[Rule, ...], say: Callable[[Rule], str]
) -> Iterator[Finding]:
    if wanted == held:
        return
    from difflib import SequenceMatcher

    missing: list[tuple[int, Rule]] = []
    extra: dict[Rule, list[int]] = {}
    for tag, a, a_end, b, b_end in SequenceMatcher(
        None, wanted, held, autojunk=False
    ).get_opcodes():
        if tag != "equal":
            missing += [(n + 1, wanted[n]) for n in range(a, a_end)]
            for n in range(b, b_end):
                extra.setdefault(held[n], []).append(n + 1)
    for number, rule in missing:
        if elsewhere := extra.get(rule):
            at = f"{where} rule {number}, found at {elsewhere.pop(0)}"
            yield Finding(Kind.MOVED_RULE, at, say(rule))
        else:
            yield Finding(Kind.MISSING_RULE, f"{where} rule {number}", say(rule))
    for number in sorted(n for numbers in extra.values() for n in numbers):
        rule = held[number - 1]
        yield Finding(Kind.EXTRA_RULE, f"{where} rule {number}", rule.text or say(rule))
