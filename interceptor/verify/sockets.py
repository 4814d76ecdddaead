"""Sockets as somebody else, and who is at the other end of a connection."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from array import array
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, NamedTuple

from interceptor.names import Family

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from interceptor.analysis.packet import Address
    from interceptor.verify.named import Identity

    Endpoint = tuple[Address, int]

SO_ORIGINAL_DST = 80
"""linux/netfilter_ipv4.h and, at SOL_IPV6, linux/netfilter_ipv6/ip6_tables.h."""
_SIOCGIFFLAGS, _SIOCETHTOOL, _IFF_UP, _ETHTOOL_GLINK = 0x8913, 0x8946, 0x1, 0xA
"""linux/sockios.h, linux/if.h, linux/ethtool.h."""

ADDRESS_FAMILIES = {Family.IP: socket.AF_INET, Family.IP6: socket.AF_INET6}
_TRANSPARENT = {
    socket.AF_INET: (socket.IPPROTO_IP, 19),
    socket.AF_INET6: (socket.IPPROTO_IPV6, 75),
}
"""IP_TRANSPARENT and IPV6_TRANSPARENT of linux/in.h and linux/in6.h."""
_LISTEN = "0A"
"""A listener in /proc/net/tcp: TCP_LISTEN of net/tcp_states.h."""
_MAPPED = bytes(10) + b"\xff\xff"


@contextmanager
def acting_as(identity: Identity | None) -> Iterator[None]:
    """Make and connect sockets as another user and group, really and in effect.

    netfilter asks who made a socket in effect, programs at sockets who really connects it.
    """
    users, groups = os.getresuid(), os.getresgid()
    same = (*users[:2], *groups[:2])
    if identity is None or same == (*[identity.uid] * 2, *[identity.gid] * 2):
        yield
        return
    # The saved ids stay: the way back.
    try:
        os.setresgid(identity.gid, identity.gid, groups[1])
        os.setresuid(identity.uid, identity.uid, users[1])
        yield
    finally:
        os.setresuid(*users)
        os.setresgid(*groups)


def set_mark(made: socket.socket, mark: int) -> None:
    """Have a socket's packets carry a mark, if it is not 0.

    Raises:
        OSError: this process may not.
    """
    if mark:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, struct.pack("=I", mark))


def make_transparent(made: socket.socket) -> None:
    """Let a socket have addresses that are not this host's, and be found by TPROXY.

    Raises:
        OSError: this process may not.
    """
    made.setsockopt(*_TRANSPARENT[made.family], 1)


def may_be_transparent(family: Family) -> bool:
    """Whether this process may have transparent sockets."""
    with socket.socket(ADDRESS_FAMILIES[family], socket.SOCK_DGRAM) as made:
        try:
            make_transparent(made)
        except OSError:
            return False
    return True


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


class OtherEnd(NamedTuple):
    """A socket's two ends: ``client`` is the other one, ``at`` its own.

    Where nobody listens at its port, it was not accepted but made a connection itself, or whoever
    accepted it listens no more.
    """

    client: Endpoint
    at: Endpoint
    is_listened: bool


def other_ends(addresses: Iterable[Address]) -> list[OtherEnd]:
    """Find sockets of this namespace that are connected to addresses.

    This is how it is told who took a connection when that was not us: the kernel's own list of
    sockets names both ends of each. It is read once for all clients, as it may be long.
    """
    wanted = {text for address in addresses for text in _in_proc(address)}
    found: list[tuple[str, str]] = []
    listened: set[str] = set()
    for name in ("tcp", "tcp6"):
        with suppress(OSError), open(f"/proc/thread-self/net/{name}", encoding="ascii") as file:
            next(file)
            for line in file:
                _, local, remote, state, _ = line.split(maxsplit=4)
                if state == _LISTEN:
                    listened.add(local.partition(":")[2])
                elif remote.partition(":")[0] in wanted:
                    found.append((remote, local))
    return [
        OtherEnd(_read(remote), _read(local), local.partition(":")[2] in listened)
        for remote, local in found
    ]


def _in_proc(address: Address) -> Iterator[str]:
    """Write an address as /proc/net/tcp and tcp6 do: 32-bit words in the host's byte order."""
    forms = [address.packed]
    if isinstance(address, IPv4Address):
        forms.append(_MAPPED + address.packed)
    for packed in forms:
        words = struct.unpack(f"={len(packed) // 4}I", packed)
        yield "".join(f"{word:08X}" for word in words)


def _read(text: str) -> Endpoint:
    host, _, port = text.partition(":")
    words = [int(host[n : n + 8], 16) for n in range(0, len(host), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    family = socket.AF_INET if len(words) == 1 else socket.AF_INET6
    return endpoint((socket.inet_ntop(family, packed), int(port, 16)))


def own_address(towards: Address) -> Address | None:
    """Give the address this namespace would send from; asking sends nothing."""
    kind = socket.AF_INET if isinstance(towards, IPv4Address) else socket.AF_INET6
    try:
        with socket.socket(kind, socket.SOCK_DGRAM) as asking:
            asking.connect((str(towards), 9))
            return endpoint(asking.getsockname())[0]
    except OSError:
        return None


def is_up(interface: str) -> bool:
    """Whether an interface of the namespace this thread is in is up."""
    request = struct.pack("16sH14x", interface.encode(), 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        answer = fcntl.ioctl(asking, _SIOCGIFFLAGS, request)
    flags: int = struct.unpack_from("16xH", answer)[0]
    return bool(flags & _IFF_UP)


def has_link(interface: str) -> bool:
    """Whether an interface of the namespace this thread is in has somebody at its other end.

    An interface that got its link a moment ago still throws away what it is to send, until a
    worker of the kernel comes to it, which may take a second. Whoever asks by this call makes
    the kernel do that work first.
    """
    asked = array("I", [_ETHTOOL_GLINK, 0])
    request = struct.pack("16sP16x", interface.encode(), asked.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        fcntl.ioctl(asking, _SIOCETHTOOL, request)
    return bool(asked[1])
