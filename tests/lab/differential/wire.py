"""Packets as bytes: those that come in are made here, those that leave are read here."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from interceptor.analysis.packet import Address, Packet

ETHERTYPE = {4: 0x0800, 6: 0x86DD}
PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP}
_NAMES = {number: name for name, number in PROTOCOLS.items()}
_FIN, _SYN, _RST, _ACK = 1, 2, 4, 16
_UNREACHABLE = {(socket.IPPROTO_ICMP, 3), (socket.IPPROTO_ICMPV6, 1)}
"""Protocol and type of ICMP's destination unreachable (RFC 792, RFC 4443)."""
_ICMP_HEADER = 8


class Ends(NamedTuple):
    """What tells one packet, and its connection, from others."""

    protocol: str
    source: Address
    source_port: int
    destination: Address
    destination_port: int

    @classmethod
    def of(cls, packet: Packet) -> Ends:
        """Give those of a packet as it is sent."""
        return cls(
            packet.protocol,
            packet.source,
            packet.source_port,
            packet.destination,
            packet.destination_port,
        )

    @property
    def back(self) -> Ends:
        """Those of an answer."""
        return Ends(
            self.protocol,
            self.destination,
            self.destination_port,
            self.source,
            self.source_port,
        )

    def __str__(self) -> str:
        source, destination = (
            f"[{address}]:{port}"
            for address, port in (
                (self.source, self.source_port),
                (self.destination, self.destination_port),
            )
        )
        return f"{self.protocol} {source} -> {destination}"


class Frame(NamedTuple):
    """A packet that was seen: ``what`` is ``open``, ``accept``, ``reset``, ``udp``, ``refuse``.

    ``refuse`` is an ICMP error, with the ends of the packet it is about.
    """

    what: str
    ends: Ends


def first(packet: Packet) -> bytes:
    """Make the first packet of a connection; one in state INVALID answers what nobody asked."""
    if packet.protocol == "udp":
        body = struct.pack("!HHHH", packet.source_port, packet.destination_port, 9, 0) + b"?"
        at = 6
    else:
        flags = _SYN | _ACK if packet.state == "INVALID" else _SYN
        ports = (packet.source_port, packet.destination_port)
        body = struct.pack("!HHIIBBHHH", *ports, 1000, 0, 5 << 4, flags, 64240, 0, 0)
        at = 16
    protocol = PROTOCOLS[packet.protocol]
    source, destination = packet.source.packed, packet.destination.packed
    pseudo = source + destination + struct.pack("!II", len(body), protocol)
    body = body[:at] + struct.pack("!H", _checksum(pseudo + body) or 0xFFFF) + body[at + 2 :]
    if len(source) == len(IPv6Address(0).packed):
        return struct.pack("!IHBB", 6 << 28, len(body), protocol, 64) + source + destination + body
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, protocol, 0)
    head += source + destination
    return head[:10] + struct.pack("!H", _checksum(head)) + head[12:] + body


def _checksum(data: bytes) -> int:
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def read(data: bytes) -> Frame | None:
    """Read an IP packet; ``None`` for what no test sends or is answered with."""
    found = _header(data)
    if found is None:
        return None
    protocol, source, destination, body = found
    if protocol in _NAMES and len(body) >= _ICMP_HEADER:
        ports = struct.unpack_from("!HH", body)
        ends = Ends(_NAMES[protocol], source, ports[0], destination, ports[1])
        return Frame("udp" if ends.protocol == "udp" else _tcp(body[13]), ends)
    if (protocol, body[0] if body else 0) in _UNREACHABLE:
        about = read(body[_ICMP_HEADER:])
        return Frame("refuse", about.ends) if about else None
    return None


def _tcp(flags: int) -> str:
    if flags & _RST:
        return "reset"
    return "accept" if flags & _ACK else "open"


def _header(data: bytes) -> tuple[int, Address, Address, bytes] | None:
    if data[0] >> 4 == 4:
        start = (data[0] & 15) * 4
        return data[9], IPv4Address(data[12:16]), IPv4Address(data[16:20]), data[start:]
    return data[6], IPv6Address(data[8:24]), IPv6Address(data[24:40]), data[40:]


def address(packed: bytes) -> Address:
    """Read an address."""
    return ip_address(packed)
