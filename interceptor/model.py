"""Rules as values: tables, base chains, chains, rules, matches, actions, in nftables' words.

A ``Ruleset`` belongs to no backend. ``sheets.build`` makes one from policy, ``parse`` makes one
from what a kernel holds, ``render`` lowers one to what a kernel language can say. Two rules are
equal when they have the same matches in any order, the same action and the same ``why``.
"""

from __future__ import annotations

import re
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Literal

import msgspec

from interceptor.errors import RulesetError
from interceptor.names import CHAIN_NAME_MAX, COMMENT_MAX, ChainType, Family, Hook
from interceptor.values import INTERFACE_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from interceptor.values import Ids, Interfaces, Marks, Networks, Ports


STATES = frozenset({"NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED", "SNAT", "DNAT"})
"""Conntrack states (iptables-extensions(8), "conntrack")."""

_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_PROTOCOL = re.compile(r"[a-z0-9][a-z0-9-]{0,15}")

_REDIRECT_HOOKS = frozenset({Hook.PREROUTING, Hook.OUTPUT})

PROTOCOLS_WITH_PORTS = frozenset({"tcp", "udp", "sctp", "dccp"})


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """One condition on a packet; ``negated`` turns it round."""

    negated: bool = False


class FamilyIs(Match, frozen=True):
    """The packet is of this single family (nft ``meta nfproto``)."""

    family: Family


class InInterface(Match, frozen=True):
    """It came in by one of these interfaces."""

    interfaces: Interfaces


class OutInterface(Match, frozen=True):
    """It leaves by one of these interfaces."""

    interfaces: Interfaces


class Source(Match, frozen=True):
    """Its source address is in one of these networks."""

    networks: Networks


class Destination(Match, frozen=True):
    """Its destination address is in one of these networks."""

    networks: Networks


class Protocol(Match, frozen=True):
    """It is of this transport protocol, by the name of /etc/protocols, or the number."""

    protocol: str


class SourcePort(Match, frozen=True):
    """Its source port is one of these."""

    ports: Ports


class DestinationPort(Match, frozen=True):
    """Its destination port is one of these."""

    ports: Ports


class Uid(Match, frozen=True):
    """The socket that sends it was made by one of these users.

    Without a socket it is false, also negated in nft; iptables makes the negated one true.
    """

    ids: Ids


class Gid(Match, frozen=True):
    """The socket that sends it was made by one of these groups.

    Without a socket it is false, also negated in nft; iptables makes the negated one true.
    """

    ids: Ids


class PacketMark(Match, frozen=True):
    """It carries one of these marks; a packet starts with its socket's."""

    marks: Marks


class ConnectionState(Match, frozen=True):
    """Conntrack has its connection in one of these states (NEW, ESTABLISHED, ...), sorted."""

    states: tuple[str, ...]


class Unreadable(Match, frozen=True):
    """A condition in words nobody here understands."""

    words: str


class Continue(msgspec.Struct, frozen=True):
    """Count and go on with the next rule."""


class Accept(msgspec.Struct, frozen=True):
    """Let it pass this hook's chain."""


class Drop(msgspec.Struct, frozen=True):
    """Throw it away."""


class Return(msgspec.Struct, frozen=True):
    """Go back to the chain that jumped here; from a base chain, to its policy."""


class Jump(msgspec.Struct, frozen=True):
    """Go on in another chain and come back."""

    chain: str


class Goto(msgspec.Struct, frozen=True):
    """Go on in another chain and come back to where this one was called from."""

    chain: str


class Redirect(msgspec.Struct, frozen=True):
    """Change the destination to this host and port."""

    port: int


class UnreadableAction(msgspec.Struct, frozen=True):
    """An action in words nobody here understands."""

    words: str


Action = Continue | Accept | Drop | Return | Jump | Goto | Redirect | UnreadableAction


