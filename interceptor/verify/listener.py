"""Sockets that others connect to or send to, in the pod or outside."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

import msgspec

from interceptor.names import Family
from interceptor.verify.sockets import (
    ADDRESS_FAMILIES,
    acting_as,
    endpoint,
    make_transparent,
    set_mark,
)

if TYPE_CHECKING:
    from interceptor.verify.named import Identity
    from interceptor.verify.sockets import Endpoint

_IP_PKTINFO = 8
"""Of linux/in.h, which Python knows since 3.12."""
_PKTINFO = {
    Family.IP: (socket.IPPROTO_IP, _IP_PKTINFO, _IP_PKTINFO),
    Family.IP6: (socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, socket.IPV6_PKTINFO),
}
"""For each family: level, the option to be told where a datagram came to, and its answer."""
_MOST_OF_A_DATAGRAM, _ROOM = 4096, 256
"""Bytes for what is sent, and for what the kernel tells of it."""


class Spot(msgspec.Struct, frozen=True, kw_only=True):
    """Where to listen, on every address of one family.

    ``transparent`` is whether TPROXY can find the socket. ``maker`` is whose it is.
    """

    family: Family
    port: int
    kind: socket.SocketKind
    in_pod: bool
    transparent: bool = False
    maker: Identity | None = None


class Listener:
    """A TCP listener or UDP socket.

    Raises:
        OSError: there is one already, or this process may not have it.
    """

    def __init__(self, spot: Spot) -> None:
        self.is_stream = spot.kind is socket.SOCK_STREAM
        self.in_pod = spot.in_pod
        self._family = spot.family
        with acting_as(spot.maker):
            self.socket = socket.socket(ADDRESS_FAMILIES[spot.family], spot.kind)
        try:
            self._set_up(spot)
        except OSError:
            self.socket.close()
            raise
        self.port: int = self.socket.getsockname()[1]
        self.accepted: list[tuple[Endpoint, socket.socket]] = []

    def _set_up(self, spot: Spot) -> None:
        self.socket.settimeout(0)
        if spot.family is Family.IP6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if spot.transparent:
            make_transparent(self.socket)
        if spot.maker:
            set_mark(self.socket, spot.maker.mark)
        if self.is_stream:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            level, option, _ = _PKTINFO[spot.family]
            self.socket.setsockopt(level, option, 1)
        self.socket.bind(("", spot.port))
        if self.is_stream:
            self.socket.listen()

    def accept(self) -> socket.socket:
        """Take one connection and remember it with its other end."""
        connection, peer = self.socket.accept()
        connection.settimeout(0)
        self.accepted.append((endpoint(peer), connection))
        return connection

    def receive(self) -> tuple[bytes, Endpoint, Endpoint]:
        """Take one datagram; give the address and port it came to, and those it came from."""
        data, told, _, peer = self.socket.recvmsg(_MOST_OF_A_DATAGRAM, _ROOM)
        level, _, answer = _PKTINFO[self._family]
        for at_level, kind, value in told:
            if (at_level, kind) == (level, answer):
                return data, endpoint((_address(self._family, value), self.port)), endpoint(peer)
        return data, endpoint(self.socket.getsockname()), endpoint(peer)

    def send(self, data: bytes, at: Endpoint, peer: Endpoint) -> None:
        """Send a datagram from the address another one came to.

        The kernel would choose one by where it goes. It is then no answer to what came, neither
        for translation, which was to turn it round, nor for a client that asked this address.
        """
        level, _, answer = _PKTINFO[self._family]
        source = _pktinfo(self._family, at[0].packed)
        self.socket.sendmsg([data], [(level, answer, source)], 0, (str(peer[0]), peer[1]))

    def close(self) -> None:
        """Close it and all it accepted."""
        for _, connection in self.accepted:
            connection.close()
        self.socket.close()


def _address(family: Family, value: bytes) -> str:
    """Read the destination from a struct in_pktinfo or in6_pktinfo."""
    packed = value[8:12] if family is Family.IP else value[:16]
    return socket.inet_ntop(ADDRESS_FAMILIES[family], packed)


def _pktinfo(family: Family, source: bytes) -> bytes:
    """Write one for sending: by no interface in particular, from an address."""
    return struct.pack("=i4s4x", 0, source) if family is Family.IP else source + bytes(4)
