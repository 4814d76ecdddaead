"""What rules of others can do to packets of one family and protocol, as far as they are legible.

Pure. What comes out is a set of all that may happen: a rule that may do two things has both in it,
so one thing alone is sure. Packets are those that begin a connection.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from interceptor import model
from interceptor.backends import nft_statement
from interceptor.backends.shadow import PASSING_TARGETS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from interceptor.model import Action, Chain, Match, Rule, Table
    from interceptor.names import Family

CONNTRACK_PRIORITY = -200
"""NF_IP_PRI_CONNTRACK of linux/netfilter_ipv4.h."""

_DEEPEST = 64
"""Calls within calls that are followed; nft allows 16."""


class Outcome(Enum):
    """What happens to a packet."""

    TAKEN = auto()
    """It is dropped, translated, given to a socket, or kept from conntrack and so from nat."""
    LET_GO = auto()
    """It leaves the base chain, and the next one at the hook is asked."""
    BACK = auto()
    """It goes back to the chain that called; from a base chain, to its policy."""
    NEXT = auto()
    """The next rule is looked at."""


Outcomes = frozenset[Outcome]

_TAKEN = frozenset({Outcome.TAKEN})
_LET_GO = frozenset({Outcome.LET_GO})
_BACK = frozenset({Outcome.BACK})
_NEXT = frozenset({Outcome.NEXT})
_ANY = frozenset(Outcome)

_TAKING_TARGETS = frozenset(
    ["DNAT", "MASQUERADE", "NETMAP", "REDIRECT", "REJECT", "SNAT", "TARPIT", "TPROXY"]
)
_QUEUES = frozenset(["NFQUEUE", "QUEUE"])
_NO_CONNECTION = frozenset(["INVALID", "UNTRACKED"])


class Judge:
    """Says what a table's rules can do.

    Args:
        table: whose chains may be called.
        family: of the packets, a single one.
        protocol: of the packets, as ``Protocol`` names it.
        priority: where at its hook the base chain runs.
    """

    def __init__(self, table: Table, family: Family, protocol: str, priority: int) -> None:
        self._chains = {chain.name: chain for chain in table.chains}
        self._family = family
        self._protocol = protocol
        self._priority = priority
        self._known: dict[str, Outcomes] = {}

    def rule(self, rule: Rule, depth: int = 0) -> Outcomes:
        """Give all that may happen to a packet that comes to a rule."""
        held = self.meets(rule)
        if held is False:
            return _NEXT
        done = self._done(rule.action, depth)
        return done if held else done | _NEXT

    def meets(self, rule: Rule) -> bool | None:
        """Whether a rule's matches hold; ``None`` if they do for some packets, or may."""
        answers = [self._holds(match) for match in rule.matches]
        if False in answers:
            return False
        return None if None in answers else True

    def _chain(self, name: str, depth: int) -> Outcomes:
        """Give all that may happen to a packet that is sent to a chain, each looked at once.

        Whoever is root in a pod can make chains that call each other in more ways than can be
        gone, and deeper than Python calls.
        """
        chain = self._chains.get(name)
        if chain is None or depth > _DEEPEST:
            return _ANY - _NEXT
        if name not in self._known:
            # A kernel has no chain that calls itself; a text may.
            self._known[name] = _BACK
            self._known[name] = self._ends(chain, depth)
        return self._known[name]

    def _ends(self, chain: Chain, depth: int) -> Outcomes:
        ends: set[Outcome] = set()
        for rule in chain.rules:
            done = self.rule(rule, depth)
            ends |= done - _NEXT
            if Outcome.NEXT not in done:
                return frozenset(ends)
        return frozenset(ends | _BACK)

    def _done(self, action: Action, depth: int) -> Outcomes:
        match action:
            case model.Accept():
                return _LET_GO
            case model.Return():
                return _BACK
            case model.Jump(name):
                return self._called(name, depth)
            case model.Goto(name):
                return self._chain(name, depth + 1)
            case (
                model.Drop()
                | model.Redirect()
                | model.TProxy()
                | model.TranslateDestination()
                | model.SetSource()
            ):
                return _TAKEN
            case model.Foreign(words):
                if nft_statement.is_json(words):
                    return self._statements(nft_statement.statements(words), depth)
                name, _, options = words.partition(" ")
                return self._target(name, options)
        return _NEXT

    def _called(self, name: str, depth: int) -> Outcomes:
        ends = self._chain(name, depth + 1)
        return ends - _BACK | _NEXT if Outcome.BACK in ends else ends

    def _target(self, name: str, options: str) -> Outcomes:
        """Judge a target of iptables by its name, and CT by what it is told as well."""
        if "--notrack" in options or name == "NOTRACK":
            return self._untracked()
        if name in PASSING_TARGETS:
            return _NEXT
        if name in _TAKING_TARGETS:
            return _TAKEN
        # Whoever reads a queue may do either; if nobody does, packets are dropped.
        return _TAKEN | _LET_GO if name in _QUEUES else _ANY

    def _untracked(self) -> Outcomes:
        """Keep it from conntrack, which is possible only before that has seen it."""
        if self._priority > CONNTRACK_PRIORITY:
            return _NEXT
        return _TAKEN if self._priority < CONNTRACK_PRIORITY else _TAKEN | _NEXT

    def _statements(self, statements: Iterable[nft_statement.Statement], depth: int) -> Outcomes:
        """Go through a rule's statements; after one that does not hold the next rule comes."""
        ends: set[Outcome] = set()
        for statement in statements:
            held = nft_statement.holds(statement, self._family, self._protocol)
            if held is False:
                return frozenset(ends | _NEXT)
            if held is None:
                ends |= _NEXT
            done = self._statement(statement, depth)
            ends |= done - _NEXT
            if Outcome.NEXT not in done:
                return frozenset(ends)
        return frozenset(ends | _NEXT)

    def _statement(self, statement: nft_statement.Statement, depth: int) -> Outcomes:
        match statement:
            case {"accept": _}:
                return _LET_GO
            case {"return": _}:
                return _BACK
            case {"jump": {"target": str(name)}}:
                return self._called(name, depth)
            case {"goto": {"target": str(name)}}:
                return self._chain(name, depth + 1)
            case {"notrack": _}:
                return self._untracked()
            case {"queue": _}:
                return _TAKEN | _LET_GO
            case {"vmap": vmap}:
                return self._verdicts(vmap, depth)
            case {"xt": {"type": "target", "name": str(name)}} if name != "CT":
                return self._target(name, "")
            case {"xt": {"type": "target"}}:
                return self._untracked() | _NEXT
            case {"xt": {"type": "match"}}:
                return _NEXT
        if nft_statement.kind(statement) in nft_statement.TAKING:
            return _TAKEN
        return _NEXT if nft_statement.kind(statement) in nft_statement.PASSING else _ANY

    def _verdicts(self, vmap: object, depth: int) -> Outcomes:
        """Judge a map of verdicts by all that are in it; a named one may have any."""
        is_tracked = self._priority > CONNTRACK_PRIORITY
        verdicts = nft_statement.verdicts(vmap, self._protocol, is_tracked=is_tracked)
        if verdicts is None:
            return _ANY
        return frozenset(_NEXT.union(*(self._statement(verdict, depth) for verdict in verdicts)))

    def _holds(self, match: Match) -> bool | None:
        match match:
            case model.Protocol(name):
                return (name == self._protocol) != match.negated
            case model.FamilyIs(family):
                return (family is self._family) != match.negated
            case model.Source(networks) | model.Destination(networks):
                if networks.covers(self._family):
                    return not match.negated
                return False if not networks.only(self._family) and not match.negated else None
            case model.SourcePort(ports) | model.DestinationPort(ports):
                # Nobody connects to port 0.
                everything = any(low <= 1 and high == ports.HIGHEST for low, high in ports.ranges)
                return not match.negated if everything else None
            case model.ConnectionState(states):
                return self._has_state(states, negated=match.negated)
            case model.TcpFlags(mask, flags):
                begins = flags == tuple(flag for flag in mask if flag == "SYN")
                return True if begins != match.negated else None
            case model.Aside():
                return True
            case model.ForeignMatch(words) if nft_statement.is_json(words):
                return self._holds_in_json(words)
        return None

    def _holds_in_json(self, words: str) -> bool | None:
        """Judge what nft wrote: one match, or, with all else that is in it, a whole rule."""
        held = [
            nft_statement.holds(s, self._family, self._protocol)
            for s in nft_statement.statements(words)
        ]
        # What else a rule has in it is judged with its action.
        return held[0] if len(held) == 1 else True

    def _has_state(self, states: tuple[str, ...], *, negated: bool) -> bool | None:
        """Say of what begins a connection whether conntrack has it in one of these states.

        Before conntrack has seen a packet, it is invalid to both languages, unless it comes from
        this host itself. Later packets of a connection have other states.
        """
        if self._priority == CONNTRACK_PRIORITY:
            return None
        is_tracked = self._priority > CONNTRACK_PRIORITY
        if (("NEW" if is_tracked else "INVALID") in states) != negated:
            return True
        return False if is_tracked and not negated and _NO_CONNECTION.issuperset(states) else None
