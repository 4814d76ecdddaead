"""Questions to the kernel by netlink (netlink(7)), for what no command-line tool can be asked."""

from __future__ import annotations

import errno
import os
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# linux/netlink.h
REQUEST, ACK, DUMP = 0x01, 0x04, 0x300
ERROR, DONE = 2, 3
_DUMP_INTERRUPTED = 0x10
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_NESTED = 0x8000
_ANSWER_TIMEOUT_S = 5.0
_MOST_AT_ONCE = 1 << 16
_MOST_LOOKS = 20

T = TypeVar("T")

Message = tuple[int, int, bytes]
"""Type, flags and body."""


class Kernel:
    """A socket to one of the kernel's netlink families; ``with`` it, it is open.

    Whoever is root in the namespace can send to it too, so an answer counts only if it comes from
    the kernel and to our question.

    Args:
        protocol: which family, ``NETLINK_ROUTE`` and the like.
    """

    def __init__(self, protocol: int) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        self._socket.settimeout(_ANSWER_TIMEOUT_S)
        self._socket.bind((0, 0))
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ask no more."""
        self._socket.close()

    def ask(self, *messages: Message) -> Iterator[Message]:
        """Send messages of type, flags and body, and give answers for ever: the same of each."""
        self._sequence += 1
        parts = [
            _HEADER.pack(_HEADER.size + len(body), kind, flags, self._sequence, 0) + body
            for kind, flags, body in messages
        ]
        self._socket.send(b"".join(parts))
        while True:
            data, _, flags, sender = self._socket.recvmsg(_MOST_AT_ONCE)
            if flags & socket.MSG_TRUNC:
                raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
            if sender[0] == 0:
                yield from self._messages(data)

    def _messages(self, data: bytes) -> Iterator[Message]:
        for kind, flags, sequence, body in messages(data):
            if sequence == self._sequence:
                yield kind, flags, body

    def pending(self, most: int) -> Iterator[bytes]:
        """Give the datagrams the kernel has sent by itself, of so many bytes, without waiting."""
        # With a timeout Python waits, whatever flags say.
        self._socket.settimeout(0)
        try:
            while True:
                try:
                    data, _, _, sender = self._socket.recvmsg(most)
                except BlockingIOError:
                    return
                except OSError as error:
                    if error.errno != errno.ENOBUFS:
                        raise
                    continue
                if sender[0] == 0:
                    yield data
        finally:
            self._socket.settimeout(_ANSWER_TIMEOUT_S)

    def dump(self, kind: int, body: bytes) -> Iterator[bytes]:
        """Ask for all of a kind; give the body of each.

        Raises:
            InterruptedError: something changed meanwhile, so some may be missing: ask again.
            OSError: the kernel refuses, or does not answer.
        """
        changed = False
        for answer, flags, found in self.ask((kind, REQUEST | DUMP, body)):
            changed = changed or bool(flags & _DUMP_INTERRUPTED)
            if answer in (DONE, ERROR):
                if error := code(found):
                    raise OSError(error, os.strerror(error))
                break
            yield found
        if changed:
            raise InterruptedError

    @property
    def port(self) -> int:
        """The number by which this socket is known in its namespace, to nobody else."""
        number: int = self._socket.getsockname()[0]
        return number

    def do(self, kind: int, flags: int, body: bytes) -> int:
        """Have the kernel do something; give the errno of why it did not, or 0."""
        for answer, _, found in self.ask((kind, REQUEST | ACK | flags, body)):
            if answer == ERROR:
                return code(found)
        raise AssertionError  # it answers for ever


def until_still(look: Callable[[], T]) -> T:
    """Look again as long as something changes meanwhile.

    Raises:
        OSError: it changes all the time, or the kernel refuses.
    """
    for _ in range(_MOST_LOOKS):
        with suppress(InterruptedError):
            return look()
    raise OSError(errno.EAGAIN, "they change all the time")


def messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Read the messages of a datagram: type, flags, sequence number and body of each.

    Raises:
        OSError: it is none.
    """
    while len(data) >= _HEADER.size:
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data)
        if not _HEADER.size <= length <= len(data):
            raise OSError(errno.EBADMSG, os.strerror(errno.EBADMSG))
        yield kind, flags, sequence, data[_HEADER.size : length]
        data = data[(length + 3) & ~3 :]


def attributes(data: bytes) -> dict[int, bytes]:
    """Read attributes by number."""
    found: dict[int, bytes] = {}
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if not _ATTRIBUTE.size <= length <= len(data):
            raise OSError(errno.EBADMSG, os.strerror(errno.EBADMSG))
        found[kind & ~_NESTED] = data[_ATTRIBUTE.size : length]
        data = data[(length + 3) & ~3 :]
    return found


def attribute(kind: int, value: bytes) -> bytes:
    """Write one attribute."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + b"\0" * (-len(value) % 4)


def code(body: bytes) -> int:
    """Give the errno of an acknowledgement or of a dump's end, or 0."""
    (number,) = struct.unpack_from("=i", body)
    return -int(number)
