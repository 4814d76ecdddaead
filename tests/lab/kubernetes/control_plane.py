"""etcd and kube-apiserver, and requests to the latter as whoever a token says."""

from __future__ import annotations

import json
import secrets
import ssl
from contextlib import ExitStack, contextmanager
from http.client import HTTPException, HTTPSConnection
from typing import TYPE_CHECKING, Any

from tests.lab.api_server import self_signed
from tests.lab.kubernetes.daemon import Daemon, built
from tests.lab.waiting import becomes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.lab.netns import Namespace

URL = "https://127.0.0.1:6443"
_READY_S = 60
_PATCH = "application/strategic-merge-patch+json"


class RefusedError(Exception):
    """What an API server says that does not do what it is asked for."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status


class ControlPlane:
    """An API server and what it keeps its objects in."""

    def __init__(self, directory: Path, node: Namespace) -> None:
        self._node = node
        self.admin_token = secrets.token_hex(16)
        self.authority = self_signed(directory, "kube-apiserver").with_suffix(".crt")
        key = self.authority.with_suffix(".key")
        tokens = directory / "tokens.csv"
        tokens.write_text(f'{self.admin_token},admin,1,"system:masters"\n')
        self._etcd = Daemon(
            node,
            directory / "etcd.log",
            built("etcd"),
            f"--data-dir={directory / 'etcd'}",
            # Nothing here is to outlive a crash.
            "--unsafe-no-fsync",
        )
        self._api = Daemon(
            node,
            directory / "kube-apiserver.log",
            built("kube-apiserver"),
            "--etcd-servers=http://127.0.0.1:2379",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            # There is no service, so nobody needs to know where this is.
            "--endpoint-reconciler-type=none",
            f"--tls-cert-file={self.authority}",
            f"--tls-private-key-file={key}",
            f"--cert-dir={directory / 'made'}",
            f"--token-auth-file={tokens}",
            "--authorization-mode=RBAC",
            f"--service-account-key-file={self.authority}",
            f"--service-account-signing-key-file={key}",
            f"--service-account-issuer={URL}",
            "--service-cluster-ip-range=10.96.0.0/16",
            # Pods here have no account of their own.
            "--disable-admission-plugins=ServiceAccount",
        )

    def wait(self) -> None:
        """Wait until it serves."""

        def serves() -> bool:
            self._etcd.check()
            self._api.check()
            try:
                self.request("GET", "/readyz")
            except (OSError, HTTPException, RefusedError):
                return False
            return True

        assert becomes(serves, _READY_S), self._api.log.read_text()[-3000:]

    def stop_api(self) -> None:
        """Have it not answer any more."""
        self._api.stop()

    def start_api(self) -> None:
        """Have it answer again."""
        self._api.start()
        self.wait()

    def request(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, token: str = ""
    ) -> dict[str, Any]:
        """Ask for something and give the answer.

        Raises:
            RefusedError: it is not done.
        """
        context = ssl.create_default_context(cafile=self.authority)
        connection = HTTPSConnection("127.0.0.1", 6443, timeout=10, context=context)
        kind = _PATCH if method == "PATCH" else "application/json"
        headers = {"Authorization": f"Bearer {token or self.admin_token}", "Content-Type": kind}
        try:
            with self._node:
                connection.connect()
            connection.request(method, path, json.dumps(body) if body else None, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        if answer.status >= 300:
            raise RefusedError(answer.status, text)
        return dict(json.loads(text)) if text.startswith("{") else {}

    def close(self) -> None:
        """End both."""
        self._api.stop()
        self._etcd.stop()


@contextmanager
def control_plane(directory: Path, node: Namespace) -> Iterator[ControlPlane]:
    """Have one for a while."""
    directory.mkdir()
    with ExitStack() as stack:
        made = ControlPlane(directory, node)
        stack.callback(made.close)
        made.wait()
        yield made
