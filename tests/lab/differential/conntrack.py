"""What conntrack says of connections, while they begin: it is told once the kernel took a packet.

A packet that is dropped on its way never gets there. Netlink is spoken by hand, as a library takes
longer for one message than the kernel for a packet.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, NamedTuple

from tests.lab.differential.wire import PROTOCOLS, Ends, address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.analysis.packet import Address

_NETFILTER = 12
"""NETLINK_NETFILTER of linux/netlink.h."""
_GROUPS = 0b111
"""NFNLGRP_CONNTRACK_NEW, _UPDATE and _DESTROY of linux/netfilter/nfnetlink_compat.h, as bits."""
_NEW, _DELETE = 0x0100, 0x0102
"""NFNL_SUBSYS_CTNETLINK and IPCTNL_MSG_CT_NEW, _DELETE."""
_REQUEST, _ACK = 1, 4
_TUPLE_ORIGINAL, _TUPLE_REPLY, _PROTOCOL, _MARK, _ZONE = 1, 2, 4, 8, 18
"""enum ctattr_type of linux/netfilter/nfnetlink_conntrack.h."""
_TCP, _TCP_STATE, _SYN_RECEIVED = 1, 1, 2
"""CTA_PROTOINFO_TCP, CTA_PROTOINFO_TCP_STATE, TCP_CONNTRACK_SYN_RECV."""
_NAMES = {number: name for name, number in PROTOCOLS.items()}
_SO_RCVBUFFORCE = 33
_BUFFER = 1 << 25


class Track(NamedTuple):
    """A connection: where its packets go, and what conntrack keeps with it.

    ``answer`` is whether it was taken, ``accept``, or ended by the first answer, ``reset``.
    """

    to: tuple[Address, int]
    zone: int = 0
    mark: int = 0
    answer: str = ""


class Conntrack:
    """The connections of the namespace this thread is in, from now on."""

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK
        self._events = socket.socket(socket.AF_NETLINK, kind, _NETFILTER)
        self._events.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        self._events.bind((0, _GROUPS))
        self._asking = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER)
        self._asking.bind((0, 0))

    def forget(self) -> None:
        """Have the kernel forget all connections."""
        request = struct.pack("=IHHIIBBH", 20, _DELETE, _REQUEST | _ACK, 1, 0, 0, 0, 0)
        self._asking.send(request)
        answer = self._asking.recv(4096)
        code = struct.unpack_from("=i", answer, 16)[0]
        if code:
            raise OSError(-code, "conntrack cannot be flushed")
        for _ in self._messages():
            pass

    def news(self, known: dict[Ends, Track]) -> None:
        """Add what was heard since the last time."""
        for kind, message in self._messages():
            attributes = dict(_attributes(message, 20, len(message)))
            original = _ends(message, attributes[_TUPLE_ORIGINAL])
            reply = _ends(message, attributes[_TUPLE_REPLY])
            if original is None or reply is None:
                continue
            mark = _number(message, attributes.get(_MARK), "!I")
            held = known.get(original)
            answer = held.answer if held else ""
            if kind == _DELETE and original.protocol == "tcp":
                answer = answer or "reset"
            elif _state(message, attributes.get(_PROTOCOL)) == _SYN_RECEIVED:
                answer = "accept"
            known[original] = Track(
                (reply.source, reply.source_port),
                _number(message, attributes.get(_ZONE), "!H"),
                # Only news of the mark have it.
                mark or (held.mark if held else 0),
                answer,
            )

    def _messages(self) -> Iterator[tuple[int, bytes]]:
        while True:
            try:
                data = self._events.recv(1 << 16)
            except BlockingIOError:
                return
            at = 0
            while at < len(data):
                length, kind = struct.unpack_from("=IH", data, at)
                if kind in (_NEW, _DELETE):
                    yield kind, data[at : at + length]
                at += (length + 3) & ~3

    def close(self) -> None:
        """Listen no more."""
        self._events.close()
        self._asking.close()


def _attributes(data: bytes, start: int, end: int) -> Iterator[tuple[int, tuple[int, int]]]:
    """Give each attribute's kind with the place of what is in it."""
    while start < end:
        length, kind = struct.unpack_from("=HH", data, start)
        yield kind & 0x3FFF, (start + 4, start + length)
        start += (length + 3) & ~3


def _number(data: bytes, place: tuple[int, int] | None, form: str) -> int:
    return int(struct.unpack_from(form, data, place[0])[0]) if place else 0


def _state(data: bytes, place: tuple[int, int] | None) -> int:
    """Read how far a TCP connection is; 0 of others."""
    if place is None:
        return 0
    tcp = dict(_attributes(data, *place)).get(_TCP)
    return data[dict(_attributes(data, *tcp))[_TCP_STATE][0]] if tcp else 0


def _ends(data: bytes, place: tuple[int, int]) -> Ends | None:
    """Read a tuple: addresses by ``enum ctattr_ip``, ports by ``enum ctattr_l4proto``."""
    parts = dict(_attributes(data, *place))
    source, destination = (
        address(data[start:end]) for _, (start, end) in _attributes(data, *parts[1])
    )
    ports = dict(_attributes(data, *parts[2]))
    name = _NAMES.get(data[ports[1][0]])
    if name is None:
        return None
    numbers = [_number(data, ports[kind], "!H") for kind in (2, 3)]
    return Ends(name, source, numbers[0], destination, numbers[1])
