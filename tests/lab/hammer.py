"""Very many connections in little time, from processes of their own: who was reached, each time.

As a program: ``serve PORT...`` answers each connection with the original destination, ``call
HOST... COUNT`` makes connections to random ports and prints those whose answer is wrong.
"""

from __future__ import annotations

import random
import socket
import struct
import sys
import threading
from contextlib import suppress

_FIRST_PORT = 16000
"""Beyond those that a mesh keeps for others."""
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: leave no connection in TIME_WAIT, or ports run out."""


def _listen(family: int, port: int) -> socket.socket:
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.bind(("", port))
    listener.listen(4096)
    return listener


def _serve(listener: socket.socket) -> None:
    level = socket.SOL_IP if listener.family == socket.AF_INET else socket.IPPROTO_IPV6
    while True:
        connection, _ = listener.accept()
        with connection, suppress(ConnectionError):
            try:
                answer = connection.getsockopt(level, 80, 28)
            except OSError:
                answer = b"-"
            connection.sendall(answer)


def _call(hosts: list[str], count: int) -> None:
    dice = random.Random()
    for _ in range(count):
        host, port = dice.choice(hosts), dice.randrange(_FIRST_PORT, 65536)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as client:
            client.settimeout(20)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            client.connect((host, port))
            answer = client.recv(64)
        at, size = (4, 4) if family == socket.AF_INET else (8, 16)
        wanted = struct.pack("!H", port), socket.inet_pton(family, host)
        if (answer[2:4], answer[at : at + size]) != wanted:
            print(host, port, answer.hex(), flush=True)


def main() -> None:
    """Do one of the two."""
    if sys.argv[1] == "serve":
        families = (socket.AF_INET, socket.AF_INET6)
        listeners = [_listen(family, int(port)) for family in families for port in sys.argv[2:]]
        for listener in listeners:
            threading.Thread(target=_serve, args=(listener,), daemon=True).start()
        print("ready", flush=True)
        sys.stdin.read()
    else:
        _call(sys.argv[2:-1], int(sys.argv[-1]))


if __name__ == "__main__":
    main()
