"""``interceptor-cni``: speaks CNI's error format, and says that the plugin is not built yet."""

from __future__ import annotations

import json
import sys

_NOT_AVAILABLE = 50
"""CNI 1.1.0, "STATUS": the plugin is not available."""


def main() -> None:
    """Answer every verb with a CNI error, so that a runtime shows a reason and starts no pod."""
    error = {
        "cniVersion": "1.0.0",
        "code": _NOT_AVAILABLE,
        "msg": "interceptor-cni is not built yet",
        "details": "run interceptor install as an init container instead",
    }
    json.dump(error, sys.stdout)
    sys.stdout.write("\n")
    sys.exit(1)