class Rule(msgspec.Struct, frozen=True, eq=False):
    """If all matches hold, do the action; ``why`` is the comment in the kernel's listing.

    ``text`` is the line a rule was read from, and no part of its meaning.
    """

    matches: tuple[Match, ...] = ()
    action: Action = Continue()
    why: str = ""
    text: str = ""

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
    """Tables in the order they are written."""

    tables: tuple[Table, ...] = ()

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
        lets a missing one pass), no chain can call itself, names and comments fit, redirects
        stand only in nat chains at hooks that take them, and ports only beside a protocol that
        has them.

        Raises:
            RulesetError: with the first fault found.
        """
        seen: set[tuple[Family, str]] = set()
        for table in self.tables:
            if (table.family, table.name) in seen:
                raise RulesetError(f"table {table.family} {table.name} is there twice")
            seen.add((table.family, table.name))
            _validate_table(table)


def _validate_table(table: Table) -> None:
    chains: dict[str, Chain] = {}
    for chain in table.chains:
        if chain.name in chains:
            raise RulesetError(f"{table.name}: chain {chain.name} is there twice")
        if not 0 < len(chain.name) <= CHAIN_NAME_MAX or not _NAME.fullmatch(chain.name):
            raise RulesetError(
                f"{table.name}: {chain.name!r} is no chain name: 1 to {CHAIN_NAME_MAX} letters, "
                "digits and -_."
            )
        chains[chain.name] = chain
    for chain in table.chains:
        for number, rule in enumerate(chain.rules, 1):
            try:
                _check_jump(rule, chains)
                check_rule(rule)
            except RulesetError as error:
                raise RulesetError(
                    f"{table.name} {chain.name} rule {number}: {error}", hint=error.hint
                ) from None
    _validate_calls(table, chains)
    _validate_translation(table, chains)


def _check_jump(rule: Rule, chains: dict[str, Chain]) -> None:
    if rule.target is None:
        return
    if rule.target not in chains:
        raise RulesetError(f"jumps to the missing chain {rule.target!r}")
    if chains[rule.target].base is not None:
        raise RulesetError(f"jumps to {rule.target!r}, which only the kernel calls")


def check_rule(rule: Rule) -> None:
    """Check what a rule says by itself: its texts, and ports only beside their protocol.

    Every text that ends up in a rule's words is checked here, whichever way it came, so that
    none can be more than a word of its rule.
    """
    if len(rule.why) > COMMENT_MAX:
        raise RulesetError(f"its why is longer than {COMMENT_MAX} characters")
    if not rule.why.isprintable() or '"' in rule.why:
        raise RulesetError("its why has characters that do not print, or a double quote")
    for match in rule.matches:
        _check_texts(match)
    protocols = {m.protocol for m in rule.matches if isinstance(m, Protocol) and not m.negated}
    needs_ports = isinstance(rule.action, Redirect) or any(
        isinstance(m, SourcePort | DestinationPort) for m in rule.matches
    )
    if needs_ports and not protocols & PROTOCOLS_WITH_PORTS:
        raise RulesetError(
            "names a port without a protocol that has ports",
            hint="write -p tcp in the same row, before the port",
        )


def _check_texts(match: Match) -> None:
    match match:
        case Protocol(name) if not _PROTOCOL.fullmatch(name):
            raise RulesetError(f"{name!r} is no protocol")
        case ConnectionState(states) if not STATES.issuperset(states):
            known = ", ".join(sorted(STATES))
            raise RulesetError(f"{','.join(states)!r} are no states; known are {known}")
        case InInterface(interfaces) | OutInterface(interfaces):
            for name in interfaces.names:
                if not INTERFACE_NAME.fullmatch(name):
                    raise RulesetError(f"{name!r} is no interface name")


def _validate_calls(table: Table, chains: dict[str, Chain]) -> None:
    """Check that no way down from a chain comes back to it."""
    calls = {name: {r.target for r in c.rules if r.target} for name, c in chains.items()}
    try:
        TopologicalSorter(calls).prepare()
    except CycleError as error:
        # It names the chains from the called to the calling one.
        loop = " -> ".join(reversed(error.args[1]))
        raise RulesetError(f"{table.name}: chains call each other for ever: {loop}") from None


def _validate_translation(table: Table, chains: dict[str, Chain]) -> None:
    """Check that a redirect is reached only from nat chains at hooks where the kernel takes it.

    It refuses them elsewhere: ``nft_redir_validate``, and ``hooks`` in xt_REDIRECT.c.
    """
    for base in table.chains:
        if base.base is None:
            continue
        if base.base.type is not ChainType.NAT:
            lacks = "is no nat chain"
        elif base.base.hook not in _REDIRECT_HOOKS:
            lacks = f"is at {base.base.hook}"
        else:
            continue
        for chain in reachable(chains, base.name):
            if any(isinstance(rule.action, Redirect) for rule in chain.rules):
                raise RulesetError(
                    f"{table.name} {chain.name}: redirects, but {base.name} {lacks}",
                    hint="redirect in table nat, called from PREROUTING or OUTPUT",
                )


def met_at(ruleset: Ruleset, hook: Hook) -> Iterator[Chain]:
    """Give every chain that a packet at a hook can come to."""
    for table in ruleset.tables:
        chains = {chain.name: chain for chain in table.chains}
        for base in table.chains:
            if base.base and base.base.hook is hook:
                yield from reachable(chains, base.name)


def reachable(
    chains: dict[str, Chain], start: str, follows: Callable[[Rule], bool] = lambda _rule: True
) -> Iterator[Chain]:
    """Give the chain called ``start`` and all that can be called from it, each once.

    ``follows`` says of a rule that calls a chain whether its call counts.
    """
    pending, seen = [start], set[str]()
    while pending:
        name = pending.pop()
        if name not in seen and name in chains:
            seen.add(name)
            yield chains[name]
            pending += [r.target for r in chains[name].rules if r.target and follows(r)]
