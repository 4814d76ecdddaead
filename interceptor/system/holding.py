"""Directories that one process changes while others use them: who holds one, and what is on disk.

The locks are ``flock``'s, on the directory itself: no file has to be made, and the kernel drops
them when the holder dies.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from interceptor.system import libc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.system.deadline import Deadline

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.001, 0.05


@contextmanager
def alone(directory: str, deadline: Deadline) -> Iterator[None]:
    """Hold a directory alone, waiting for others who do; it is made if it is not there.

    Raises:
        DeadlineError: others held it for too long.
        OSError: it cannot be made or opened.
    """
    wait_s = _FIRST_WAIT_S
    while True:
        os.makedirs(directory, 0o755, exist_ok=True)
        with suddenly_alone(directory) as held:
            # Whoever had it may have removed it.
            if held and os.path.exists(directory):
                yield
                return
        left = deadline.remaining(f"waiting for another process that changes {directory}")
        time.sleep(min(wait_s, left))
        wait_s = min(2 * wait_s, _LONGEST_WAIT_S)


@contextmanager
def suddenly_alone(directory: str) -> Iterator[bool]:
    """Hold a directory alone if nobody else holds it now; whether that is so.

    Raises:
        OSError: it cannot be opened.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield _is(descriptor, directory)
    finally:
        os.close(descriptor)


def _is(descriptor: int, directory: str) -> bool:
    """Whether what was opened is still what is there under the name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(directory))
    except FileNotFoundError:
        return False


def written(path: str) -> None:
    """Have all that was written to the file system of a path on its disk: many files at once.

    Raises:
        OSError: it cannot be written.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc.call("syncfs", descriptor)
    finally:
        os.close(descriptor)
