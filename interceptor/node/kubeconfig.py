"""How the plugin gets at the API server: a kubeconfig, made of what the agent's own pod has.

The token is a file of its own beside it, which is all that changes when Kubernetes rotates it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from interceptor.errors import HostError
from interceptor.files import read_file
from interceptor.system import atomic

if TYPE_CHECKING:
    from collections.abc import Mapping

    from interceptor.node.place import Place

SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
"""Where Kubernetes puts a pod's own token, as its containers see it."""

_TOKEN, _CA = ".token", ".crt"
_MOST = 1 << 20
"""Bytes of a token or a bundle of certificates."""
_MODE = 0o600
_NAME = "interceptor-cni"


class Kubeconfig(msgspec.Struct, frozen=True):
    """A kubeconfig on the node.

    ``path`` is the node's, ``account`` a directory as this process sees it.
    """

    path: str
    place: Place
    account: str = SERVICE_ACCOUNT

    def lay(self, environment: Mapping[str, str]) -> bool:
        """Write it, the token and the certificates, and say whether anything changed.

        Raises:
            HostError: this is no pod with a service account.
            OSError: a file cannot be written.
        """
        files = {
            self.path + _CA: self._account("ca.crt"),
            self.path + _TOKEN: self._account("token"),
            self.path: self._content(server(environment)),
        }
        os.makedirs(os.path.dirname(self.place.here(self.path)), exist_ok=True)
        changed = [_put(self.place.here(path), content) for path, content in files.items()]
        return any(changed)

    def remove(self) -> bool:
        """Remove all three, and say whether there was any."""
        paths = (self.path, self.path + _TOKEN, self.path + _CA)
        removed = [atomic.remove_file(self.place.here(path)) for path in paths]
        return any(removed)

    def _account(self, name: str) -> bytes:
        path = os.path.join(self.account, name)
        try:
            return read_file(path, _MOST)
        except (OSError, ValueError) as error:
            reason = (isinstance(error, OSError) and error.strerror) or str(error)
            raise HostError(
                f"{path} cannot be read: {reason}",
                hint="give the agent's pod a service account, "
                "or say with --service-account-dir where it is",
            ) from None

    def _content(self, url: str) -> bytes:
        """Write it as JSON, which is YAML too.

        The other files are named as beside it: the plugin and the agent see it at other paths.
        """
        name = os.path.basename(self.path)
        cluster = {"server": url, "certificate-authority": name + _CA}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": _NAME, "cluster": cluster}],
            "users": [{"name": _NAME, "user": {"tokenFile": name + _TOKEN}}],
            "contexts": [{"name": _NAME, "context": {"cluster": _NAME, "user": _NAME}}],
            "current-context": _NAME,
        }
        return msgspec.json.format(msgspec.json.encode(config), indent=2) + b"\n"


def server(environment: Mapping[str, str]) -> str:
    """Give the API server's URL, as Kubernetes tells every pod.

    Raises:
        HostError: it does not: this is no pod.
    """
    host = environment.get("KUBERNETES_SERVICE_HOST", "")
    port = environment.get("KUBERNETES_SERVICE_PORT", "")
    if not (host and port):
        raise HostError(
            "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set",
            hint="run it in a pod, or leave --kubeconfig-file out",
        )
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


def _put(path: str, content: bytes) -> bool:
    try:
        found = os.stat(path)
        if found.st_mode & 0o7777 == _MODE and read_file(path, _MOST) == content:
            return False
    except (OSError, ValueError):
        pass
    atomic.replace_file(path, content, mode=_MODE)
    return True
