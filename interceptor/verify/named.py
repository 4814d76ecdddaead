"""Everything that rules name and that a connection can have: what there is to try."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from interceptor.model import (
    Destination,
    DestinationPort,
    Gid,
    Match,
    PacketMark,
    Redirect,
    Ruleset,
    Source,
    Uid,
    reachable,
)
from interceptor.names import Family, Hook
from interceptor.values import Ids

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from interceptor.analysis.packet import Address
    from interceptor.values import Mark, Network

T = TypeVar("T")

MOST_PORTS = 16
"""Ports tried of those that are named, for each direction and family."""
MOST_OF_A_KIND = 6
"""Users, groups, marks and networks tried of those that are named, of each kind."""
_SPACIOUS = 2**8
"""Networks with fewer addresses are not borrowed from: all of theirs may be in use."""


class Identity(msgspec.Struct, frozen=True):
    """Who makes a connection."""

    name: str
    uid: int
    gid: int
    mark: int = 0


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """What rules name; of ranges the ends, of each kind only so many, the policy's first."""

    inbound_ports: tuple[int, ...]
    outbound_ports: tuple[int, ...]
    redirect_ports: tuple[int, ...]
    uids: Ids
    gids: Ids
    marks: tuple[Mark, ...]
    networks: dict[Family, tuple[Network, ...]]
    sources: dict[Family, tuple[Address, ...]]
    """Addresses that local connections may come from, of the policy alone."""

    @classmethod
    def of(cls, policy: Ruleset, *held: Ruleset) -> Named:
        """Gather from a policy's rules, and from what a kernel holds, ours and others'."""
        rulesets = (policy, *held)
        inbound = [m for r in rulesets for m in _matches(r, Hook.PREROUTING)]
        outbound = [m for r in rulesets for m in _matches(r, Hook.OUTPUT)]
        return cls(
            inbound_ports=_ports(inbound),
            outbound_ports=_ports(outbound),
            redirect_ports=tuple(dict.fromkeys(_redirects(policy))),
            uids=_joined(m.ids for m in outbound if isinstance(m, Uid)),
            gids=_joined(m.ids for m in outbound if isinstance(m, Gid)),
            marks=_some(
                mark
                for match in outbound
                if isinstance(match, PacketMark)
                for mark in match.marks.marks
                if mark.value
            ),
            networks={family: _some(_networks(outbound, family)) for family in _FAMILIES},
            sources={
                family: _some(_sources(_matches(policy, Hook.OUTPUT), family))
                for family in _FAMILIES
            },
        )

    def identities(self, me: Identity) -> list[Identity]:
        """Give one identity for each range of users and groups and each mark; else they are me."""
        return [
            *(Identity(f"uid {low}", low, me.gid) for low, _ in self.uids.ranges[:MOST_OF_A_KIND]),
            *(Identity(f"gid {low}", me.uid, low) for low, _ in self.gids.ranges[:MOST_OF_A_KIND]),
            *(Identity(f"mark {mark}", me.uid, me.gid, mark.value) for mark in self.marks),
        ]

    def stranger(self) -> Identity:
        """Give an identity that nothing names: the app."""
        nobody = range(65533, 0, -1)
        uid = next(number for number in nobody if number not in self.uids)
        gid = next(number for number in nobody if number not in self.gids)
        return Identity("app", uid, gid)


_FAMILIES = (Family.IP, Family.IP6)


def _matches(ruleset: Ruleset, hook: Hook) -> Iterator[Match]:
    """Give the matches of every rule a packet at a hook can meet."""
    for table in ruleset.tables:
        chains = {chain.name: chain for chain in table.chains}
        for base in table.chains:
            if base.base and base.base.hook is hook:
                for chain in reachable(chains, base.name):
                    for rule in chain.rules:
                        yield from rule.matches


def _some(found: Iterable[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(found))[:MOST_OF_A_KIND]


def _ports(matches: list[Match]) -> tuple[int, ...]:
    ends = (
        end
        for match in matches
        if isinstance(match, DestinationPort)
        for ends in match.ports.ranges
        for end in ends
        if end
    )
    return tuple(dict.fromkeys(ends))[:MOST_PORTS]


def _joined(sets: Iterable[Ids]) -> Ids:
    joined = Ids()
    for one in sets:
        joined = joined + one
    return joined


def _networks(matches: list[Match], family: Family) -> Iterator[Network]:
    """Give destinations that have room for one more address."""
    for match in matches:
        if isinstance(match, Destination):
            for network in match.networks.part(family):
                roomy = network.num_addresses >= _SPACIOUS and network.prefixlen
                if roomy and not network.is_loopback:
                    yield network


def _sources(matches: Iterable[Match], family: Family) -> Iterator[Address]:
    for match in matches:
        if isinstance(match, Source):
            for network in match.networks.part(family):
                if network.num_addresses == 1:
                    yield network.network_address


def _redirects(ruleset: Ruleset) -> Iterator[int]:
    for table in ruleset.tables:
        for chain in table.chains:
            for rule in chain.rules:
                if isinstance(rule.action, Redirect):
                    yield rule.action.port
