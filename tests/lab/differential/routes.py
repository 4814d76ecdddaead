"""By which interface the kernel would send: asked, not worked out."""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from interceptor.analysis.packet import Address

_GETROUTE, _REQUEST = 26, 1
_ERROR = 2
_DESTINATION, _OUT, _MARK = 1, 4, 16
"""RTA_DST, RTA_OIF and RTA_MARK of linux/rtnetlink.h."""


class Routes:
    """Routing in the namespace this thread is in."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
        self._socket.bind((0, 0))
        self._names = dict(socket.if_nameindex())
        self._known: dict[tuple[Address, int], str] = {}

    def forget(self) -> None:
        """Ask again: routing may have changed."""
        self._known.clear()

    def interface(self, to: Address, mark: int) -> str:
        """Give the name of the interface for packets of a mark to an address."""
        if (to, mark) not in self._known:
            self._known[to, mark] = self._ask(to, mark)
        return self._known[to, mark]

    def _ask(self, to: Address, mark: int) -> str:
        packed = to.packed
        family, bits = (socket.AF_INET, 32) if to.version == 4 else (socket.AF_INET6, 128)
        body = struct.pack("=BBBBBBBBI", family, bits, 0, 0, 0, 0, 0, 0, 0)
        body += struct.pack("=HH", 4 + len(packed), _DESTINATION) + packed
        body += struct.pack("=HHI", 8, _MARK, mark)
        self._socket.send(struct.pack("=IHHII", 16 + len(body), _GETROUTE, _REQUEST, 1, 0) + body)
        answer = self._socket.recv(1 << 14)
        length, kind = struct.unpack_from("=IH", answer)
        if kind == _ERROR:
            code = -struct.unpack_from("=i", answer, 16)[0]
            raise OSError(code, f"no route to {to}: {os.strerror(code)}")
        at = 28
        while at < length:
            size, name = struct.unpack_from("=HH", answer, at)
            if name == _OUT:
                return self._names[struct.unpack_from("=I", answer, at + 4)[0]]
            at += (size + 3) & ~3
        raise AssertionError(answer)

    def close(self) -> None:
        """Ask no more."""
        self._socket.close()
