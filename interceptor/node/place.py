"""Where the node's files are for this process, which may run in a container."""

from __future__ import annotations

import msgspec


class Place(msgspec.Struct, frozen=True):
    """The node's root directory as this process sees it.

    Every path a person gives is the node's own, as its runtime and the plugin see it.
    """

    root: str = "/"

    def here(self, path: str) -> str:
        """Give the path at which this process finds a path of the node."""
        return self.root.rstrip("/") + path
