"""The difference between two states of our chains, as one ``iptables-restore --noflush`` text.

Pure. Each table is one commit, so a packet meets the old rules or the new ones and never a gap:
a chain that changes is flushed and filled again, a new one is filled before anything calls it,
and one that is no longer called is emptied and removed, all within that commit. Chains that stay
the same are not touched and keep their counters.
"""

from __future__ import annotations

from itertools import compress
from typing import TYPE_CHECKING

import msgspec

from interceptor.backends.ownership import OwnRules, twin
from interceptor.model import Chain, Rule, Ruleset, Table
from interceptor.names import Family
from interceptor.render.iptables import lower, words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.backends.interface import Wanted
    from interceptor.dialect import Ownership

FAMILIES = Family.INET.members


def both_families(ruleset: Ruleset, *, verbatim: bool = False) -> Ruleset:
    """Lower rules to each family they are for; built-in chains without a rule of ours drop out."""
    return Ruleset(
        tuple(
            Table(t.family, t.name, tuple(c for c in t.chains if c.rules or not c.base))
            for family in FAMILIES
            for t in lower(ruleset, family, verbatim=verbatim).tables
        )
    )


def own_part(observed: Ruleset, ownership: Ownership) -> Ruleset:
    """Give our chains, and of the others those rules that are ours."""
    tables = []
    for table in observed.tables:
        chains = []
        owned = OwnRules(table, ownership, twin(observed, table.family, table.name))
        for chain in table.chains:
            if ownership.owns_chain(chain.name):
                chains.append(chain)
            else:
                ours = tuple(compress(chain.rules, owned.of(chain.name)))
                if ours:
                    chains.append(Chain(chain.name, ours, chain.base))
        if chains:
            tables.append(msgspec.structs.replace(table, chains=tuple(chains)))
    return Ruleset(tuple(tables))


def with_called_chains(own: Ruleset, target: Ruleset, observed: Ruleset) -> Ruleset:
    """Add built-in chains that have no rule of ours: not the chain is missing, the rule is."""
    tables = {(table.family, table.name): table for table in own.tables}
    for wanted in target.tables:
        there = observed.table(wanted.family, wanted.name)
        ours = tables.get((wanted.family, wanted.name), Table(wanted.family, wanted.name))
        empty = tuple(
            Chain(chain.name, (), chain.base)
            for chain in wanted.chains
            if chain.base and there and there.chain(chain.name) and not ours.chain(chain.name)
        )
        if empty:
            tables[wanted.family, wanted.name] = msgspec.structs.replace(
                ours, chains=(*ours.chains, *empty)
            )
    return Ruleset(tuple(tables.values()))


def transition(wanted: Wanted, observed: Ruleset, family: Family, ownership: Ownership) -> str:
    """Write what leads one family's tables to what is wanted; empty if nothing has to be done.

    Args:
        wanted: for all families; its rules are lowered.
        observed: all tables of all families; their rules carry the text they were read from.
        family: which of them to write for.
        ownership: tells our chains from built-in and foreign ones.
    """
    own = own_part(observed, ownership)
    names = [t.name for t in (*wanted.ruleset.tables, *own.tables) if t.family is family]
    changes = [
        _TableChange(
            wanted.ruleset.table(family, name) or Table(family, name),
            observed.table(family, name) or Table(family, name),
            wanted.like.table(family, name) if wanted.like else None,
            ownership,
            twins=(twin(observed, family, name), twin(wanted.like, family, name)),
            anew=wanted.anew,
        )
        for name in dict.fromkeys(names)
    ]
    # Each table is a commit of its own: what takes a task over comes before what gives it up.
    changes.sort(key=lambda change: not change.calls_more)
    return "".join(change.text() for change in changes)


class _TableChange:
    """One table: what it should hold of ours, what it holds, and what it held."""

    def __init__(
        self,
        new: Table,
        held: Table,
        like: Table | None,
        ownership: Ownership,
        *,
        twins: tuple[Table | None, Table | None],
        anew: bool,
    ) -> None:
        self._family, self._name, self._anew = new.family, new.name, anew
        self._ownership = ownership
        self._wanted = {c.name: c.rules for c in new.chains}
        self._held = {c.name: c.rules for c in held.chains}
        self._like = {c.name: c.rules for c in like.chains} if like else {}
        self._held_ours = OwnRules(held, ownership, twins[0])
        self._like_ours = OwnRules(like, ownership, twins[1])

    @property
    def calls_more(self) -> bool:
        """Whether a chain that is not ours gets more rules of ours than it has."""
        return any(
            len(rules) > sum(self._held_ours.of(name))
            for name, rules in self._wanted.items()
            if not self._ownership.owns_chain(name)
        )

    def text(self) -> str:
        """Write the table's commit; nothing if nothing changes."""
        lines = self._lines()
        return "\n".join([f"*{self._name}", *lines, "COMMIT\n"]) if lines else ""

    def _lines(self) -> list[str]:
        wanted, held = self._wanted, self._held
        names = list(dict.fromkeys((*wanted, *held)))
        ours = [name for name in names if self._ownership.owns_chain(name)]
        changed = [name for name in ours if self._anew or wanted.get(name) != held.get(name)]
        others = [name for name in names if not self._ownership.owns_chain(name)]
        return [
            *(f":{name} - [0:0]" for name in changed),
            *(f"-A {c} {self._say(r)}" for c in changed for r in wanted.get(c, ())),
            *(line for name in others for line in self._calls(name)),
            *(f"-X {name}" for name in changed if name not in wanted),
        ]

    def _say(self, rule: Rule) -> str:
        # What was read is written as it was read: it may say more than was understood.
        return rule.text or words(rule, self._family)

    def _calls(self, chain: str) -> Iterator[str]:
        """Replace, in a chain that is not ours, the rules that are.

        Rules go by their text as the kernel prints it, never by number: a foreign rule that came
        in between makes the commit fail as a whole instead of hitting the wrong one.
        """
        rules, ours = self._held.get(chain, ()), self._held_ours.of(chain)
        held = list(compress(rules, ours))
        wanted = list(self._wanted.get(chain, ()))
        like = self._like.get(chain, ())
        places = _places(self._like_ours.of(chain) if like else ours)
        in_order = not like or places == _places(ours) or not wanted
        if wanted == held and in_order:
            return
        yield from (f"-D {chain} {self._say(rule)}" for rule in held)
        foreign = len(rules) - len(held)
        for number, rule in enumerate(wanted):
            # Where ours were, or are to be again; calls that are new come after what others have.
            before = places[min(number, len(places) - 1)] if places else foreign
            if rule.first and not like:
                before = 0
            if before >= foreign:
                yield f"-A {chain} {self._say(rule)}"
            else:
                yield f"-I {chain} {before + number + 1} {self._say(rule)}"


def _places(ours: tuple[bool, ...]) -> list[int]:
    """Count, for each rule of ours, the foreign rules before it."""
    foreign, places = 0, []
    for is_ours in ours:
        if is_ours:
            places.append(foreign)
        else:
            foreign += 1
    return places
