"""Where in its way a packet is: what it can be asked there."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from interceptor import model
from interceptor.analysis.space import Dimension
from interceptor.names import LOOPBACK_INTERFACE, Family, Hook

if TYPE_CHECKING:
    from interceptor.analysis.space import Space

BaseAt = tuple[model.Table, model.Chain, int]
"""A base chain, its table, and its priority."""

FIRST_STATES = ("NEW", "RELATED")
"""States in which a packet is a connection's first (nf_nat_inet_fn in nf_nat_core.c)."""

MOST_ORDERED = 3
"""Chains of one priority of which all orders are tried."""

CONNTRACK_PRIORITY = -200
"""NF_IP_PRI_CONNTRACK of linux/netfilter_ipv4.h; before it a packet has no connection."""


class Place(NamedTuple):
    """A base chain's place.

    ``again`` is that the packet was sent by this host and comes in by ``lo``, with its connection;
    ``translated`` that its destination is not the one it was sent to.
    """

    hook: Hook
    priority: int
    again: bool = False
    translated: bool = False

    @property
    def is_tracked(self) -> bool:
        """Whether conntrack has seen the packet; then its zone stays, and so does its connection.

        xt_CT.c, nft_ct.c: what sets a zone, or says not to track, leaves such a packet alone.
        """
        return self.again or self.priority > CONNTRACK_PRIORITY or self.hook not in _FIRST

    @property
    def is_outgoing(self) -> bool:
        """Whether this host sent it."""
        return self.hook in (Hook.OUTPUT, Hook.POSTROUTING)

    def mask(
        self, space: Space, match: model.Match, family: Family
    ) -> tuple[Dimension, int] | bool | None:
        """Give the dimension a match asks about here, and the atoms for which it holds.

        A match that holds for all packets, or for none, is a ``bool``; ``None`` is one that
        cannot be read.
        """
        match match:
            case model.ConnectionState(states) if not self.is_tracked:
                # nft_ct.c and xt_conntrack.c: without a connection it is invalid, or untracked.
                untracked = 1 << space.states.atom("UNTRACKED")
                mask = untracked if "UNTRACKED" in states else 0
                if "INVALID" in states:
                    mask |= space.diagrams.full[Dimension.STATE] & ~untracked
                if match.negated:
                    mask ^= space.diagrams.full[Dimension.STATE]
                return Dimension.STATE, mask
            case model.DestinationIsLocal() | model.SourceIsLocal():
                return self._is_local(space, match)
            case model.Uid() | model.Gid() if not self.is_outgoing:
                return False
            case _:
                return space.mask(match, family)

    def _is_local(
        self, space: Space, match: model.SourceIsLocal | model.DestinationIsLocal
    ) -> tuple[Dimension, int] | bool:
        """Judge by the way a packet takes: routing made the same difference before."""
        loopback = 1 << space.interfaces.atom(LOOPBACK_INTERFACE)
        is_source = isinstance(match, model.SourceIsLocal)
        if self.translated or self.again or is_source == self.is_outgoing:
            return not match.negated
        level = Dimension.OUT_INTERFACE if self.is_outgoing else Dimension.IN_INTERFACE
        return level, loopback ^ (space.diagrams.full[level] if match.negated else 0)


_FIRST = (Hook.PREROUTING, Hook.OUTPUT)


def bases(ruleset: model.Ruleset, hook: Hook, family: Family) -> list[BaseAt]:
    """Give the base chains at a hook with their priorities, lowest first, that do anything."""
    found = [
        (table, chain, chain.base.priority)
        for table in ruleset.tables
        if family in table.family.members and "dormant" not in table.flags
        for chain in table.chains
        if chain.base and chain.base.hook is hook and (chain.rules or chain.base.policy == "drop")
    ]
    return sorted(found, key=lambda base: base[2])
