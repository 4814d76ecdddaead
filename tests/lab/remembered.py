"""What a runtime remembers of a container that CNI added, as libcni writes it."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from tests.lab.plugin import ANNOTATIONS

if TYPE_CHECKING:
    from pathlib import Path


def remember(cache: Path, sandbox: str, pod: str, annotations: object, **more: Any) -> Path:
    """Write the file of one interface and give its path.

    Args:
        cache: libcni's directory.
        sandbox: path of the pod's namespace.
        pod: its name, in the namespace ``shop``.
        annotations: as the runtime would pass them; ``None`` if it passes none.
        more: other values of keys in the file.
    """
    cached = {
        "kind": "cniCacheV1",
        "containerId": f"id-{pod}",
        "config": base64.b64encode(b"{}").decode(),
        "ifName": "eth0",
        "networkName": "net",
        "cniArgs": [["K8S_POD_NAMESPACE", "shop"], ["K8S_POD_NAME", pod]],
        "capabilityArgs": {} if annotations is None else {ANNOTATIONS: annotations},
        "result": {
            "cniVersion": "1.0.0",
            "interfaces": [{"name": "veth1"}, {"name": "eth0", "sandbox": sandbox}],
        },
        **more,
    }
    directory = cache / "results"
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{cached['networkName']}-{cached['containerId']}-{cached['ifName']}"
    path.write_text(json.dumps(cached))
    return path
