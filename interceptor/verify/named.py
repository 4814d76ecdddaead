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
    met_at,
)
from interceptor.names import FAMILY_NAMES, Family, Hook
from interceptor.values import Ids
from interceptor.verify.networks import Chosen, choose

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from interceptor.analysis.packet import Address
    from interceptor.values import Mark, Network, Range

T = TypeVar("T")

MOST_PORTS = 16
"""Ports tried of those that are named, for each direction and family."""
MOST_OF_A_KIND = 6
"""Users, groups, marks and networks tried of those that are named, of each kind."""
_MOST_LISTED = 6
"""Things of one kind that a message lists before it only counts."""


class Identity(msgspec.Struct, frozen=True):
    """Who makes a connection."""

    name: str
    uid: int
    gid: int
    mark: int = 0


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """What rules name, the policy's first; of ranges of ports both ends.

    It is all that is named; what is tried of it is given by the methods, and what is not by
    ``left_out``.
    """

    inbound: tuple[int, ...]
    outbound: tuple[int, ...]
    redirect_ports: tuple[int, ...]
    uids: tuple[Range, ...]
    gids: tuple[Range, ...]
    marks: tuple[Mark, ...]
    networks: dict[Family, Chosen]
    sources: dict[Family, tuple[Address, ...]]
    """Addresses that local connections may come from, of the policy alone."""

    @classmethod
    def of(cls, policy: Ruleset, *held: Ruleset) -> Named:
        """Gather from a policy's rules, and from what a kernel holds, ours and others'."""
        rulesets = (policy, *held)
        inbound = [m for r in rulesets for m in _matches(r, Hook.PREROUTING)]
        outbound = [m for r in rulesets for m in _matches(r, Hook.OUTPUT)]
        return cls(
            inbound=_ports(inbound),
            outbound=_ports(outbound),
            redirect_ports=_once(_redirects(policy)),
            uids=_once(r for m in outbound if isinstance(m, Uid) for r in m.ids.ranges),
            gids=_once(r for m in outbound if isinstance(m, Gid) for r in m.ids.ranges),
            marks=_once(
                mark
                for match in outbound
                if isinstance(match, PacketMark)
                for mark in match.marks.marks
                if mark.value
            ),
            networks={
                family: choose(_networks(outbound, family), family, MOST_OF_A_KIND)
                for family in FAMILY_NAMES
            },
            sources={
                family: _once(_sources(_matches(policy, Hook.OUTPUT), family))[:MOST_OF_A_KIND]
                for family in FAMILY_NAMES
            },
        )

    @property
    def inbound_ports(self) -> tuple[int, ...]:
        """Ports to connect to from outside."""
        return self.inbound[:MOST_PORTS]

    @property
    def outbound_ports(self) -> tuple[int, ...]:
        """Ports to connect to outside."""
        return self.outbound[:MOST_PORTS]

    def identities(self, me: Identity) -> list[Identity]:
        """Give one identity for each range of users and groups and each mark; else they are me."""
        most = MOST_OF_A_KIND
        return [
            *(Identity(f"uid {low}", low, me.gid) for low, _ in self.uids[:most]),
            *(Identity(f"gid {low}", me.uid, low) for low, _ in self.gids[:most]),
            *(Identity(f"mark {mark}", me.uid, me.gid, mark.value) for mark in self.marks[:most]),
        ]

    def stranger(self) -> Identity:
        """Give an identity that nothing names: the app."""
        nobody = range(65533, 0, -1)
        uids, gids = Ids.of(*self.uids), Ids.of(*self.gids)
        uid = next(number for number in nobody if number not in uids)
        gid = next(number for number in nobody if number not in gids)
        return Identity("app", uid, gid)

    def left_out(self, families: Iterable[Family]) -> list[str]:
        """Say what is named and not tried, a line for each kind and why."""
        most = MOST_OF_A_KIND
        kinds: list[tuple[str, Iterable[object]]] = [
            (f"inbound ports beyond the {MOST_PORTS} that are", self.inbound[MOST_PORTS:]),
            (f"outbound ports beyond the {MOST_PORTS} that are", self.outbound[MOST_PORTS:]),
            (f"users beyond the {most} that are", (low for low, _ in self.uids[most:])),
            (f"groups beyond the {most} that are", (low for low, _ in self.gids[most:])),
            (f"marks beyond the {most} that are", self.marks[most:]),
        ]
        for family in families:
            name, chosen = FAMILY_NAMES[family], self.networks[family]
            kinds += [
                (f"{name} networks too small to borrow an address from", chosen.too_small),
                (
                    f"{name} networks that are unspecified, loopback, link-local or multicast",
                    chosen.not_routed,
                ),
                (f"{name} networks beyond the {most} that are", chosen.too_many),
            ]
        return [f"{what}: {_listed(which)}" for what, things in kinds if (which := [*things])]


def _listed(things: list[object]) -> str:
    more = len(things) - _MOST_LISTED
    listed = ", ".join(map(str, things[:_MOST_LISTED]))
    return f"{listed} and {more} more" if more > 0 else listed


def _matches(ruleset: Ruleset, hook: Hook) -> Iterator[Match]:
    """Give the matches of every rule a packet at a hook can meet."""
    for chain in met_at(ruleset, hook):
        for rule in chain.rules:
            yield from rule.matches


def _once(found: Iterable[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(found))


def _ports(matches: list[Match]) -> tuple[int, ...]:
    return _once(
        end
        for match in matches
        if isinstance(match, DestinationPort)
        for ends in match.ports.ranges
        for end in ends
        if end
    )


def _networks(matches: list[Match], family: Family) -> Iterator[Network]:
    for match in matches:
        if isinstance(match, Destination):
            yield from match.networks.part(family)


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
