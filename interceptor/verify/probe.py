"""Which connections to make, worked out from the rules themselves.

Every port, user, group, mark and network that a rule names becomes a probe, beside one that no
rule names: a rule of the policy, or one that a kernel holds, whoever put it there. What should
become of each is what ``analysis.walk`` says of its first packet and the policy's rules alone.
"""

from __future__ import annotations

from enum import StrEnum
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import msgspec

from interceptor.analysis.packet import (
    LOCALHOST,
    Address,
    Direct,
    Fate,
    Packet,
    Redirected,
    Translated,
)
from interceptor.analysis.walk import Walk, walk, walk_sent
from interceptor.model import PASSING, Jump, Redirect, TProxy
from interceptor.names import LOOPBACK_INTERFACE, Family, Hook
from interceptor.verify.hosts import Host

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from interceptor.model import Ruleset
    from interceptor.verify.named import Identity, Named

_NO_REASON = (*PASSING, Jump, Redirect, TProxy)
"""What rules do that is no decision, or that another rule decided."""


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
    is_transparent: bool = False
    """Whether that address is somebody else's."""
    is_stranger: bool = False
    """Whether nobody knows who answers at the destination, or if; only who catches it here can
    be told."""

    @property
    def destination(self) -> str:
        """The address and port to connect to."""
        address = self.packet.destination
        host = f"[{address}]" if self.packet.family is Family.IP6 else str(address)
        return f"{host}:{self.packet.destination_port}"


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses and ports there are to probe with, for one family.

    ``local`` is an address of the pod to call it by from inside, if there is one; ``outside`` is
    one beyond ``interface``; ``borrowed`` are others there, each within a
    network that some rule names. ``free_port`` is one that nobody and no rule uses.
    """

    pod: Address
    local: Address | None
    outside: Address
    interface: str
    borrowed: tuple[Address, ...]
    clients: tuple[Address, ...]
    """Addresses outside in whose name the proxy may connect, one for each mark of his."""
    hosts: tuple[Host, ...]
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
        free = self._places.free_port
        for port in (free, *self._named.inbound_ports):
            yield self._in("tcp", port)
        for port in (free, *self._named.udp_inbound_ports):
            yield self._in("udp", port)

    def _in(self, protocol: str, port: int) -> Probe:
        packet = Packet(
            protocol=protocol,
            source=self._places.outside,
            destination=self._places.pod,
            destination_port=port,
            in_interface=self._places.interface,
        )
        found = walk(self._ruleset, Hook.PREROUTING, packet)
        return self._probe(Way.INBOUND, "outside", packet, found, self._me)

    def _outbound(self) -> Iterator[Probe]:
        p = self._places
        for port in (p.free_port, *self._named.outbound_ports):
            yield from self._out(self._me, p.outside, port)
        for address in p.borrowed:
            yield from self._out(self._me, address, p.free_port)
        for identity in self._identities:
            yield from self._out(identity, p.outside, p.free_port)
        yield from self._out(self._me, p.outside, p.free_port, protocol="udp")
        for port in self._named.udp_outbound_ports:
            for identity in (self._me, *self._identities):
                yield from self._out(identity, p.outside, port, protocol="udp")
        yield from self._to_hosts()

    def _out(
        self, identity: Identity, to: Address, port: int, *, protocol: str = "tcp"
    ) -> Iterator[Probe]:
        way = Host(to, self._places.interface, self._places.pod)
        probe = self._sent(identity, way, port, protocol)
        # With nobody beyond, only what is caught here can answer.
        if self._places.beyond or isinstance(probe.expected, Redirected):
            yield probe

    def _to_hosts(self) -> Iterator[Probe]:
        """Send what should be caught here to those who are named one by one, as resolvers are."""
        for host in self._places.hosts:
            for protocol in ("udp", "tcp"):
                for port in self._named.udp_outbound_ports:
                    probe = self._sent(self._me, host, port, protocol)
                    if isinstance(probe.expected, Redirected):
                        yield msgspec.structs.replace(probe, is_stranger=True)

    def _sent(self, identity: Identity, to: Host, port: int, protocol: str) -> Probe:
        packet = Packet(
            protocol=protocol,
            source=to.source,
            destination=to.address,
            destination_port=port,
            out_interface=to.interface,
            uid=identity.uid,
            gid=identity.gid,
            mark=identity.mark,
        )
        found = walk_sent(self._ruleset, packet)
        return self._probe(Way.OUTBOUND, identity.name, packet, found, identity)

    def _local(self) -> Iterator[Probe]:
        localhost = LOCALHOST[self._family]
        local = self._places.local
        if local is not None:
            yield self._lo(self._me, local, local)
        yield self._lo(self._me, localhost, localhost)
        handed = (self._lo(identity, localhost, localhost) for identity in self._identities)
        # The proxy may reach the app at localhost; that this is another address shows here alone.
        yield from (probe for probe in handed if isinstance(probe.expected, Translated))
        if local is not None:
            yield from self._self_calls(local)

    def _self_calls(self, local: Address) -> Iterator[Probe]:
        """Call the pod by its own address, as the proxy does."""
        for identity in self._identities:
            yield self._lo(identity, local, local)
        for source in self._named.sources[self._family]:
            for identity in self._identities:
                yield self._lo(identity, source, local, binds=True)
        yield from self._handovers(local)

    def _handovers(self, local: Address) -> Iterator[Probe]:
        """Connect as the proxy does that goes on to the app in its client's name.

        The app's answer goes to the client, and has to be led back here. Whose connection it is
        does not matter for that: it is somebody's whom rules let through.
        """
        marks = self._named.handovers[self._family]
        for mark, client in zip(marks, self._places.clients, strict=False):
            probes = [
                self._lo(msgspec.structs.replace(who, mark=mark), client, local, binds=True)
                for who in (*self._identities, self._me)
            ]
            able = (probe for probe in probes if probe.expected == Direct())
            yield msgspec.structs.replace(next(able, probes[0]), is_transparent=True)

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
        found = walk_sent(self._ruleset, packet)
        probe = self._probe(Way.LOCAL, who, packet, found, identity)
        return msgspec.structs.replace(probe, binds=binds)

    @property
    def _family(self) -> Family:
        return Family.IP if isinstance(self._places.pod, IPv4Address) else Family.IP6

    def _name(self, packet: Packet) -> str:
        """Name where a packet goes to; an address that is lent has no other name."""
        names: dict[Address | None, str] = {
            self._places.pod: "pod",
            self._places.local: "pod",
            self._places.outside: "outside",
            LOCALHOST[self._family]: "localhost",
        }
        lent = f"[{packet.destination}]" if packet.family is Family.IP6 else packet.destination
        return names.get(packet.destination, str(lent))

    def _probe(self, way: Way, who: str, packet: Packet, found: Walk, identity: Identity) -> Probe:
        whys = [v.rule.why for v in found.path if not isinstance(v.rule.action, _NO_REASON)]
        what = f"{packet.protocol} {who} -> {self._name(packet)}:{packet.destination_port}"
        return Probe(way, what, identity, packet, found.fate, whys[-1] if whys else "")
