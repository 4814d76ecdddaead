"""A log that several processes write to and that never grows beyond a size."""

from __future__ import annotations

import fcntl
import os


def append(path: str, line: bytes, most_bytes: int) -> None:
    """Add a line; when the file is full it becomes ``path.1``, and a new one is begun.

    Two files of at most ``most_bytes`` are kept. Lines of processes that write at the same time
    stay whole, and none is lost.

    Raises:
        OSError: it cannot be written.
    """
    while True:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if not _is_still(descriptor, path):
                continue
            size = os.fstat(descriptor).st_size
            if not size or size + len(line) <= most_bytes:
                os.write(descriptor, line)
                return
            os.rename(path, f"{path}.1")
        finally:
            os.close(descriptor)


def _is_still(descriptor: int, path: str) -> bool:
    """Whether a path names the file that is open: another may have moved it away meanwhile."""
    mine = os.fstat(descriptor)
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)
