"""The addresses of this namespace's interfaces, asked of the kernel by netlink (rtnetlink(7)).

Their order counts: some tools decide by the first one that serves. It is the kernel's own, which
is also that of Go's ``net.InterfaceAddrs``: all IPv4, then all IPv6, each by interface.
"""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

from interceptor.errors import HostError
from interceptor.system.netlink import Kernel, attributes, until_still

if TYPE_CHECKING:
    from collections.abc import Iterator

Address = IPv4Address | IPv6Address

# linux/netlink.h, linux/rtnetlink.h, linux/if_addr.h
_NETLINK_ROUTE = 0
_GETADDR = 22
_MESSAGE = struct.Struct("=BBBBI")
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_KINDS: dict[int, type[Address]] = {socket.AF_INET: IPv4Address, socket.AF_INET6: IPv6Address}


def addresses() -> tuple[Address, ...]:
    """Give all addresses of the namespace this thread is in; no privilege is needed.

    Raises:
        HostError: the kernel does not say.
    """
    try:
        with Kernel(_NETLINK_ROUTE) as kernel:
            return until_still(lambda: tuple(_look(kernel)))
    except OSError as error:
        raise HostError(
            f"the kernel does not say which addresses there are: {error.strerror or error}",
            hint="let this process make sockets of the family AF_NETLINK",
        ) from None


def _look(kernel: Kernel) -> Iterator[Address]:
    for body in kernel.dump(_GETADDR, _MESSAGE.pack(socket.AF_UNSPEC, 0, 0, 0, 0)):
        found = attributes(body[_MESSAGE.size :])
        # Of a link between two, the own end; else there is only one.
        packed = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS)
        if packed and (kind := _KINDS.get(body[0])):
            yield kind(packed)
