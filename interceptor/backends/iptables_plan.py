"""The difference between two states of our chains, as one ``iptables-restore --noflush`` text.

Pure. Each table is one commit, so a packet meets the old rules or the new ones and never a gap:
a chain that changes is flushed and filled again, a new one is filled before anything calls it,
and one that is no longer called is emptied and removed, all within that commit. Chains that stay
the same are not touched and keep their counters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.model import Chain, Rule, Ruleset, Table
from interceptor.names import Family
from interceptor.render.iptables import lower, words

if TYPE_CHECKING:
    from interceptor.dialect import Dialect


FAMILIES = (Family.IP, Family.IP6)


def own_part(observed: Ruleset, dialect: Dialect) -> Ruleset:
    """Give our chains, and of the others those rules that call ours."""
    tables = []
    for table in observed.tables:
        chains = []
        for chain in table.chains:
            if dialect.owns_chain(chain.name):
                chains.append(chain)
            else:
                ours = tuple(r for r in chain.rules if dialect.owns_chain(r.target or ""))
                if ours:
                    chains.append(Chain(chain.name, ours, chain.base))
        if chains:
            tables.append(Table(table.family, table.name, tuple(chains)))
    return Ruleset(tuple(tables))


def both_families(ruleset: Ruleset) -> Ruleset:
    """Lower rules to each family they are for; built-in chains without a rule of ours drop out."""
    return Ruleset(
        tuple(
            Table(t.family, t.name, tuple(c for c in t.chains if c.rules or not c.base))
            for family in FAMILIES
            for t in lower(ruleset, family).tables
        )
    )


def of_family(ruleset: Ruleset, family: Family) -> Ruleset:
    """Give the tables of one family."""
    return Ruleset(tuple(table for table in ruleset.tables if table.family is family))


def transition(target: Ruleset, own: Ruleset, dialect: Dialect) -> str:
    """Write what turns our part of one family's tables into the target; empty if nothing does.

    Args:
        target: lowered rules of one family, or none to remove all of ours.
        own: our part of that family's tables as observed; its rules carry their text.
        dialect: tells our chains from built-in and foreign ones.
    """
    parts = []
    for name in dict.fromkeys(table.name for table in (*target.tables, *own.tables)):
        new = next((t for t in target.tables if t.name == name), None)
        old = next((t for t in own.tables if t.name == name), None)
        lines = _table_lines(new, old, dialect)
        if lines:
            parts.append("\n".join([f"*{name}", *lines, "COMMIT\n"]))
    return "".join(parts)


def _table_lines(new: Table | None, old: Table | None, dialect: Dialect) -> list[str]:
    wanted = {chain.name: chain.rules for chain in new.chains} if new else {}
    held = {chain.name: chain.rules for chain in old.chains} if old else {}
    ours = [name for name in (*wanted, *held) if dialect.owns_chain(name)]
    changed = [name for name in dict.fromkeys(ours) if wanted.get(name) != held.get(name)]
    others = [name for name in dict.fromkeys((*held, *wanted)) if not dialect.owns_chain(name)]
    lines = [f":{name} - [0:0]" for name in changed]
    for name in changed:
        lines += [f"-A {name} {words(rule)}" for rule in wanted.get(name, ())]
    for name in others:
        lines += _calls(name, wanted.get(name, ()), held.get(name, ()))
    lines += [f"-X {name}" for name in changed if name not in wanted]
    return lines


def _calls(chain: str, wanted: tuple[Rule, ...], held: tuple[Rule, ...]) -> list[str]:
    """Replace, in a chain that is not ours, the rules that call ours.

    Rules go by their text as the kernel prints it, never by number: a foreign rule that came in
    between makes the commit fail as a whole instead of hitting the wrong one.
    """
    if wanted == held:
        return []
    return [
        *(f"-D {chain} {rule.text or words(rule)}" for rule in held),
        *(f"-A {chain} {words(rule)}" for rule in wanted),
    ]
