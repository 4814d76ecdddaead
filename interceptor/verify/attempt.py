"""One probe being made: a client that is asked now and then how far it has got."""

from __future__ import annotations

import errno
import os
import secrets
import socket
import struct
from typing import TYPE_CHECKING

from interceptor.verify.sockets import (
    ADDRESS_FAMILIES,
    acting_as,
    endpoint,
    make_transparent,
    set_mark,
)

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from interceptor.names import Family
    from interceptor.verify.echo import End
    from interceptor.verify.probe import Probe
    from interceptor.verify.sockets import Endpoint

_BIND_ADDRESS_NO_PORT = 24
"""IP_BIND_ADDRESS_NO_PORT of linux/in.h, which Python knows since 3.12."""
_MOST_AT_ONCE = 4096
_WANTS_RECURSION, _ONE = 0x0100, 1
_A, _INTERNET = 1, 1
"""Words of a DNS query (RFC 1035, section 4.1)."""


class Attempt:
    """A client socket and what has become of it.

    ``end`` is who took the connection, once that is known; ``error`` the errno that ended it.
    ``has_other`` is whether a datagram was answered with something else than was sent.
    """

    def __init__(self, probe: Probe, family: Family, where: AbstractContextManager[None]) -> None:
        self.probe = probe
        self.is_stream = probe.packet.protocol == "tcp"
        self.token = _line() if self.is_stream else _query()
        self.end: End | None = None
        self.error = 0
        self.has_sent = False
        self.has_other = False
        self._got = b""
        self._was_taken = False
        self._is_over = False
        with where, acting_as(probe.identity):
            self.socket = _client(family, is_stream=self.is_stream)
        try:
            self._start()
        except OSError as error:
            self.error = error.errno or errno.EIO

    def _start(self) -> None:
        packet = self.probe.packet
        set_mark(self.socket, packet.mark)
        if self.probe.is_transparent:
            make_transparent(self.socket)
        if self.probe.binds:
            # The port is chosen when it connects: ports may be few, and shared by then.
            self.socket.setsockopt(socket.SOL_IP, _BIND_ADDRESS_NO_PORT, 1)
            self.socket.bind((str(packet.source), 0))
        with acting_as(self.probe.identity):
            code = self.socket.connect_ex((str(packet.destination), packet.destination_port))
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, os.strerror(code))
        if not self.is_stream:
            self.send()

    @property
    def destination(self) -> Endpoint:
        """The address and port it connects to."""
        return self.probe.packet.destination, self.probe.packet.destination_port

    @property
    def is_connected(self) -> bool:
        """Whether somebody took it, whatever he did then; notes the error if nobody will."""
        if self._was_taken:
            return True
        if self.error or not self.is_stream:
            return False
        self.error = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if self.error:
            return False
        try:
            self.socket.getpeername()
        except OSError:
            return False
        self._was_taken = True
        return True

    @property
    def endpoint(self) -> Endpoint:
        """The client's own address and port."""
        return endpoint(self.socket.getsockname())

    def send(self) -> None:
        """Send the token, once."""
        if not self.has_sent:
            self.has_sent = True
            try:
                self.socket.send(self.token)
            except OSError as error:
                self._note(error)

    @property
    def is_answered(self) -> bool:
        """Whether the token has come back."""
        if self.has_sent and not self._is_over and self._got != self.token:
            try:
                rest = len(self.token) - len(self._got) if self.is_stream else _MOST_AT_ONCE
                data = self.socket.recv(rest)
                self._got += data
                self.has_other = not self.is_stream and data != self.token
                self._is_over = not data or self.has_other
            except BlockingIOError:
                pass
            except OSError as error:
                self._is_over = True
                self._note(error)
        return self._got == self.token

    @property
    def is_settled(self) -> bool:
        """Whether the token has come back, or whoever has the connection gave it up."""
        return self.is_answered or self._is_over

    def _note(self, error: OSError) -> None:
        """Keep what ended a datagram's way; a stream was taken, whatever comes later."""
        if not self.is_stream:
            self.error = error.errno or errno.EIO

    def close(self) -> None:
        """Give it up."""
        self.socket.close()


def _client(family: Family, *, is_stream: bool) -> socket.socket:
    """Make a socket that waits for nothing and whose end leaves no trace in the kernel.

    A TCP connection is ended by a reset: hundreds of probes would else leave as many ports
    waiting for a minute, in a pod that may be short of them.
    """
    kind = socket.SOCK_STREAM if is_stream else socket.SOCK_DGRAM
    client = socket.socket(ADDRESS_FAMILIES[family], kind)
    if is_stream:
        linger = (1).to_bytes(4, "little") + bytes(4)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    client.settimeout(0)
    return client


def _line() -> bytes:
    """Give what nobody else sends."""
    return secrets.token_hex(16).encode() + b"\n"


def _query() -> bytes:
    """Give a DNS query for a name that is nobody's (RFC 6761), which a proxy for DNS answers too.

    Whoever else gets it has no use for it, as for any other bytes.
    """
    header = struct.pack("!HHHHHH", secrets.randbits(16), _WANTS_RECURSION, _ONE, 0, 0, 0)
    labels = (secrets.token_hex(16).encode(), b"invalid")
    name = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    return header + name + struct.pack("!HH", _A, _INTERNET)
