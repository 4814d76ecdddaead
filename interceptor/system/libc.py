"""The C library through ctypes: what Python has no function for."""

from __future__ import annotations

import os
from functools import cache
from typing import Any


@cache
def library() -> Any:
    """Give the C library, opened once: ctypes makes a class each time."""
    import ctypes

    return ctypes.CDLL(None, use_errno=True)


def call(function: str, *arguments: object) -> int:
    """Call a function that gives a negative number where it fails.

    Raises:
        OSError: it failed; why, in the words of its errno.
    """
    got: int = getattr(library(), function)(*arguments)
    if got < 0:
        import ctypes

        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return got
