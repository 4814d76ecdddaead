"""Rules in chains, chains in tables, tables in a ruleset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from interceptor.errors import RulesetError
from interceptor.model.actions import Action, Continue, Goto, Jump
from interceptor.model.matches import Gid, Uid
from interceptor.model.validate import reachable, validate_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from interceptor.model.matches import Match
    from interceptor.model.pod_config import SocketPolicy
    from interceptor.model.routing import Routing
    from interceptor.names import ChainType, Family, Hook


class Rule(msgspec.Struct, frozen=True, eq=False):
    """If all matches hold, do the action; ``why`` is the comment in the kernel's listing.

    ``text`` is the line a rule was read from, and ``counted`` the packets and bytes it had matched
    by then; they are no part of its meaning. ``only`` names the language the rule is for,
    ``iptables`` or ``nftables``, where a dialect has it in one alone. ``handle`` is the number by
    which nf_tables knows the rule in its table, 0 if that is not known. ``first`` is whether a new
    one goes before what others have in a built-in chain of iptables.
    """

    matches: tuple[Match, ...] = ()
    action: Action = Continue()
    why: str = ""
    text: str = ""
    only: str = ""
    counted: tuple[int, int] | None = None
    handle: int = 0
    first: bool = False

    @property
    def meaning(self) -> tuple[frozenset[Match], Action, str]:
        """What makes two rules equal."""
        return frozenset(self.matches), self.action, self.why

    @property
    def target(self) -> str | None:
        """The chain it jumps or goes to, if it does."""
        return self.action.chain if isinstance(self.action, Jump | Goto) else None

    def __eq__(self, other: object) -> bool:
        return self.meaning == other.meaning if isinstance(other, Rule) else NotImplemented

    def __ne__(self, other: object) -> bool:
        # What msgspec inherits here compares identities.
        return not self == other

    def __hash__(self) -> int:
        return hash(self.meaning)


class Base(msgspec.Struct, frozen=True):
    """What ties a chain to a hook; chains at a hook run in order of ``priority``."""

    type: ChainType
    hook: Hook
    priority: int
    policy: Literal["accept", "drop"] = "accept"


class Chain(msgspec.Struct, frozen=True):
    """Rules in order; with a ``base`` the kernel calls it, without one only a jump does."""

    name: str
    rules: tuple[Rule, ...] = ()
    base: Base | None = None


class Table(msgspec.Struct, frozen=True):
    """Chains that can jump to one another, for packets of one family or of both.

    ``flags`` are nft's: ``dormant`` switches the whole table off.
    """

    family: Family
    name: str
    chains: tuple[Chain, ...] = ()
    flags: tuple[str, ...] = ()

    def chain(self, name: str) -> Chain | None:
        """Give the chain of that name."""
        return next((c for c in self.chains if c.name == name), None)


class Ruleset(msgspec.Struct, frozen=True):
    """Tables in the order they are written, and what else packets need to get there.

    ``sockets`` is the same policy for programs at sockets, ``None`` where nobody asks for it.
    """

    tables: tuple[Table, ...] = ()
    routing: tuple[Routing, ...] = ()
    sockets: SocketPolicy | None = None

    def table(self, family: Family, name: str) -> Table | None:
        """Give the table of that family and name."""
        return next((t for t in self.tables if (t.family, t.name) == (family, name)), None)

    @property
    def counts(self) -> tuple[int, int]:
        """How many chains and how many rules there are."""
        chains = [chain for table in self.tables for chain in table.chains]
        return len(chains), sum(len(chain.rules) for chain in chains)

    def validate(self) -> None:
        """Check by itself all that kernel tools check late, badly or not at all.

        Every jump ends in a chain of its own table (``iptables-restore --test`` on nf_tables
        lets a missing one pass), no chain can call itself, names and comments fit, redirects and
        the like stand only where the kernel takes them, and ports only beside a protocol that has
        them.

        Raises:
            RulesetError: with the first fault found.
        """
        seen: set[tuple[Family, str]] = set()
        for table in self.tables:
            if (table.family, table.name) in seen:
                raise RulesetError(f"table {table.family} {table.name} is there twice")
            seen.add((table.family, table.name))
            validate_table(table)


def verbatim(rule: Rule) -> Rule:
    """Give a rule as other tools write it: without a comment, and "none of" id by id."""
    matches: list[Match] = []
    for match in rule.matches:
        if isinstance(match, Uid | Gid) and match.negated:
            matches += [type(match)(ids, negated=True) for ids in match.ids.members]
        else:
            matches.append(match)
    return msgspec.structs.replace(rule, matches=tuple(matches), why="")


def without_idle(chains: Iterable[Chain]) -> tuple[Chain, ...]:
    """Give the chains but those that hold no rule and that nothing calls."""
    kept = tuple(chains)
    called = {rule.target for chain in kept for rule in chain.rules}
    return tuple(c for c in kept if c.rules or c.name in called)


def without_orphans(before: Iterable[Chain], after: Iterable[Chain]) -> tuple[Chain, ...]:
    """Give chains but those that were called before rules were left out, and no longer are.

    Args:
        before: chains that call one another.
        after: the same with fewer rules.
    """
    kept = tuple(after)
    lost = _called(before) - _called(kept)
    return tuple(chain for chain in kept if chain.name not in lost)


def _called(chains: Iterable[Chain]) -> set[str]:
    """Give the names of chains that a packet can come to."""
    named = {chain.name: chain for chain in chains}
    return {c.name for base in named.values() if base.base for c in reachable(named, base.name)}


def met_at(ruleset: Ruleset, hook: Hook) -> Iterator[Chain]:
    """Give every chain that a packet at a hook can come to."""
    for table in ruleset.tables:
        chains = {chain.name: chain for chain in table.chains}
        for base in table.chains:
            if base.base and base.base.hook is hook:
                yield from reachable(chains, base.name)
