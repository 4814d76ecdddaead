"""Listeners that send back what they get, served by whoever waits for an answer."""

from __future__ import annotations

import errno
import secrets
import selectors
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from interceptor.verify.sockets import ADDRESS_FAMILIES, Listener

if TYPE_CHECKING:
    from interceptor.names import Family
    from interceptor.verify.sockets import Endpoint

_PATIENCE_S = 0.5
"""How long an answer may take; all ends are on this machine."""
_TURN_S = 0.01


class End(msgspec.Struct, frozen=True):
    """The other end of a connection: ours if ``connection`` is there."""

    port: int
    connection: socket.socket | None = None


class Echoers:
    """Any number of listeners in any namespaces, and one loop for them and their clients."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._listeners: list[Listener] = []
        self._received: dict[socket.socket, bytes] = {}

    def listen(self, family: Family, port: int, kind: socket.SocketKind) -> bool:
        """Listen in the namespace this thread is in; false if somebody else does."""
        try:
            self._add(Listener(family, port, kind))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
        return True

    def listen_on_free_port(self, family: Family, not_on: set[int]) -> int | None:
        """Listen for both protocols on a port that nobody uses; ``None`` if there is none."""
        for _ in range(64):
            listener = Listener(family, 0, socket.SOCK_STREAM)
            free = listener.port not in not_on
            if free and self.listen(family, listener.port, socket.SOCK_DGRAM):
                self._add(listener)
                return listener.port
            listener.close()
        return None

    def _add(self, listener: Listener) -> None:
        self._listeners.append(listener)
        self._selector.register(listener.socket, selectors.EVENT_READ, listener)

    def turn(self) -> None:
        """Accept and send back whatever there is, or wait a moment for it."""
        for key, _ in self._selector.select(_TURN_S):
            with suppress(OSError):
                if not isinstance(key.data, Listener):
                    assert isinstance(key.fileobj, socket.socket)  # noqa: S101 - registered below
                    self._send_back(key.fileobj)
                elif key.data.is_stream:
                    accepted = key.data.accept()
                    self._selector.register(accepted, selectors.EVENT_READ)
                else:
                    data, peer = key.data.socket.recvfrom(4096)
                    key.data.socket.sendto(data, peer)

    def _send_back(self, connection: socket.socket) -> None:
        data = b""
        try:
            data = connection.recv(4096)
            connection.sendall(data)
            self._received[connection] = self._received.get(connection, b"") + data
        finally:
            if not data:
                self._selector.unregister(connection)

    def exchange(self, client: socket.socket) -> bytes | None:
        """Send a random token and give it if it comes back in time."""
        token = secrets.token_hex(16).encode() + b"\n"
        got = b""
        deadline = time.monotonic() + _PATIENCE_S
        try:
            client.send(token)
            while got != token and time.monotonic() < deadline:
                self.turn()
                with suppress(BlockingIOError):
                    data = client.recv(len(token) - len(got))
                    if not data:
                        break
                    got += data
        except OSError:
            return None
        return token if got == token else None

    def accepted_from(self, client: Endpoint) -> End | None:
        """Find the connection that was accepted from an endpoint."""
        for listener in self._listeners:
            if client in listener.accepted:
                return End(listener.port, listener.accepted[client])
        return None

    def received(self, token: bytes) -> End | None:
        """Find the connection by which a token came."""
        for listener in self._listeners:
            for connection in listener.accepted.values():
                if self._received.get(connection) == token:
                    return End(listener.port, connection)
        return None

    def forget(self) -> None:
        """Close what was accepted: the next client may have the same address and port."""
        for listener in self._listeners:
            for connection in listener.accepted.values():
                with suppress(KeyError):
                    self._selector.unregister(connection)
                connection.close()
            listener.accepted.clear()
        self._received.clear()

    def close(self) -> None:
        """Close every socket."""
        self.forget()
        self._selector.close()
        for listener in self._listeners:
            listener.close()


def client_socket(family: Family, protocol: str) -> socket.socket:
    """Make a socket that waits for nothing and whose end leaves no trace in the kernel.

    A TCP connection is ended by a reset: hundreds of probes would else leave as many ports
    waiting for a minute, in a pod that may be short of them.
    """
    if protocol == "udp":
        client = socket.socket(ADDRESS_FAMILIES[family], socket.SOCK_DGRAM)
    else:
        client = socket.socket(ADDRESS_FAMILIES[family], socket.SOCK_STREAM)
        linger = (1).to_bytes(4, "little") + bytes(4)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    client.settimeout(0)
    return client
