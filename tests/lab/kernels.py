"""Which kernel this is: what depends on the version is tested by it."""

from __future__ import annotations

import platform
import re


def since(major: int, minor: int) -> bool:
    """Whether this kernel has what that one has."""
    found = re.match(r"(\d+)\.(\d+)", platform.release())
    assert found
    return (int(found[1]), int(found[2])) >= (major, minor)
