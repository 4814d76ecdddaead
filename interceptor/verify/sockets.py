"""Sockets as somebody else, listeners that echo, and who is at the other end of a connection."""

from __future__ import annotations

import os
import socket
import struct
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING

from interceptor.names import Family

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.analysis.packet import Address
    from interceptor.verify.named import Identity

    Endpoint = tuple[Address, int]

SO_ORIGINAL_DST = 80
"""linux/netfilter_ipv4.h and, at SOL_IPV6, linux/netfilter_ipv6/ip6_tables.h."""

ADDRESS_FAMILIES = {Family.IP: socket.AF_INET, Family.IP6: socket.AF_INET6}
_TABLES = {"tcp": 8, "tcp6": 32}
"""File in /proc/net -> hexadecimal digits of an address in it."""


@contextmanager
def acting_as(identity: Identity | None) -> Iterator[None]:
    """Make and connect sockets as another user and group; a socket keeps its maker's ids."""
    if identity is None or (identity.uid, identity.gid) == (os.geteuid(), os.getegid()):
        yield
        return
    uid, gid = os.geteuid(), os.getegid()
    os.setegid(identity.gid)
    try:
        os.seteuid(identity.uid)
        yield
    finally:
        os.seteuid(uid)
        os.setegid(gid)


class Listener:
    """A TCP listener or UDP socket on every address of one family that sends back what it gets."""

    def __init__(self, family: Family, port: int, kind: socket.SocketKind) -> None:
        self.is_stream = kind is socket.SOCK_STREAM
        self.socket = socket.socket(ADDRESS_FAMILIES[family], kind)
        try:
            self.socket.settimeout(0)
            if family is Family.IP6:
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if self.is_stream:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.socket.bind(("", port))
            if self.is_stream:
                self.socket.listen()
        except OSError:
            self.socket.close()
            raise
        self.port: int = self.socket.getsockname()[1]
        self.accepted: dict[Endpoint, socket.socket] = {}

    def accept(self) -> socket.socket:
        """Take one connection and remember it by its other end."""
        connection, peer = self.socket.accept()
        connection.settimeout(0)
        self.accepted[endpoint(peer)] = connection
        return connection

    def close(self) -> None:
        """Close it and all it accepted."""
        for connection in self.accepted.values():
            connection.close()
        self.socket.close()


def endpoint(address: tuple[object, ...]) -> Endpoint:
    """Make a socket address comparable: no scope, no IPv4 in IPv6's clothes."""
    host, port = str(address[0]).partition("%")[0], address[1]
    parsed = ip_address(host)
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return (mapped or parsed, int(str(port)))


def original_destination(connection: socket.socket) -> Endpoint | None:
    """Ask as a proxy does where an accepted connection was going; ``None`` if nobody knows."""
    try:
        if connection.family == socket.AF_INET:
            raw = connection.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
            port, packed = struct.unpack("!2xH4s8x", raw)
            return IPv4Address(packed), port
        raw = connection.getsockopt(socket.IPPROTO_IPV6, SO_ORIGINAL_DST, 28)
        port, packed = struct.unpack("!2xH4x16s4x", raw)
        return IPv6Address(packed), port
    except OSError:
        return None


def other_end(client: Endpoint) -> int | None:
    """Find the port at which this namespace holds the other end of a local socket's connection.

    This is how it is told who took a connection when that was not us: the kernel's own list of
    sockets names both ends of each.
    """
    for name, digits in _TABLES.items():
        with suppress(OSError), open(f"/proc/thread-self/net/{name}", encoding="ascii") as file:
            next(file)
            for line in file:
                _, local, remote = line.split()[:3]
                if _read(remote, digits) == client:
                    return int(local.partition(":")[2], 16)
    return None


def _read(text: str, digits: int) -> Endpoint:
    """Read an address of /proc/net/tcp: 32-bit words in the host's byte order."""
    words = [int(text[n : n + 8], 16) for n in range(0, digits, 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    family = socket.AF_INET if len(words) == 1 else socket.AF_INET6
    return endpoint((socket.inet_ntop(family, packed), int(text[digits + 1 :], 16)))
