"""Wait for something to become so; a test that waits in vain fails and does not hang."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def becomes(is_so: Callable[[], bool], longest_s: float = 10.0) -> bool:
    """Ask again and again; false if it never was so."""
    end = time.monotonic() + longest_s
    while time.monotonic() < end:
        if is_so():
            return True
        time.sleep(0.01)
    return False
