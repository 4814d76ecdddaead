"""Read a file whole, but only if it is one, and not without end; and the standard streams."""

from __future__ import annotations

import os
import select
import stat
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO

_AT_ONCE = 1 << 20
"""Bytes."""


def read_file(path: str, most: int, *, pipe_s: float | None = None) -> bytes:
    """Read a file of at most so many bytes.

    Args:
        path: where it is.
        most: bytes above which it is refused.
        pipe_s: seconds to wait for the end of a pipe, as ``<(command)`` makes one in a shell;
            without it no pipe will do.

    Raises:
        OSError: it cannot be opened; a ``TimeoutError`` if the pipe's end did not come.
        ValueError: it is no regular file, or too large.
    """
    # Without waiting: the opening of a pipe that nobody writes to would last for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(21, "Is a directory")
        if not (stat.S_ISREG(mode) or (pipe_s is not None and stat.S_ISFIFO(mode))):
            raise ValueError("it is no regular file")
        return _read(descriptor, most, pipe_s or 0.0)
    finally:
        os.close(descriptor)


def read_stream(stream: TextIO | None, most: int, longest_s: float) -> bytes:
    """Read at most so many bytes, to the end.

    Raises:
        OSError: it cannot be read; a ``TimeoutError`` if its end did not come.
        ValueError: there is more, or there is no stream: it was closed when Python started.
    """
    if stream is None:
        raise ValueError("it is closed")
    return _read(stream.fileno(), most, longest_s)


def _read(descriptor: int, most: int, longest_s: float) -> bytes:
    """Read to the end, waiting before each read until there is something to be had."""
    content = bytearray()
    end = time.monotonic() + longest_s
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while len(content) <= most:
        if not poll.poll(max(end - time.monotonic(), 0.0) * 1e3):
            raise TimeoutError
        part = os.read(descriptor, _AT_ONCE)
        if not part:
            return bytes(content)
        content += part
    raise ValueError(f"it is larger than {most} bytes")


def fill_standard_descriptors() -> None:
    """Put /dev/null where a standard stream was closed when this process started.

    Else the next file opened takes its number, and some tool that is started later writes its
    complaints into a lock or a namespace.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
