"""Listeners that send back what they get, served by whoever waits for an answer."""

from __future__ import annotations

import errno
import selectors
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from interceptor.verify.listener import Listener, Spot
from interceptor.verify.sockets import endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.names import Family
    from interceptor.verify.sockets import Endpoint

_TURN_S = 0.005
_FREE_PORT_TRIES = 64


class End(msgspec.Struct, frozen=True):
    """Who took a connection: in the pod or outside, and at which address and port.

    ``peer`` is the client as it is seen there. ``taker`` is the port of the listener that took
    it, which for a transparent one need not be the port of ``at``; ``None`` if nobody knows. It is
    one of ours if ``connection`` is there, or if it is a datagram's.
    """

    in_pod: bool
    at: Endpoint
    peer: Endpoint
    taker: int | None
    connection: socket.socket | None = None


class Echoers:
    """Any number of listeners in any namespaces, and one loop for all of them."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._listeners: list[Listener] = []
        self._received: dict[socket.socket, bytes] = {}
        self._datagrams: dict[bytes, End] = {}

    def listen(self, spot: Spot) -> int:
        """Listen in the namespace this thread is in; give 0, or the errno of who forbids it.

        EADDRINUSE is that somebody else listens there, EACCES that this process may not.
        """
        try:
            self._add(Listener(spot))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return error.errno
            raise
        return 0

    def listen_on_free_port(self, family: Family, not_on: set[int]) -> int | None:
        """Listen in the pod for both protocols on a port that nobody uses; ``None`` if none is."""
        any_port = Spot(family=family, port=0, kind=socket.SOCK_STREAM, in_pod=True)
        for _ in range(_FREE_PORT_TRIES):
            try:
                listener = Listener(any_port)
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    return None
                raise
            free = listener.port not in not_on
            both = msgspec.structs.replace(any_port, port=listener.port, kind=socket.SOCK_DGRAM)
            if free and not self.listen(both):
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
                    self._send_back(key.fileobj)  # type: ignore[arg-type]  # accepted below
                elif key.data.is_stream:
                    accepted = key.data.accept()
                    self._selector.register(accepted, selectors.EVENT_READ)
                else:
                    self._answer(key.data)

    def _answer(self, listener: Listener) -> None:
        data, at, peer = listener.receive()
        self._datagrams[data] = End(listener.in_pod, at, peer, listener.port)
        listener.send(data, at, peer)

    def _send_back(self, connection: socket.socket) -> None:
        data = b""
        try:
            data = connection.recv(4096)
            self._received[connection] = self._received.get(connection, b"") + data
            connection.sendall(data)
        finally:
            if not data:
                self._selector.unregister(connection)

    def accepted_from(self, client: Endpoint) -> Iterator[End]:
        """Find what was accepted from an endpoint; clients of several places may share it."""
        for listener in self._listeners:
            for peer, connection in listener.accepted:
                if peer == client:
                    yield _end(listener, peer, connection)

    def received(self, token: bytes) -> End | None:
        """Find who got a token."""
        for listener in self._listeners:
            for peer, connection in listener.accepted:
                if self._received.get(connection) == token:
                    return _end(listener, peer, connection)
        return self._datagrams.get(token)

    def forget(self) -> None:
        """Close what was accepted: later clients may have the same addresses and ports."""
        for listener in self._listeners:
            for _, connection in listener.accepted:
                with suppress(KeyError):
                    self._selector.unregister(connection)
                connection.close()
            listener.accepted.clear()
        self._received.clear()
        self._datagrams.clear()

    def close(self) -> None:
        """Close every socket."""
        self.forget()
        self._selector.close()
        for listener in self._listeners:
            listener.close()


def _end(listener: Listener, peer: Endpoint, connection: socket.socket) -> End:
    at = endpoint(connection.getsockname())
    return End(listener.in_pod, at, peer, listener.port, connection)
