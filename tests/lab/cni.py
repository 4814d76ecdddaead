"""Chained configurations, and the directory a runtime finds their plugins in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.lab.plugin import ANNOTATIONS, PLUGIN

REFERENCE = Path("/usr/lib/cni")
"""Where Debian has the plugins of the CNI project."""


def plugins(directory: Path, program: str = PLUGIN) -> Path:
    """Make a directory with the reference plugins and ours."""
    directory.mkdir()
    for plugin in REFERENCE.iterdir():
        (directory / plugin.name).symlink_to(plugin)
    (directory / "interceptor-cni").symlink_to(program)
    return directory


def entry(**settings: Any) -> dict[str, Any]:
    """Give our plugin's entry."""
    return {
        "type": "interceptor-cni",
        "capabilities": {ANNOTATIONS: True, "dns": True},
        "interceptor": settings,
    }


def conflist(
    directory: Path,
    *ours: dict[str, Any],
    name: str = "mesh",
    version: str = "1.0.0",
    number: int = 0,
) -> dict[str, Any]:
    """Give bridge, portmap and what is ours; host-local keeps its notes in the directory.

    A number makes another bridge and subnet. They need to differ within a runtime only: runtimes
    run in a namespace of their own each.
    """
    bridge = {
        "type": "bridge",
        "bridge": f"cni-test{number}",
        "isGateway": True,
        "ipMasq": False,
        "ipam": {
            "type": "host-local",
            "dataDir": str(directory / "host-local"),
            "ranges": [[{"subnet": f"10.77.{number}.0/24"}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": version, "name": name, "plugins": [bridge, portmap, *ours]}


def write(path: Path, configuration: dict[str, Any]) -> Path:
    """Write a configuration as a whole, as the runtimes that watch for it want it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(json.dumps(configuration, indent=2))
    new.rename(path)
    return path
