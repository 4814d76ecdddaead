"""Which TCP sockets are transparent, as the kernel tells (sock_diag(7)); /proc does not say.

A connection has that from the listener that took it. So where a connection ended at the address
and port it was sent to, it shows whether TPROXY had a hand in it.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from typing import TYPE_CHECKING

from interceptor.names import Family
from interceptor.system.netlink import ERROR, REQUEST, Kernel, attributes, until_still
from interceptor.verify.sockets import ADDRESS_FAMILIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.verify.sockets import Endpoint

# linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h
_NETLINK_SOCK_DIAG, _BY_FAMILY = 4, 20
_V6ONLY, _SOCKOPT = 11, 22
_TRANSPARENT = 0x20 if sys.byteorder == "little" else 0x04
"""The sixth of the bit fields of struct inet_diag_sockopt."""
_LISTEN = 10
"""TCP_LISTEN of net/tcp_states.h."""
_REQUEST = struct.Struct("=BBBxI")
_ID = struct.Struct("=4s16s16sI8s")
_NO_COOKIE = b"\xff" * 8
_MESSAGE = struct.Struct("=BBxx2s66x")
"""Of struct inet_diag_msg: family, state and own port."""


def transparent_listeners(family: Family) -> frozenset[int] | None:
    """Give the ports of this namespace on which somebody listens so, for a family.

    ``None`` is that the kernel does not tell.
    """
    kinds = {Family.IP: (socket.AF_INET, socket.AF_INET6), Family.IP6: (socket.AF_INET6,)}
    try:
        with Kernel(_NETLINK_SOCK_DIAG) as kernel:
            return until_still(
                lambda: frozenset(
                    port
                    for kind in kinds[family]
                    for port, is_ipv6_alone in _listeners(kernel, kind)
                    if family is Family.IP6 or kind == socket.AF_INET or not is_ipv6_alone
                )
            )
    except OSError:
        return None


def _listeners(kernel: Kernel, kind: int) -> Iterator[tuple[int, bool]]:
    """Give the port of each transparent listener, and whether it is for IPv6 alone.

    Raises:
        OSError: the kernel does not tell.
    """
    request = _REQUEST.pack(kind, socket.IPPROTO_TCP, 0, 1 << _LISTEN)
    for body in kernel.dump(_BY_FAMILY, request + bytes(_ID.size)):
        _, _, port = _MESSAGE.unpack_from(body)
        told = attributes(body[_MESSAGE.size :])
        if _is_transparent(told):
            yield int.from_bytes(port, "big"), bool(told.get(_V6ONLY, b"\0")[0])


def is_transparent(family: Family, at: Endpoint, client: Endpoint) -> bool | None:
    """Whether the socket that has a client's connection is so; ``None`` if nobody knows."""
    which = _ID.pack(
        at[1].to_bytes(2, "big") + client[1].to_bytes(2, "big"),
        at[0].packed,
        client[0].packed,
        0,
        _NO_COOKIE,
    )
    request = _REQUEST.pack(ADDRESS_FAMILIES[family], socket.IPPROTO_TCP, 0, 0xFFFFFFFF)
    try:
        with Kernel(_NETLINK_SOCK_DIAG) as kernel:
            answer, _, body = next(kernel.ask((_BY_FAMILY, REQUEST, request + which)))
            if answer == ERROR:
                return None
            _, state, _ = _MESSAGE.unpack_from(body)
            # Where there is no such connection any more, it gives the listener.
            return None if state == _LISTEN else _is_transparent(attributes(body[_MESSAGE.size :]))
    except OSError:
        return None


def _is_transparent(told: dict[int, bytes]) -> bool:
    """Read it from what is told of a socket.

    Raises:
        OSError: it is not told: the kernel is older than that.
    """
    if _SOCKOPT not in told:
        raise OSError(errno.EOPNOTSUPP, "sock_diag does not tell the options of sockets")
    return bool(told[_SOCKOPT][0] & _TRANSPARENT)
