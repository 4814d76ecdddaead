"""The network namespace of a call: opened, guarded against being the host's, and entered."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from interceptor.cni.protocol import CniError, Code
from interceptor.system import netns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.operations.site import Site
    from interceptor.system.deadline import Deadline


class Namespace:
    """One that is open; ``with`` it, it is closed at the end.

    Args:
        path: as the runtime gives it.
        root: where this process sees the node's root.
        any_netns: also the host's own, which whoever asks for it must want.

    Raises:
        NetnsError: there is none.
        CniError: code 8, it is the host's.
    """

    def __init__(self, path: str, *, root: str = "/", any_netns: bool = False) -> None:
        self.path = path
        self._descriptor = netns.open_path(root.rstrip("/") + path)
        self.inode = netns.inode(self._descriptor)
        if netns.is_hosts(self._descriptor) and not any_netns:
            os.close(self._descriptor)
            raise CniError(
                Code.NETNS,
                f"{path} is the network namespace of the host, or the plugin's own",
                "pods of the host's network are not intercepted; no runtime calls CNI for them",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    @property
    def cookie(self) -> int:
        """The number programs at sockets know it by.

        Raises:
            HostError: the kernel has none.
        """
        from interceptor.system.cookie import cookie

        return cookie(self._descriptor)

    @contextmanager
    def site(self, deadline: Deadline, *, shared: bool = False) -> Iterator[Site]:
        """Enter it for a while, take its lock and look around; ``shared`` is for looking only.

        Two runtimes or an agent may be at one pod at a time, so its lock is its own, also the one
        iptables-legacy takes.
        """
        from interceptor.operations.site import Site
        from interceptor.system import lock
        from interceptor.system.command import ended_in_order

        with (
            netns.inside(self._descriptor, self.path),
            ended_in_order(),
            lock.namespace_lock(deadline, shared=shared),
            lock.private_xtables_lock(needed=True) as legacy_lock,
        ):
            yield Site(deadline, legacy_lock=legacy_lock)
