"""Both ends of a packet from the first bytes of its headers."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

from interceptor.analysis.traced import Header

LONGEST = 120
"""Bytes in which both ends are: of an IPv4 header with all options, or some extensions of IPv6."""
_PORTS = struct.Struct("!HH")
_IPV4, _IPV6 = 20, 40
"""Their lengths (RFC 791, RFC 8200)."""
_EXTENSIONS = frozenset({0, 43, 60})
"""Of IPv6: hop-by-hop options, routing, destination options."""


def read_header(network: bytes, transport: bytes) -> Header | None:
    """Read both ends from the two headers; ``None`` if they are not there."""
    if len(transport) < _PORTS.size or not network:
        return None
    source_port, destination_port = _PORTS.unpack_from(transport)
    version = network[0] >> 4
    if version == 4 and len(network) >= _IPV4:  # noqa: PLR2004 - the version's number
        source4, destination4 = IPv4Address(network[12:16]), IPv4Address(network[16:20])
        return Header(source4, source_port, destination4, destination_port)
    if version == 6 and len(network) >= _IPV6:  # noqa: PLR2004 - the version's number
        source6, destination6 = IPv6Address(network[8:24]), IPv6Address(network[24:40])
        return Header(source6, source_port, destination6, destination_port)
    return None


def read_packet(data: bytes) -> Header | None:
    """Read both ends from the beginning of a packet; ``None`` if they are not there."""
    if not data:
        return None
    if data[0] >> 4 == 4:  # noqa: PLR2004 - the version's number
        return read_header(data, data[(data[0] & 0xF) * 4 :])
    at, following = _IPV6, data[6] if len(data) >= _IPV6 else 0
    while following in _EXTENSIONS and at + 1 < len(data):
        following, at = data[at], at + (data[at + 1] + 1) * 8
    return read_header(data, data[at:])
