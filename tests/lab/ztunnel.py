"""A stand-in for ztunnel: a proxy in a pod that is known by the mark of its sockets.

It takes what rules redirect, and tunnels, and goes on: outbound as itself, inbound to the app in
the client's name. All its sockets are marked. What it passes on, and how, it tells.

It is a process of its own, ``python -m tests.lab.ztunnel``: who is another user for a while, as
tests are, is it in all threads, and may not mark sockets meanwhile.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from tests.lab.traffic import make_transparent, original_destination

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.netns import Namespace

MARK = 0x539
OUTBOUND, INBOUND, TUNNEL, DNS = 15001, 15006, 15008, 15053
_WAYS = {OUTBOUND: "outbound", INBOUND: "inbound", TUNNEL: "tunnel", DNS: "dns"}
_TIMEOUT_S = 1.5
_LOCALHOST = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
_ANSWER = b'{"who": "ztunnel", "port": 15053}'


class Passed(NamedTuple):
    """One connection, or query, it was given: by which listener, from whom, to where."""

    way: str
    peer: str
    to: str


class Ztunnel:
    """One that runs in a namespace until it is closed.

    Args:
        namespace: the pod's.
        dns: by family, where queries are sent on to, from the port they came from as if ports
            were scarce; without it they are answered.
        interface: by which those go, so that no answer to the app is taken for one to them.
    """

    def __init__(
        self, namespace: Namespace, dns: dict[int, str] | None = None, interface: str = ""
    ) -> None:
        argv = [sys.executable, "-m", "tests.lab.ztunnel", interface, *(dns or {}).values()]
        with namespace:
            self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout
        assert self._process.stdout.readline() == b"ready\n"
        os.set_blocking(self._process.stdout.fileno(), False)

    def take(self) -> list[Passed]:
        """Give what was passed on since this was last asked: it tells before it answers."""
        assert self._process.stdout
        told = self._process.stdout.read() or b""
        return [Passed(*json.loads(line)) for line in told.splitlines()]

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


@contextmanager
def ztunnel(namespace: Namespace) -> Iterator[Ztunnel]:
    """Have one for a while."""
    made = Ztunnel(namespace)
    try:
        yield made
    finally:
        made.close()


def _marked(family: int, kind: int) -> socket.socket:
    made = socket.socket(family, kind)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
    return made


def _listen(family: int, kind: int, port: int) -> socket.socket:
    listener = _marked(family, kind)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.bind((_LOCALHOST[socket.AddressFamily(family)] if port == DNS else "", port))
    if kind == socket.SOCK_STREAM:
        listener.listen(64)
    return listener


def _tell(way: str, peer: str, to: str) -> None:
    os.write(1, f"{json.dumps((way, peer, to))}\n".encode())


def _serve(interface: str, upstreams: list[str]) -> None:
    selector = selectors.DefaultSelector()
    for family in _LOCALHOST:
        for port in _WAYS:
            selector.register(_listen(family, socket.SOCK_STREAM, port), 1, port)
        selector.register(_listen(family, socket.SOCK_DGRAM, DNS), 1, DNS)
    os.write(1, b"ready\n")
    while True:
        for key, _ in selector.select():
            listener = key.fileobj
            assert isinstance(listener, socket.socket)
            with suppress(OSError):
                if listener.type == socket.SOCK_DGRAM:
                    query, peer = listener.recvfrom(4096)
                    asked = (listener, query, peer, interface, upstreams)
                    threading.Thread(target=_ask, args=asked, daemon=True).start()
                else:
                    passed = (*listener.accept(), key.data)
                    threading.Thread(target=_pass, args=passed, daemon=True).start()


def _ask(
    listener: socket.socket,
    query: bytes,
    peer: tuple[str, int],
    interface: str,
    upstreams: list[str],
) -> None:
    """Answer a query by asking whom it is told to ask; else in its own name."""
    _tell("dns", peer[0], "udp")
    answer = _ANSWER
    for upstream in upstreams:
        if (":" in upstream) is (listener.family == socket.AF_INET6):
            with suppress(OSError), _marked(listener.family, socket.SOCK_DGRAM) as asking:
                asking.settimeout(_TIMEOUT_S)
                asking.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                asking.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
                asking.bind((peer[0], peer[1]))
                asking.connect((upstream, 53))
                asking.send(query)
                answer = asking.recv(4096)
                break
            return
    listener.sendto(answer, peer)


def _pass(connection: socket.socket, peer: tuple[str, int], port: int) -> None:
    with suppress(OSError), connection:
        connection.settimeout(_TIMEOUT_S)
        to = original_destination(connection)
        if port == TUNNEL:
            # The tunnel's protocol, of which nothing but the destination matters here.
            to = connection.makefile().readline().strip()
        _tell(_WAYS[port], peer[0], to)
        if port == DNS:
            connection.sendall(_ANSWER)
            return
        host, _, onwards = to.rpartition(":")
        if int(onwards) in _WAYS:
            # ztunnel refuses these too: it would be asked by itself, for ever.
            return
        with _marked(connection.family, socket.SOCK_STREAM) as further:
            further.settimeout(_TIMEOUT_S)
            if port != OUTBOUND:
                make_transparent(further)
                further.bind((peer[0], 0))
            further.connect((host.strip("[]"), int(onwards)))
            while data := further.recv(4096):
                connection.sendall(data)


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2:])
