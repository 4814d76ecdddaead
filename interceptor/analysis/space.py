"""The space of packets: its dimensions, cut as some rulesets and questions ask for it."""

from __future__ import annotations

from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, summarize_address_range
from typing import TYPE_CHECKING

from interceptor import model
from interceptor.analysis.diagram import Diagrams
from interceptor.analysis.flags import FlagSets
from interceptor.analysis.packet import LOCALHOST
from interceptor.analysis.partition import Bits, InterfaceNames, Numbers, RangeSet, Words
from interceptor.names import LOOPBACK_INTERFACE, Family
from interceptor.values import FULL_MASK, Ids, Networks, Ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from interceptor.analysis.packet import Address, Packet
    from interceptor.values import Interfaces, Marks


class Dimension(IntEnum):
    """What is asked of a packet, in the order it is asked; addresses of each family apart."""

    PROTOCOL = 0
    IN_INTERFACE = 1
    OUT_INTERFACE = 2
    UID = 3
    GID = 4
    MARK = 5
    CONNECTION_MARK = 6
    STATE = 7
    FLAGS = 8
    SOCKET = 9
    SOURCE_IP = 10
    SOURCE_IP6 = 11
    DESTINATION_IP = 12
    DESTINATION_IP6 = 13
    SOURCE_PORT = 14
    DESTINATION_PORT = 15


_Held = tuple[Dimension, int] | bool | None
"""Where a match holds."""

NO_SOCKET = -1
"""In the place of a user or group, for a packet that no socket of this host sends."""

STATES = ("NEW", "RELATED", "ESTABLISHED", "INVALID", "UNTRACKED")
OTHER = "other"
"""Any protocol that is not named."""
_PROTOCOLS = ("tcp", "udp")

_LAST: dict[Family, int] = {Family.IP: 2**32 - 1, Family.IP6: 2**128 - 1}
LOOPBACK_RANGES: dict[Family, RangeSet] = {
    Family.IP: ((127 << 24, (128 << 24) - 1),),
    Family.IP6: ((1, 1),),
}
SOURCES = {Family.IP: Dimension.SOURCE_IP, Family.IP6: Dimension.SOURCE_IP6}
DESTINATIONS = {Family.IP: Dimension.DESTINATION_IP, Family.IP6: Dimension.DESTINATION_IP6}


class Asked:
    """What some rulesets and questions ask of packets; gathered first, then cut into atoms."""

    def __init__(self) -> None:
        self.protocols: dict[str, None] = dict.fromkeys(_PROTOCOLS)
        self.interfaces: list[Interfaces] = []
        self.ids: dict[Dimension, list[RangeSet]] = {Dimension.UID: [], Dimension.GID: []}
        self.marks: dict[tuple[int, int], None] = {}
        self.mark_steps: dict[tuple[int, int], None] = {}
        self.flags: dict[tuple[tuple[str, ...], tuple[str, ...]], None] = {}
        self.networks: dict[Dimension, list[RangeSet]] = {
            d: [] for d in (*SOURCES.values(), *DESTINATIONS.values())
        }
        self.ports: dict[Dimension, list[RangeSet]] = {
            Dimension.SOURCE_PORT: [],
            Dimension.DESTINATION_PORT: [],
        }

    def ruleset(self, ruleset: model.Ruleset) -> None:
        """Ask what all its rules ask."""
        for table in ruleset.tables:
            for chain in table.chains:
                for rule in chain.rules:
                    for match in rule.matches:
                        self.match(match)
                    self._action(rule.action)

    def match(self, match: model.Match) -> None:
        """Ask what one match asks."""
        match match:
            case model.Protocol(name):
                self.protocols[name] = None
            case model.InInterface(interfaces) | model.OutInterface(interfaces):
                self.interfaces.append(interfaces)
            case model.Source(networks):
                self._networks(SOURCES, networks)
            case model.Destination(networks):
                self._networks(DESTINATIONS, networks)
            case model.SourcePort(ports):
                self.ports[Dimension.SOURCE_PORT].append(ports.ranges)
            case model.DestinationPort(ports):
                self.ports[Dimension.DESTINATION_PORT].append(ports.ranges)
            case model.Uid(ids):
                self.ids[Dimension.UID].append(ids.ranges)
            case model.Gid(ids):
                self.ids[Dimension.GID].append(ids.ranges)
            case model.PacketMark(marks) | model.ConnectionMark(marks):
                self.marks.update(dict.fromkeys((m.value, m.mask) for m in marks.marks))
            case model.TcpFlags(mask, flags):
                self.flags[mask, flags] = None

    def _networks(self, levels: dict[Family, Dimension], networks: Networks) -> None:
        for family, level in levels.items():
            self.networks[level].append(address_ranges(networks, family))

    def _action(self, action: model.Action) -> None:
        match action:
            case model.Redirect(port):
                self.ports[Dimension.DESTINATION_PORT].append(((port, port),))
            case model.TranslateDestination(address, port):
                if port is not None:
                    self.ports[Dimension.DESTINATION_PORT].append(((port, port),))
                if address is not None:
                    level = DESTINATIONS[family_of(address)]
                    self.networks[level].append(((int(address), int(address)),))
            case model.SetMark(mark) | model.TProxy(_, mark):
                self.mark_steps[mark, FULL_MASK] = None
            case model.SetSource(address):
                self.networks[SOURCES[family_of(address)]].append(((int(address), int(address)),))
            case model.SetConnectionMark(value, mask):
                self.mark_steps[value, mask] = None
            case model.SetMarkBits(_, value, mask):
                self.mark_steps[value, mask] = None

    def all_marks(self) -> Iterator[tuple[int, int]]:
        """Give what is asked of marks, before and after each step that changes some bits."""
        pending, seen = list(self.marks), set[tuple[int, int]]()
        while pending:
            one = pending.pop()
            if one in seen:
                continue
            seen.add(one)
            yield one
            value, mask = one
            for turned, cleared in self.mark_steps:
                kept = mask & ~cleared
                if kept:
                    pending.append(((value ^ turned) & kept, kept))


