"""Connections as somebody, and recorders that say who was reached and what the kernel remembers.

Written apart from ``interceptor.verify`` on purpose: it is what that is checked against.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import struct
import threading
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.netns import Namespace

_SO_ORIGINAL_DST = 80
_TRANSPARENT = {
    socket.AF_INET: (socket.SOL_IP, 19),
    socket.AF_INET6: (socket.IPPROTO_IPV6, 75),
}
"""IP_TRANSPARENT and IPV6_TRANSPARENT of linux/in.h and linux/in6.h."""
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}


def version(address: str) -> int:
    """Give 4 or 6."""
    return ip_address(address).version


def original_destination(connection: socket.socket) -> str:
    """Ask netfilter; ``-`` if it does not know the connection."""
    try:
        if connection.family == socket.AF_INET:
            raw = connection.getsockopt(socket.SOL_IP, _SO_ORIGINAL_DST, 16)
            port, host4 = struct.unpack("!2xH4s8x", raw)
            return f"{IPv4Address(host4)}:{port}"
        raw = connection.getsockopt(socket.IPPROTO_IPV6, _SO_ORIGINAL_DST, 28)
        port, host6 = struct.unpack("!2xH4x16s4x", raw)
        return f"[{IPv6Address(host6)}]:{port}"
    except OSError:
        return "-"


def make_transparent(made: socket.socket) -> None:
    """Let a socket have addresses that are not this host's, and be found by TPROXY."""
    made.setsockopt(*_TRANSPARENT[made.family], 1)


_ANSWERED = -1
"""In the place of a port: a connection that is waited for."""


class Recorder:
    """Listens in a namespace and answers each connection with one line of JSON about itself.

    ``who`` is the namespace's role, ``port`` the one listened on, ``original`` what
    SO_ORIGINAL_DST says, ``peer`` the other end. UDP gets the same answer to any datagram.
    Listeners are transparent, as a proxy's are that takes connections by TPROXY.
    """

    def __init__(
        self,
        namespace: Namespace,
        *ports: int,
        protocol: str = "tcp",
        on: dict[int, str] | None = None,
        uid: int = 0,
    ) -> None:
        """Listen on ports of all addresses, or of one in each family, as a user."""
        self._who = namespace.role
        self._selector = selectors.DefaultSelector()
        self._wake, woken = socket.socketpair()
        self._selector.register(woken, selectors.EVENT_READ)
        kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
        with namespace:
            for port in ports:
                for number, family in _FAMILY.items():
                    listener = self._listen(family, kind, ((on or {}).get(number, ""), port), uid)
                    self._selector.register(listener, selectors.EVENT_READ, port)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    @staticmethod
    def _listen(family: int, kind: int, at: tuple[str, int], uid: int) -> socket.socket:
        with as_user(uid, uid):
            listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        make_transparent(listener)
        listener.bind(at)
        if kind == socket.SOCK_STREAM:
            listener.listen(64)
        return listener

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    return
                ready = key.fileobj
                assert isinstance(ready, socket.socket)
                if key.data == _ANSWERED:
                    self._drain(ready)
                    continue
                with suppress(OSError):
                    if ready.type == socket.SOCK_STREAM:
                        self._answer_and_wait(key.data, *ready.accept())
                    else:
                        _, peer = ready.recvfrom(4096)
                        ready.sendto(self._answer(key.data, "-", peer), peer)

    def _answer_and_wait(
        self, port: int, connection: socket.socket, peer: tuple[str, int]
    ) -> None:
        """Answer, and keep it until the client is done.

        To close what has not been read resets a connection, which may overtake the answer.
        """
        self._selector.register(connection, selectors.EVENT_READ, _ANSWERED)
        connection.sendall(self._answer(port, original_destination(connection), peer))
        connection.shutdown(socket.SHUT_WR)

    def _drain(self, connection: socket.socket) -> None:
        with suppress(OSError):
            if connection.recv(4096):
                return
        self._selector.unregister(connection)
        connection.close()

    def _answer(self, port: int, original: str, peer: tuple[str, int]) -> bytes:
        answer = {"who": self._who, "port": port, "original": original, "peer": peer[0]}
        return json.dumps(answer).encode()

    def close(self) -> None:
        """Stop and close everything, so that nothing outlives the test."""
        self._wake.send(b"!")
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()
        self._wake.close()


@contextmanager
def recorder(
    namespace: Namespace, *ports: int, protocol: str = "tcp", on: dict[int, str] | None = None
) -> Iterator[Recorder]:
    """Record for a while."""
    made = Recorder(namespace, *ports, protocol=protocol, on=on)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def as_user(uid: int, gid: int) -> Iterator[None]:
    """Be another user and group, for sockets made and connected meanwhile.

    Really, and not in effect only: iptables asks who made a socket in effect, eBPF who really
    connects it.
    """
    os.setresgid(gid, gid, 0)
    try:
        os.setresuid(uid, uid, 0)
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)


def connect(
    namespace: Namespace,
    to: str,
    port: int,
    *,
    uid: int = 1000,
    gid: int = 1000,
    mark: int = 0,
    source: str = "",
    protocol: str = "tcp",
    transparent: bool = False,
    timeout_s: float = 2.0,
) -> dict[str, Any]:
    """Connect and give what the recorder at the other end says, or ``{"error": ...}``."""
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with namespace, as_user(uid, gid):
        client = socket.socket(_FAMILY[version(to)], kind)
    with client:
        client.settimeout(timeout_s)
        if transparent:
            make_transparent(client)
        if mark:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        try:
            if source:
                client.bind((source, 0))
            with as_user(uid, gid):
                client.connect((to, port))
            if protocol == "udp":
                client.send(b"?")
            answer = b""
            while data := client.recv(4096):
                answer += data
                if protocol == "udp":
                    break
        except OSError as error:
            return {"error": type(error).__name__}
    return dict(json.loads(answer)) if answer else {"error": "closed"}


def endpoint(address: str, port: int) -> str:
    """Write an endpoint as recorders do."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
