"""Files that are whole or not there: whoever reads one never sees it half written."""

from __future__ import annotations

import os
from contextlib import suppress


def replace_file(
    path: str, content: bytes, *, mode: int = 0o644, owner: tuple[int, int] | None = None
) -> None:
    """Put a file in a path's place, durably.

    Args:
        path: where; its directory is there.
        content: all of it.
        mode: permission bits, whatever the umask.
        owner: user and group ids; without them, those of this process.

    Raises:
        OSError: it cannot be written; what was there is there still.
    """
    directory, name = os.path.split(path)
    made = os.path.join(directory, f".{name}.{os.urandom(6).hex()}.tmp")
    try:
        descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(descriptor, mode)
            if owner is not None:
                os.fchown(descriptor, *owner)
            os.fsync(descriptor)
        os.rename(made, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(made)
        raise
    _sync(directory)


def remove_file(path: str) -> bool:
    """Remove a file, durably, and say whether it was there."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    _sync(os.path.dirname(path))
    return True


def _sync(directory: str) -> None:
    descriptor = os.open(directory or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
