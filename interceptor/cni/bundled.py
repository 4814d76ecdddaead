"""What the launcher on a node starts: the plugin, with the tools that came with it."""

from __future__ import annotations

import sys

from interceptor.system.brought import bring


def main() -> None:
    """Be the plugin; the bundle's tree is where its Python is."""
    bring(f"{sys.prefix}/sbin")
    from interceptor.cni import plugin

    plugin.main()
