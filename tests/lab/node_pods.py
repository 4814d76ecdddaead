"""The pods of a node: namespaces a runtime keeps open, what it remembers, what we wrote."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from interceptor.cni.netconf import PluginConf
from interceptor.node.pods import Found, Node, Survey
from tests.lab.plugin import Network
from tests.lab.remembered import remember

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.netns import Namespace

MESHED = {"interceptor.dev/inject": "true"}


class NodePods:
    """A node with two pods, and what a runtime remembers of them."""

    def __init__(self, directory: Path, pods: tuple[Namespace, ...]) -> None:
        self.pods = pods
        self.mounts = directory / "netns"
        self.cache = directory / "cache"
        self.network = Network(directory / "state", selector=["interceptor.dev/inject=true"])
        self.mounts.mkdir()
        (self.cache / "results").mkdir(parents=True)
        for pod in pods:
            (self.mounts / pod.name).symlink_to(pod.path)

    def remember(self, pod: Namespace, annotations: object, **more: Any) -> Path:
        """Write what libcni writes after an ADD."""
        return remember(self.cache, pod.path, pod.name, annotations, **more)

    def survey(self, *, repair: bool = False, **own: Any) -> dict[str, Found]:
        plugin = PluginConf(**{
            "state_dir": str(self.network.state),
            "selector": ("interceptor.dev/inject=true",),
            **own,
        })  # fmt: skip
        node = Node(plugin, "net", (str(self.mounts),), str(self.cache))
        return {os.path.basename(f.netns): f for f in Survey(node, repair=repair).found()}
