"""The pods of this node: which are intercepted, which should be and are not, and mending those.

Walks the namespaces a runtime keeps open (mounts below /run/netns), and never touches the host's.
Who a namespace belongs to is asked of what ADD wrote down and of what the runtime remembers, not
guessed from addresses; a namespace nobody knows is reported and left alone.
"""

from __future__ import annotations

import os
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from interceptor.cni.attachments import Attachment, Attachments
from interceptor.cni.interception import compared, intercept, written_down
from interceptor.cni.meshing import LeftAlone, decide, known
from interceptor.cni.namespace import Namespace
from interceptor.cni.protocol import CniError
from interceptor.errors import InterceptorError
from interceptor.node.place import Place
from interceptor.node.results import CACHE_DIRECTORY, Added, results
from interceptor.operations.status import State
from interceptor.system.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from interceptor.cni.netconf import PluginConf
    from interceptor.cni.pod import Pod
    from interceptor.operations.policy import Policy

NETNS_DIRECTORY = "/run/netns"
_LOOK_S = 30.0
_LOOPBACK = "lo"
"""Runtimes add it by a network of its own; it makes nobody a pod."""


class Condition(StrEnum):
    """What was found of one namespace."""

    INTERCEPTED = "intercepted"
    DRIFTED = "drifted"
    """ADD intercepted it, and what is in force is not what it made."""
    MISSED = "missed"
    """It should be intercepted, and no ADD of ours ever ran."""
    LEFT_ALONE = "left-alone"
    UNKNOWN = "unknown"
    """Nobody says whose it is, or it could not be looked at."""

    @property
    def is_wrong(self) -> bool:
        """Whether connections pass the proxy by that should not."""
        return self in (Condition.DRIFTED, Condition.MISSED)


class Found(msgspec.Struct, frozen=True):
    """One namespace, whose it is, and how it is with it; ``repaired`` after mending it."""

    netns: str
    condition: Condition
    namespace: str = ""
    pod: str = ""
    container_id: str = ""
    why: str = ""
    repaired: bool = False


class Node(msgspec.Struct, frozen=True):
    """Where this node keeps things, and what its plugin is told; all paths are the node's own.

    ``network`` is the name of the CNI configuration the plugin is in, ``place`` where this
    process sees the node's root.
    """

    plugin: PluginConf
    network: str
    netns_directories: Sequence[str] = (NETNS_DIRECTORY,)
    cache_directory: str = CACHE_DIRECTORY
    place: Place = Place()

    @property
    def plugin_here(self) -> PluginConf:
        """What the plugin is told, with paths as this process sees them."""
        here = self.place.here
        lookup = self.plugin.lookup
        if lookup:
            lookup = replace(lookup, kubeconfig=here(lookup.kubeconfig))
        return replace(self.plugin, state_dir=here(self.plugin.state_dir), lookup=lookup)


