"""A stand-in for an API server: answers as it is told and notes what it was asked."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path


class Asked(NamedTuple):
    """One request."""

    path: str
    token: str
    certificate: bool = False


class Reply(NamedTuple):
    """One answer."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


def pod(containers: Sequence[dict[str, Any]] = ({"name": "app"},), **metadata: Any) -> Reply:
    """Answer with a pod."""
    spec = {"containers": containers}
    return Reply(200, json.dumps({"metadata": {"uid": "1", **metadata}, "spec": spec}).encode())


def status(code: int, message: str) -> Reply:
    """Answer with an error as an API server writes it."""
    return Reply(code, json.dumps({"kind": "Status", "message": message}).encode())


class FakeApiServer:
    """Gives its answers in turn, the last one for ever; ``before`` is called with each request."""

    def __init__(self, *replies: Reply, certificate: Path | None = None, port: int = 0) -> None:
        self.asked: list[Asked] = []
        self.before: Callable[[], object] = lambda: None
        remaining = list(replies)
        lab = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                token = self.headers.get("Authorization", "")
                shown = bool(certificate and self.connection.getpeercert())
                lab.asked.append(Asked(self.path, token, shown))
                lab.before()
                reply = remaining.pop(0) if len(remaining) > 1 else remaining[0]
                self.send_response(reply.status)
                for name, value in reply.headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)

            def log_message(self, *_: object) -> None:
                """Keep quiet."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """Say nothing of clients that hang up."""

        self._server = Server(("127.0.0.1", port), Handler)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            context.load_verify_locations(certificate)
            context.verify_mode = ssl.CERT_OPTIONAL
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def fake_api_server(
    *replies: Reply, certificate: Path | None = None, port: int = 0
) -> Iterator[FakeApiServer]:
    """Have one for a while."""
    made = FakeApiServer(*replies, certificate=certificate, port=port)
    try:
        yield made
    finally:
        made.close()


def self_signed(directory: Path, name: str) -> Path:
    """Make a certificate for 127.0.0.1 that is its own authority, in one file with its key."""
    key, certificate, both = (directory / f"{name}{end}" for end in (".key", ".crt", ".pem"))
    argv = (
        "/usr/bin/openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
        f"-subj /CN={name} -addext subjectAltName=IP:127.0.0.1"
    )
    subprocess.run(
        [*argv.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True
    )
    both.write_text(key.read_text() + certificate.read_text())
    return both


def kubeconfig(
    path: Path, server: str, user: dict[str, Any], authority: Path | None = None
) -> dict[str, Any]:
    """Write a kubeconfig and give what it holds."""
    cluster = {"server": server}
    if authority:
        cluster["certificate-authority"] = str(authority)
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "it", "cluster": cluster}],
        "users": [{"name": "plugin", "user": user}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "plugin"}}],
        "current-context": "it",
    }
    path.write_text(json.dumps(content))
    return content
