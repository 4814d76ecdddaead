"""Read a file whole, but only if it is one, and not without end."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import BinaryIO


def read_file(path: str, most: int, *, pipes: bool = False) -> bytes:
    """Read a file of at most so many bytes.

    Args:
        path: where it is.
        most: bytes above which it is refused.
        pipes: whether a pipe will do too, as ``<(command)`` makes one in a shell.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is no regular file, or too large.
    """
    # Without waiting: the opening of a pipe that nobody writes to would last for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | (0 if pipes else os.O_NONBLOCK))
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(21, "Is a directory")
        if not (stat.S_ISREG(mode) or (pipes and stat.S_ISFIFO(mode))):
            raise ValueError("it is no regular file")
        with open(descriptor, "rb", closefd=False) as file:
            return read_stream(file, most)
    finally:
        os.close(descriptor)


def read_stream(stream: BinaryIO | None, most: int) -> bytes:
    """Read at most so many bytes, to the end.

    Raises:
        OSError: it cannot be read.
        ValueError: there is more, or there is no stream: it was closed when Python started.
    """
    if stream is None:
        raise ValueError("it is closed")
    content = stream.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it is larger than {most} bytes")
    return content