class Survey:
    """One walk over a node's namespaces.

    Args:
        node: where to look.
        repair: whether to mend what is wrong.
    """

    def __init__(self, node: Node, *, repair: bool = False) -> None:
        self._node = node
        self._plugin = node.plugin_here
        self._repair = repair
        self._attachments = Attachments(self._plugin.state_dir)
        self._attached: dict[int, list[Attachment]] = {}
        for one in self._attachments.all():
            self._attached.setdefault(one.netns_inode, []).append(one)
        self._added: dict[str | int, Added] = {}
        added = list(results(node.place.here(node.cache_directory)))
        # A pod of several networks is known by the one the plugin is in: the last one stays.
        for result in sorted(added, key=lambda one: one.network == node.network):
            if result.ifname != _LOOPBACK:
                self._added.update(dict.fromkeys(self._identities(result), result))

    def found(self) -> Iterator[Found]:
        """Give every namespace once; the host's own is not one of them."""
        seen: set[int] = set()
        for path in self._paths():
            try:
                namespace = Namespace(path, root=self._node.place.root)
            except CniError:
                continue
            except InterceptorError as error:
                yield Found(path, Condition.UNKNOWN, why=error.message)
                continue
            with namespace:
                if namespace.inode not in seen:
                    seen.add(namespace.inode)
                    yield self._look(namespace)

    def _identities(self, added: Added) -> Iterator[str | int]:
        """Give what a namespace may be known by: its path, and its inode where it can be seen."""
        for path in added.sandboxes:
            yield _plain(path)
            try:
                yield os.stat(self._node.place.here(_plain(path))).st_ino
            except OSError:
                continue

    def _paths(self) -> Iterator[str]:
        for directory in self._node.netns_directories:
            try:
                names = sorted(os.listdir(self._node.place.here(directory)))
            except FileNotFoundError:
                continue
            yield from (os.path.join(directory, name) for name in names)

    def _look(self, namespace: Namespace) -> Found:
        for attachment in self._attached.get(namespace.inode, ()):
            return self._attached_one(namespace, attachment)
        added = self._added.get(namespace.inode) or self._added.get(_plain(namespace.path))
        if added is not None:
            return self._added_one(namespace, added)
        return Found(namespace.path, Condition.UNKNOWN, why="no runtime remembers whose it is")

    def _attached_one(self, namespace: Namespace, attachment: Attachment) -> Found:
        whose = Found(
            namespace.path,
            Condition.INTERCEPTED,
            attachment.namespace,
            attachment.pod,
            attachment.container_id,
        )
        try:
            found = compared(namespace, attachment)
            policy = attachment.policy
        except InterceptorError as error:
            return replace(whose, condition=Condition.UNKNOWN, why=error.message)
        if found.state is State.IN_SYNC:
            return whose
        why = "; ".join(map(str, found.findings)) or str(found.state)
        wrong = replace(whose, condition=Condition.DRIFTED, why=why)
        return self._mended(wrong, lambda: intercept(namespace, policy, attachment.resolvers))

    def _added_one(self, namespace: Namespace, added: Added) -> Found:
        whose = Found(
            namespace.path,
            Condition.LEFT_ALONE,
            added.pod.namespace,
            added.pod.name,
            added.container_id,
        )
        try:
            pod = known(added.pod, self._plugin)
            wanted = decide(pod, self._plugin)
            if isinstance(wanted, LeftAlone):
                return replace(whose, why=wanted.reason)
            is_ours = self._holds_ours(namespace)
        except InterceptorError as error:
            return replace(whose, condition=Condition.UNKNOWN, why=error.message)
        if is_ours:
            why = "installed by somebody else than the plugin"
            return replace(whose, condition=Condition.INTERCEPTED, why=why)
        why = "the plugin was not asked when it was added"
        wrong = replace(whose, condition=Condition.MISSED, why=why)
        return self._mended(wrong, lambda: self._add(namespace, added, pod, wanted))

    def _mended(self, wrong: Found, mend: Callable[[], object]) -> Found:
        if not self._repair:
            return wrong
        try:
            mend()
        except (InterceptorError, CniError) as error:
            return replace(wrong, why=f"{wrong.why}; cannot be mended: {error.message}")
        return replace(wrong, repaired=True)

    def _holds_ours(self, namespace: Namespace) -> bool:
        with namespace.site(Deadline(_LOOK_S), shared=True) as site:
            return bool(site.holders())

    def _add(self, namespace: Namespace, added: Added, pod: Pod, wanted: Policy) -> None:
        """Do what ADD would have done."""
        container = (added.container_id, added.ifname, added.network)
        intercept(namespace, wanted, added.resolvers)
        self._attachments.write(
            written_down(container, pod, namespace, wanted.config, added.resolvers)
        )


def _plain(path: str) -> str:
    """Give a path as the node's own tools write it: /var/run is a link to /run."""
    return path.removeprefix("/var") if path.startswith("/var/run/") else path
