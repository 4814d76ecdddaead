"""A small web server: a few paths, each answered by a function."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import msgspec

from interceptor.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

TEXT = "text/plain; charset=utf-8"

_PATIENCE_S = 5.0
"""For a client that does not say what it wants, or takes no answer."""
_POLL_S = 0.1


class Answer(msgspec.Struct, frozen=True):
    """What a client gets."""

    status: int
    body: bytes
    kind: str = TEXT


@contextmanager
def served(
    address: str, port: int, routes: Mapping[str, Callable[[], Answer]]
) -> Iterator[tuple[str, int]]:
    """Serve paths in a thread of its own, and give the address and port.

    Args:
        address: a literal of either family.
        port: 0 is any that is free.
        routes: what answers each path.

    Raises:
        HostError: nobody can listen there.
    """
    try:
        server = _server(address)((address, port), _handler(routes))
    except OSError as error:
        raise HostError(
            f"{address} port {port} cannot be listened at: {error.strerror}",
            hint="give another place with --listen, or none: --listen ''",
        ) from None
    thread = threading.Thread(target=server.serve_forever, args=(_POLL_S,), daemon=True)
    thread.start()
    try:
        bound = server.socket.getsockname()
        yield str(bound[0]), int(bound[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that went away."""


class _Server6(_Server):
    address_family = socket.AF_INET6


def _server(address: str) -> type[_Server]:
    return _Server6 if ":" in address else _Server


def _handler(routes: Mapping[str, Callable[[], Answer]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _PATIENCE_S

        def do_GET(self) -> None:
            """Answer one request."""
            route = routes.get(self.path.partition("?")[0])
            answer = route() if route else Answer(404, b"there is nothing here\n")
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.kind)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)

        do_HEAD = do_GET  # noqa: N815 - likewise

        def log_message(self, *_: object) -> None:
            """Keep quiet: a probe asks every few seconds."""

    return Handler
