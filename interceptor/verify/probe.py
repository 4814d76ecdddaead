"""Which connections to make, worked out from the rules themselves.

Every port, user, group, mark and network that a rule names becomes a probe, beside one that no
rule names: a rule of the policy, or one that a kernel holds, whoever put it there. What should
become of each is what ``analysis.walk`` says of its first packet and the policy's rules alone.
"""

from __future__ import annotations

from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

import msgspec

from interceptor.analysis.packet import Address, Fate, Packet, Redirected
from interceptor.analysis.walk import walk
from interceptor.model import Redirect
from interceptor.names import LOOPBACK_INTERFACE, Family, Hook

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from interceptor.model import Ruleset
    from interceptor.verify.named import Identity, Named

_LOCALHOST: dict[Family, Address] = {
    Family.IP: IPv4Address("127.0.0.1"),
    Family.IP6: IPv6Address("::1"),
}


class Way(StrEnum):
    """Where a connection begins and ends."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"
    LOCAL = "local"


class Probe(msgspec.Struct, frozen=True):
    """One connection to make, what should become of it, and why.

    ``what`` names its ends as people do, ``tcp app -> outside:443``; the packet has the addresses.
    """

    way: Way
    what: str
    identity: Identity
    packet: Packet
    expected: Fate
    why: str
    binds: bool = False
    """Whether the client binds the packet's source address first."""

    @property
    def destination(self) -> str:
        """The address and port to connect to."""
        address = self.packet.destination
        host = f"[{address}]" if self.packet.family is Family.IP6 else str(address)
        return f"{host}:{self.packet.destination_port}"


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses and ports there are to probe with, for one family.

    ``outside`` is an address beyond ``interface``; ``borrowed`` are others there, each within a
    network that some rule names. ``free_port`` is one that nobody and no rule uses.
    """

    pod: Address
    outside: Address
    interface: str
    borrowed: tuple[Address, ...]
    free_port: int
    beyond: bool = True
    """Whether there is somebody at ``outside`` who answers."""


class Planner:
    """Makes the probes of one family.

    Args:
        ruleset: the policy's rules, as ``build`` gives them: they say what should be.
        named: what there is to try.
        places: addresses to probe with.
        me: an identity that nothing names.
        identities: those that rules name and this process can take.
    """

    def __init__(
        self,
        ruleset: Ruleset,
        named: Named,
        places: Places,
        me: Identity,
        identities: Sequence[Identity],
    ) -> None:
        self._ruleset = ruleset
        self._named = named
        self._places = places
        self._me = me
        self._identities = identities

    def probes(self) -> Iterator[Probe]:
        """Give them in the order they are to be made."""
        if self._places.beyond:
            yield from self._inbound()
        yield from self._outbound()
        yield from self._local()

    def _inbound(self) -> Iterator[Probe]:
        p = self._places
        for port in (p.free_port, *self._named.inbound_ports):
            packet = Packet(
                protocol="tcp",
                source=p.outside,
                destination=p.pod,
                destination_port=port,
                in_interface=p.interface,
            )
            yield self._probe(Way.INBOUND, "outside", Hook.PREROUTING, packet)
        udp = msgspec.structs.replace(packet, protocol="udp", destination_port=p.free_port)
        yield self._probe(Way.INBOUND, "outside", Hook.PREROUTING, udp)

    def _outbound(self) -> Iterator[Probe]:
        p = self._places
        for port in (p.free_port, *self._named.outbound_ports):
            yield from self._out(self._me, p.outside, port)
        for address in p.borrowed:
            yield from self._out(self._me, address, p.free_port)
        for identity in self._identities:
            yield from self._out(identity, p.outside, p.free_port)
        if p.beyond:
            yield from self._out(self._me, p.outside, p.free_port, protocol="udp")

    def _out(
        self, identity: Identity, to: Address, port: int, *, protocol: str = "tcp"
    ) -> Iterator[Probe]:
        packet = Packet(
            protocol=protocol,
            source=self._places.pod,
            destination=to,
            destination_port=port,
            out_interface=self._places.interface,
            uid=identity.uid,
            gid=identity.gid,
            mark=identity.mark,
        )
        probe = self._probe(Way.OUTBOUND, identity.name, Hook.OUTPUT, packet, identity)
        # With nobody beyond, only what is caught here can answer.
        if self._places.beyond or isinstance(probe.expected, Redirected):
            yield probe

    def _local(self) -> Iterator[Probe]:
        p = self._places
        localhost = _LOCALHOST[self._family]
        yield self._lo(self._me, p.pod, p.pod)
        yield self._lo(self._me, localhost, localhost)
        for identity in self._identities:
            yield self._lo(identity, p.pod, p.pod)
        for source in self._named.sources[self._family]:
            for identity in self._identities:
                yield self._lo(identity, source, p.pod, binds=True)

    def _lo(
        self, identity: Identity, source: Address, to: Address, *, binds: bool = False
    ) -> Probe:
        packet = Packet(
            protocol="tcp",
            source=source,
            destination=to,
            destination_port=self._places.free_port,
            out_interface=LOOPBACK_INTERFACE,
            uid=identity.uid,
            gid=identity.gid,
            mark=identity.mark,
        )
        who = identity.name + (f" from {source}" if binds else "")
        return self._probe(Way.LOCAL, who, Hook.OUTPUT, packet, identity, binds=binds)

    @property
    def _family(self) -> Family:
        return Family.IP if isinstance(self._places.pod, IPv4Address) else Family.IP6

    def _name(self, packet: Packet) -> str:
        """Name where a packet goes to; an address that is lent has no other name."""
        names: dict[Address, str] = {
            self._places.pod: "pod",
            self._places.outside: "outside",
            _LOCALHOST[self._family]: "localhost",
        }
        lent = f"[{packet.destination}]" if packet.family is Family.IP6 else packet.destination
        return names.get(packet.destination, str(lent))

    def _probe(
        self,
        way: Way,
        who: str,
        hook: Hook,
        packet: Packet,
        identity: Identity | None = None,
        *,
        binds: bool = False,
    ) -> Probe:
        found = walk(self._ruleset, hook, packet)
        whys = [
            visit.rule.why for visit in found.path if not isinstance(visit.rule.action, Redirect)
        ]
        what = f"{packet.protocol} {who} -> {self._name(packet)}:{packet.destination_port}"
        return Probe(
            way, what, identity or self._me, packet, found.fate, whys[-1] if whys else "", binds
        )
