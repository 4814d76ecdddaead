"""What a container runtime sees in a directory of network configurations.

Written without the code under test; ``test_network_list`` holds both against libcni itself.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def first(directory: Path) -> tuple[str, dict[str, Any]]:
    """Load as containerd does: the first file, which must be valid.

    A file that goes away between the listing and the reading is no fault of it: look again.
    """
    while True:
        paths = [p for p in directory.iterdir() if p.suffix in (".conf", ".conflist", ".json")]
        assert paths, "the node has no network"
        path = min(paths)
        try:
            content = json.loads(path.read_bytes())
        except FileNotFoundError:
            continue
        if path.suffix != ".conflist":
            content = {"name": content["name"], "plugins": [content]}
        assert isinstance(content["name"], str)
        assert content["plugins"]
        assert all(plugin["type"] for plugin in content["plugins"])
        return path.name, content


def types(directory: Path) -> list[str]:
    """Give the plugins that are called for a pod."""
    return [plugin["type"] for plugin in first(directory)[1]["plugins"]]
