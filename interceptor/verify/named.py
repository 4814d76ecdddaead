"""Everything that rules name and that a connection can have: what there is to try."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from interceptor.model import (
    Destination,
    Gid,
    Redirect,
    RestoreMark,
    Ruleset,
    Source,
    TProxy,
    Uid,
)
from interceptor.names import FAMILY_NAMES, Family, Hook
from interceptor.values import Ids
from interceptor.verify import gather
from interceptor.verify.networks import Chosen, choose

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from interceptor.analysis.packet import Address
    from interceptor.values import Mark, Range

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
    """TCP ports; those that are named for UDP alone are apart."""
    udp_inbound: tuple[int, ...]
    udp_outbound: tuple[int, ...]
    redirect_ports: tuple[int, ...]
    """Where the policy takes TCP connections to, by ``Redirect`` or ``TProxy``."""
    tproxy_ports: tuple[int, ...]
    """Those of ``TProxy``, the policy's and others'."""
    udp_redirect_ports: tuple[int, ...]
    uids: tuple[Range, ...]
    gids: tuple[Range, ...]
    marks: tuple[Mark, ...]
    own_marks: tuple[Mark, ...]
    """Marks the policy gives to packets itself, or routes by: a socket's would lead astray. Not
    those that answers get: these are tried by a hand-over."""
    handovers: dict[Family, tuple[int, ...]]
    """Marks by which the proxy may connect in a client's name, and the answer comes back."""
    networks: dict[Family, Chosen]
    hosts: dict[Family, tuple[Address, ...]]
    """Single destinations of the policy's rules, as resolvers are; somebody else answers there."""
    sources: dict[Family, tuple[Address, ...]]
    """Addresses that local connections may come from, of the policy alone."""

    @classmethod
    def of(cls, policy: Ruleset, *held: Ruleset) -> Named:
        """Gather from a policy's rules, and from what a kernel holds, ours and others'."""
        inbound = gather.rules_at(Hook.PREROUTING, policy, *held)
        outbound = gather.rules_at(Hook.OUTPUT, policy, *held)
        own, own_outbound = gather.all_rules(policy), gather.rules_at(Hook.OUTPUT, policy)
        marks = gather.marks(outbound)
        taken = {*gather.marks_given(own), *gather.marks_routed(policy, *FAMILY_NAMES)}
        # Without it nobody can have meant answers to find their way back.
        restores = any(isinstance(rule.action, RestoreMark) for rule in own_outbound)
        answered = {*gather.marks_routed(policy, *FAMILY_NAMES)} if restores else set[int]()
        networks = {f: gather.networks(outbound, Destination, f) for f in FAMILY_NAMES}
        sources = {f: gather.networks(own_outbound, Source, f) for f in FAMILY_NAMES}
        hosts = {
            f: gather.single(gather.networks(own_outbound, Destination, f)) for f in FAMILY_NAMES
        }
        most = MOST_OF_A_KIND
        return cls(
            inbound=gather.ports(inbound, udp=False),
            outbound=gather.ports(outbound, udp=False),
            udp_inbound=gather.ports(inbound, udp=True),
            udp_outbound=gather.ports(outbound, udp=True),
            redirect_ports=gather.targets(own, Redirect, TProxy, udp=False),
            tproxy_ports=gather.targets(gather.all_rules(policy, *held), TProxy, udp=False),
            udp_redirect_ports=gather.targets(own, Redirect, udp=True),
            uids=gather.ids(outbound, Uid),
            gids=gather.ids(outbound, Gid),
            marks=tuple(mark for mark in marks if mark.value not in taken),
            own_marks=tuple(mark for mark in marks if mark.value in taken - answered),
            handovers={
                f: gather.handover_marks(policy, f) if restores else () for f in FAMILY_NAMES
            },
            networks={f: choose(networks[f], f, most) for f in FAMILY_NAMES},
            hosts={
                f: tuple(a for a in hosts[f] if not (a.is_multicast or a.is_link_local))[:most]
                for f in FAMILY_NAMES
            },
            sources={f: gather.single(sources[f])[:most] for f in FAMILY_NAMES},
        )

    @property
    def inbound_ports(self) -> tuple[int, ...]:
        """TCP ports to connect to from outside."""
        return self.inbound[:MOST_PORTS]

    @property
    def outbound_ports(self) -> tuple[int, ...]:
        """TCP ports to connect to outside."""
        return self.outbound[:MOST_PORTS]

    @property
    def udp_inbound_ports(self) -> tuple[int, ...]:
        """UDP ports to send to from outside."""
        return self.udp_inbound[:MOST_PORTS]

    @property
    def udp_outbound_ports(self) -> tuple[int, ...]:
        """UDP ports to send to outside."""
        return self.udp_outbound[:MOST_PORTS]

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

    def left_out(self, families: Iterable[Family], tried: Collection[Address] = ()) -> list[str]:
        """Say what is named and not tried, a line for each kind and why.

        ``tried`` are addresses that were connected to without being lent.
        """
        most = MOST_OF_A_KIND
        kinds: list[tuple[str, Iterable[object]]] = [
            (f"inbound ports beyond the {MOST_PORTS} that are", self.inbound[MOST_PORTS:]),
            (f"outbound ports beyond the {MOST_PORTS} that are", self.outbound[MOST_PORTS:]),
            (f"inbound UDP ports beyond the {MOST_PORTS} that are", self.udp_inbound[MOST_PORTS:]),
            (
                f"outbound UDP ports beyond the {MOST_PORTS} that are",
                self.udp_outbound[MOST_PORTS:],
            ),
            (f"users beyond the {most} that are", (low for low, _ in self.uids[most:])),
            (f"groups beyond the {most} that are", (low for low, _ in self.gids[most:])),
            (f"marks beyond the {most} that are", self.marks[most:]),
            ("marks that the rules give to packets themselves", self.own_marks),
        ]
        for family in families:
            name, chosen = FAMILY_NAMES[family], self.networks[family]
            too_small = [n for n in chosen.too_small if not {*gather.single([n])} & {*tried}]
            kinds += [
                (f"{name} networks too small to borrow an address from", too_small),
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