class Space:
    """All packets, as far as what is asked tells them apart.

    Args:
        asked: what is asked.
        check: see ``Diagrams``.
    """

    def __init__(self, asked: Asked, check: Callable[[], object] | None = None) -> None:
        self.protocols = Words(asked.protocols, OTHER)
        self.interfaces = InterfaceNames(asked.interfaces, (LOOPBACK_INTERFACE,))
        none = ((NO_SOCKET, NO_SOCKET),)
        self.ids = {
            level: Numbers(NO_SOCKET, Ids.HIGHEST, [none, *sets])
            for level, sets in asked.ids.items()
        }
        self.marks = Bits(asked.all_marks())
        self.states = Words(STATES)
        self.flags = FlagSets(asked.flags)
        self.addresses = {
            level: Numbers(0, _LAST[family], [*sets, *_always(family)])
            for levels in (SOURCES, DESTINATIONS)
            for family, level in levels.items()
            for sets in [asked.networks[level]]
        }
        self.ports = {
            level: Numbers(0, Ports.HIGHEST, sets) for level, sets in asked.ports.items()
        }
        self._known: dict[tuple[int, Family], tuple[model.Match, _Held]] = {}
        self.diagrams = Diagrams(map(self._size, Dimension), check)

    def _size(self, level: Dimension) -> int:
        return 2 if level is Dimension.SOCKET else self._part(level).size

    def _part(self, level: Dimension) -> Words | InterfaceNames | Numbers | Bits | FlagSets:
        match level:
            case Dimension.PROTOCOL:
                return self.protocols
            case Dimension.IN_INTERFACE | Dimension.OUT_INTERFACE:
                return self.interfaces
            case Dimension.UID | Dimension.GID:
                return self.ids[level]
            case Dimension.MARK | Dimension.CONNECTION_MARK:
                return self.marks
            case Dimension.STATE:
                return self.states
            case Dimension.FLAGS | Dimension.SOCKET:
                return self.flags
            case Dimension.SOURCE_PORT | Dimension.DESTINATION_PORT:
                return self.ports[level]
            case _:
                return self.addresses[level]

    def mask(self, match: model.Match, family: Family) -> tuple[Dimension, int] | bool | None:
        """Give the dimension a match asks about, and the atoms for which it holds.

        A match that holds for all packets, or for none, is a ``bool``; ``None`` is one that
        cannot be read, or that asks where the packet is (``flow``).
        """
        known = self._known.get((id(match), family))
        if known is None:
            # Kept with the match, so that its id stays its own.
            known = self._known[id(match), family] = match, self._worked_out(match, family)
        return known[1]

    def _worked_out(
        self, match: model.Match, family: Family
    ) -> tuple[Dimension, int] | bool | None:
        plain = self._plain(match, family)
        if plain is None or not match.negated:
            return plain
        if isinstance(plain, bool):
            return not plain
        level, mask = plain
        turned = self.diagrams.full[level] & ~mask
        if isinstance(match, model.Uid | model.Gid):
            # Without a socket it is false, also negated; see model.Uid.
            turned &= ~(1 << self.ids[level].atom(NO_SOCKET))
        return level, turned

    def _plain(self, match: model.Match, family: Family) -> tuple[Dimension, int] | bool | None:
        match match:
            case model.Aside():
                return True
            case model.FamilyIs(wanted):
                return wanted is family
            case model.InInterface(interfaces):
                return Dimension.IN_INTERFACE, self.interfaces.mask(interfaces)
            case model.OutInterface(interfaces):
                return Dimension.OUT_INTERFACE, self.interfaces.mask(interfaces)
            case model.Source(networks):
                return self._address(SOURCES[family], networks, family)
            case model.Destination(networks):
                return self._address(DESTINATIONS[family], networks, family)
            case model.Protocol(name):
                return Dimension.PROTOCOL, self.protocols.mask((name,))
            case model.SourcePort(ports):
                return self.port(Dimension.SOURCE_PORT, ports)
            case model.DestinationPort(ports):
                return self.port(Dimension.DESTINATION_PORT, ports)
            case model.Uid(ids):
                return self.id(Dimension.UID, ids)
            case model.Gid(ids):
                return self.id(Dimension.GID, ids)
            case model.PacketMark(marks):
                return self._mark(Dimension.MARK, marks)
            case model.ConnectionMark(marks):
                return self._mark(Dimension.CONNECTION_MARK, marks)
            case model.ConnectionState(states):
                return Dimension.STATE, self.states.mask(states)
            case model.TcpFlags(mask, flags):
                return Dimension.FLAGS, self.flags.mask(mask, flags)
            case model.TransparentSocket():
                return Dimension.SOCKET, 0b10
            case _:
                return None

    def _address(
        self, level: Dimension, networks: Networks, family: Family
    ) -> tuple[Dimension, int]:
        return level, self.addresses[level].mask(address_ranges(networks, family))

    def port(self, level: Dimension, ports: Ports) -> tuple[Dimension, int]:
        """Give the mask of ports that were asked for."""
        return level, self.ports[level].mask(ports.ranges)

    def id(self, level: Dimension, ids: Ids) -> tuple[Dimension, int]:
        """Give the mask of ids that were asked for."""
        return level, self.ids[level].mask(ids.ranges)

    def _mark(self, level: Dimension, marks: Marks) -> tuple[Dimension, int]:
        mask = 0
        for one in marks.marks:
            mask |= self.marks.mask(one.value, one.mask)
        return level, mask

    def atoms(self, packet: Packet) -> list[int]:
        """Give the atom of a packet in each dimension; of the other family's addresses, any."""
        atoms = [0] * len(Dimension)
        atoms[Dimension.PROTOCOL] = self.protocols.atom(packet.protocol)
        atoms[Dimension.IN_INTERFACE] = self.interfaces.atom(packet.in_interface)
        atoms[Dimension.OUT_INTERFACE] = self.interfaces.atom(packet.out_interface)
        for level, value in ((Dimension.UID, packet.uid), (Dimension.GID, packet.gid)):
            atoms[level] = self.ids[level].atom(NO_SOCKET if value is None else value)
        atoms[Dimension.MARK] = self.marks.atom(packet.mark)
        atoms[Dimension.CONNECTION_MARK] = self.marks.atom(packet.connection_mark)
        atoms[Dimension.STATE] = self.states.atom(packet.state)
        atoms[Dimension.FLAGS] = self.flags.first
        source, destination = SOURCES[packet.family], DESTINATIONS[packet.family]
        atoms[source] = self.addresses[source].atom(int(packet.source))
        atoms[destination] = self.addresses[destination].atom(int(packet.destination))
        for level, port in (
            (Dimension.SOURCE_PORT, packet.source_port),
            (Dimension.DESTINATION_PORT, packet.destination_port),
        ):
            atoms[level] = self.ports[level].atom(port)
        return atoms


def _always(family: Family) -> tuple[RangeSet, ...]:
    """Ask for localhost, where redirects go, and for all that is loopback."""
    here = int(LOCALHOST[family])
    return ((here, here),), LOOPBACK_RANGES[family]


def family_of(address: Address) -> Family:
    """Give the family of an address."""
    return Family.IP if isinstance(address, IPv4Address) else Family.IP6


def address_ranges(networks: Networks, family: Family) -> RangeSet:
    """Give the networks of a family as ranges of numbers, neighbours joined."""
    found: list[tuple[int, int]] = []
    bits = 32 if family is Family.IP else 128
    for network in networks.part(family):
        low = int(network.network_address)
        high = low + (1 << bits - network.prefixlen) - 1
        if found and found[-1][1] == low - 1:
            found[-1] = found[-1][0], high
        else:
            found.append((low, high))
    return tuple(found)


def as_networks(ranges: Sequence[tuple[int, int]], family: Family) -> list[str]:
    """Write ranges of addresses as networks."""
    kind = IPv4Address if family is Family.IP else IPv6Address
    return [
        str(n.network_address) if n.prefixlen == n.max_prefixlen else str(n)
        for low, high in ranges
        for n in summarize_address_range(kind(low), kind(high))
    ]
