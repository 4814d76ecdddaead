"""A small web server in a namespace, and requests to one."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from tests.lab.traffic import as_user

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.netns import Namespace


class _DualStackServer(ThreadingHTTPServer):
    address_family = socket.AF_INET6
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that reset their connections, as verify's do."""

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


@contextmanager
def web_server(namespace: Namespace, *ports: int) -> Iterator[None]:
    """Serve ``hello from ROLE, you are ADDRESS`` on ports of both families."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            peer = self.client_address[0].removeprefix("::ffff:")
            body = f"hello from {namespace.role}, you are {peer}".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    servers = []
    with namespace:
        servers = [_DualStackServer(("::", port), Handler) for port in ports]
    threads = [threading.Thread(target=server.serve_forever, args=(0.05,)) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
        for thread in threads:
            thread.join()


def fetch(
    namespace: Namespace, host: str, port: int, path: str = "/", *, uid: int = 1000, gid: int = 0
) -> str:
    """Make one request as some user and give the body, or the name of what went wrong."""
    connection = HTTPConnection(host, port, timeout=5)
    try:
        with namespace, as_user(uid, gid or uid):
            connection.connect()
        connection.request("GET", path, headers={"Connection": "close"})
        return connection.getresponse().read().decode()
    except (OSError, HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()
