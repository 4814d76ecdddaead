"""A host of containers, in a namespace of its own: its bridges, rules and knobs are not the real
host's. And an outside, from which published ports are called and which containers call::

    containers 10.77.N.0/24 ──── bridge  host 10.9.0.1 ──── 10.9.0.2 outside (and 203.0.113.10)
"""

from __future__ import annotations

import json
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from tests.lab import cni
from tests.lab.netns import Namespace, cable, joined, namespaces
from tests.lab.traffic import connect, recorder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOST, OUTSIDE, FAR = "10.9.0.1", "10.9.0.2", "203.0.113.10"
APP_PORT = 8080


class Node:
    """What runtimes on one host share."""

    def __init__(self, directory: Path, host: Namespace, outside: Namespace) -> None:
        self.directory = directory
        self.host = host
        self.outside = outside
        self.conf_dir = directory / "net.d"
        self.bin_dir = cni.plugins(directory / "bin")
        self.state_dir = directory / "state"
        self._log = directory / "cni.log"
        cable(host, "eth0", outside, "eth0")
        host.address("eth0", f"{HOST}/24")
        outside.address("eth0", f"{OUTSIDE}/24")
        outside.address("lo", f"{FAR}/32")
        host.default_route(OUTSIDE)
        outside.default_route(HOST)

    def conflist(self, number: int, name: str, version: str = "1.0.0", **ours: Any) -> None:
        """Make a network whose containers our plugin intercepts."""
        entry = cni.entry(state_dir=str(self.state_dir), log_file=str(self._log), **ours)
        made = cni.conflist(self.directory, entry, name=name, version=version, number=number)
        cni.write(self.conf_dir / f"1{number}-{name}.conflist", made)

    def attachments(self) -> dict[str, dict[str, Any]]:
        """Give the state files of the plugin, by container."""
        found = {}
        for file in self.state_dir.glob("*.json") if self.state_dir.exists() else ():
            # One may go while it is looked at, as its container does.
            with suppress(FileNotFoundError):
                one = dict(json.loads(file.read_text()))
                found[one["container_id"]] = one
        return found

    def log(self, container: str = "") -> list[dict[str, Any]]:
        """Give what the plugin wrote of its calls, for one container or for all."""
        lines = [dict(json.loads(line)) for line in self._log.read_text().splitlines()]
        return [line for line in lines if container in ("", line["container"])]


@contextmanager
def node(directory: Path) -> Iterator[Node]:
    """Have a host for a while."""
    with namespaces("host", "outside") as (host, outside):
        yield Node(directory, host, outside)


@contextmanager
def proxied(path: str, *others: int) -> Iterator[Namespace]:
    """Record what comes to the proxy's ports of a container, whose app serves itself."""
    with joined("pod", path) as pod, recorder(pod, 15001, 15006, *others):
        yield pod


def inbound(node: Node, ip: str, port: int = APP_PORT) -> dict[str, Any]:
    """Call a container from the outside."""
    return connect(node.outside, ip, port)


def outbound(pod: Namespace, port: int = 80) -> dict[str, Any]:
    """Call the outside from a container."""
    return connect(pod, FAR, port)
