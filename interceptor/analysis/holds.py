"""Whether one packet, at one place in its way, is what a rule asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor import model
from interceptor.names import LOOPBACK_INTERFACE

if TYPE_CHECKING:
    from collections.abc import Collection

    from interceptor.analysis.packet import Packet
    from interceptor.analysis.place import Place
    from interceptor.values import Interfaces, Marks, Networks

_FIELDS: dict[type[model.Match], str] = {
    model.Source: "source",
    model.OutInterface: "out_interface",
    model.PacketMark: "mark",
    model.ConnectionMark: "connection_mark",
    model.DestinationIsLocal: "out_interface",
}
"""What a match asks about that may not be known any more."""


def holds_all(
    matches: tuple[model.Match, ...], packet: Packet, place: Place, unknown: Collection[str] = ()
) -> bool | None:
    """Whether all matches hold; ``None`` if that hangs on one that cannot be told."""
    is_sure = True
    for match in matches:
        if isinstance(match, model.Aside):
            continue
        held = None if _FIELDS.get(type(match)) in unknown else _holds(match, packet, place)
        if held is False:
            return False
        is_sure = is_sure and held is True
    return True if is_sure else None


def _holds(match: model.Match, packet: Packet, place: Place) -> bool | None:
    """Whether one match holds, negation included."""
    plain = _holds_plainly(match, packet, place)
    if plain is None:
        return None
    # Without a socket an owner match is false, also negated, as in nft; see model.Uid.
    if isinstance(match, model.Uid | model.Gid) and packet.uid is None:
        return False
    return plain != match.negated


def _holds_plainly(match: model.Match, packet: Packet, place: Place) -> bool | None:
    match match:
        case model.FamilyIs(family):
            return packet.family is family
        case model.InInterface(interfaces):
            return _has_interface(interfaces, packet.in_interface)
        case model.OutInterface(interfaces):
            return _has_interface(interfaces, packet.out_interface)
        case model.Source(networks):
            return _has_address(networks, packet, packet.source)
        case model.Destination(networks):
            return _has_address(networks, packet, packet.destination)
        case model.Protocol(name):
            return packet.protocol == name
        case model.SourcePort(ports):
            return packet.source_port in ports
        case model.DestinationPort(ports):
            return packet.destination_port in ports
        case model.Uid(ids):
            return packet.uid is not None and packet.uid in ids
        case model.Gid(ids):
            return packet.gid is not None and packet.gid in ids
        case model.PacketMark(marks):
            return _has_mark(marks, packet.mark)
        case model.ConnectionMark(marks):
            return _has_mark(marks, packet.connection_mark)
        case model.ConnectionState(states):
            return _state(packet, place) in states
        case model.TcpFlags(mask, flags):
            # A connection's first packet has just this one.
            return packet.protocol == "tcp" and flags == tuple(f for f in mask if f == "SYN")
        case model.TransparentSocket():
            # Nobody has a connection that is only about to begin.
            return False
        case model.DestinationIsLocal():
            return place.translated or not place.is_outgoing or _is_by_loopback(packet)
        case model.SourceIsLocal():
            return place.is_outgoing or place.again or _is_by_loopback(packet)
        case _:
            return None


def _state(packet: Packet, place: Place) -> str:
    """Give the state conntrack says; before it has seen a packet, that is no connection's."""
    return packet.state if place.is_tracked or packet.state == "UNTRACKED" else "INVALID"


def _is_by_loopback(packet: Packet) -> bool:
    return LOOPBACK_INTERFACE in (packet.in_interface, packet.out_interface)


def _has_interface(interfaces: Interfaces, name: str) -> bool:
    return any(
        name.startswith(wanted[:-1]) if wanted.endswith("+") else name == wanted
        for wanted in interfaces.names
    )


def _has_address(networks: Networks, packet: Packet, address: object) -> bool:
    return any(address in network for network in networks.part(packet.family))


def _has_mark(marks: Marks, mark: int) -> bool:
    return any(mark & wanted.mask == wanted.value for wanted in marks.marks)
