"""The addresses of this namespace's interfaces, asked of the kernel by netlink (rtnetlink(7)).

Their order counts: some tools decide by the first one that serves. It is the kernel's own, which
is also that of Go's ``net.InterfaceAddrs``: all IPv4, then all IPv6, each by interface.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

from interceptor.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Iterator

Address = IPv4Address | IPv6Address

# linux/netlink.h, linux/rtnetlink.h, linux/if_addr.h
_NETLINK_ROUTE = 0
_NEWADDR, _GETADDR, _ERROR, _DONE = 20, 22, 2, 3
_REQUEST, _DUMP, _DUMP_INTERRUPTED = 0x01, 0x300, 0x10
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_HEADER = struct.Struct("=IHHII")
_MESSAGE = struct.Struct("=BBBBI")
_ATTRIBUTE = struct.Struct("=HH")
_SEQUENCE = 1
_ANSWER_TIMEOUT_S = 5.0
_MOST_AT_ONCE = 1 << 16
_MOST_LOOKS = 20
_FAMILIES: dict[int, type[Address]] = {socket.AF_INET: IPv4Address, socket.AF_INET6: IPv6Address}


def addresses() -> tuple[Address, ...]:
    """Give all addresses of the namespace this thread is in; no privilege is needed.

    Raises:
        HostError: the kernel does not say.
    """
    try:
        return _look_until_still()
    except OSError as error:
        raise HostError(
            f"the kernel does not say which addresses there are: {error.strerror or error}",
            hint="let this process make sockets of the family AF_NETLINK",
        ) from None


def _look_until_still() -> tuple[Address, ...]:
    for _ in range(_MOST_LOOKS):
        with suppress(InterruptedError):
            return tuple(_look())
    raise OSError(errno.EAGAIN, "they change all the time")


def _look() -> Iterator[Address]:
    """Ask once.

    Raises:
        InterruptedError: something changed meanwhile, so some may be missing: ask again.
    """
    changed = False
    for kind, flags, body in _answers():
        changed = changed or bool(flags & _DUMP_INTERRUPTED)
        if kind == _ERROR:
            (code,) = struct.unpack_from("=i", body)
            raise OSError(-code, os.strerror(-code))
        if kind == _NEWADDR and (address := _address(body)) is not None:
            yield address
    if changed:
        raise InterruptedError


def _answers() -> Iterator[tuple[int, int, bytes]]:
    """Ask for all addresses and give type, flags and body of each answer up to the last."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_ROUTE) as kernel:
        kernel.settimeout(_ANSWER_TIMEOUT_S)
        kernel.bind((0, 0))
        message = _MESSAGE.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        length = _HEADER.size + len(message)
        kernel.send(_HEADER.pack(length, _GETADDR, _REQUEST | _DUMP, _SEQUENCE, 0) + message)
        while True:
            data, _, flags, sender = kernel.recvmsg(_MOST_AT_ONCE)
            if flags & socket.MSG_TRUNC:
                raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
            # Whoever is root in the namespace can send to this socket too.
            while sender[0] == 0 and len(data) >= _HEADER.size:
                length, kind, flags, sequence, _ = _HEADER.unpack_from(data)
                if not _HEADER.size <= length <= len(data):
                    raise OSError(errno.EBADMSG, os.strerror(errno.EBADMSG))
                if sequence == _SEQUENCE:
                    if kind == _DONE:
                        return
                    yield kind, flags, data[_HEADER.size : length]
                data = data[(length + 3) & ~3 :]


def _address(body: bytes) -> Address | None:
    """Give the address a message tells of: the own one, where the peer of a link is named too."""
    family = _FAMILIES.get(body[0])
    found: dict[int, bytes] = {}
    rest = body[_MESSAGE.size :]
    while len(rest) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(rest)
        if not _ATTRIBUTE.size <= length <= len(rest):
            raise OSError(errno.EBADMSG, os.strerror(errno.EBADMSG))
        found[kind] = rest[_ATTRIBUTE.size : length]
        rest = rest[(length + 3) & ~3 :]
    packed = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS)
    return family(packed) if family and packed else None
