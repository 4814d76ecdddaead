"""Files that are there whole or not at all, whatever ends the process that writes them."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_OURS, _TEMPORARY = "interceptor-", ".tmp"


def replace_file(
    path: str,
    content: bytes,
    *,
    mode: int = 0o644,
    owner: tuple[int, int] | None = None,
    before: Callable[[], object] = bool,
) -> None:
    """Put a file in the place of what is there, in one step, and on the disk.

    It is written beside it as ``.<name>.<random>.tmp``, which no loader of configurations takes.

    Args:
        path: of the file itself; a link there is replaced, not followed.
        content: all of it.
        mode: permissions, whatever the umask is.
        owner: user and group id; as the process has them if not given.
        before: called last before the step; what it raises leaves everything as it was.

    Raises:
        OSError: it cannot be written; what was there is as it was.
    """
    directory, name = os.path.split(path)
    random = os.urandom(6).hex()
    temporary = os.path.join(directory, f".{name}.{_OURS}{random}{_TEMPORARY}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(temporary, flags, 0o600)
    try:
        try:
            _write(descriptor, content)
            if owner is not None:
                os.fchown(descriptor, *owner)
            # After the owner: changing that takes set-id bits away.
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        before()
        os.rename(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            error.filename, error.filename2 = path, None
        raise
    sync_directory(directory)


def remove_file(path: str) -> bool:
    """Remove a file or link, on the disk as well, and say whether it was there.

    Raises:
        OSError: it is there and cannot be removed.
    """
    try:
        os.unlink(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    sync_directory(os.path.dirname(path))
    return True


def move_file(path: str, target: str) -> None:
    """Give a file or link another name in its directory, in one step, and on the disk.

    Raises:
        OSError: it is not there, or cannot be renamed.
    """
    os.rename(path, target)
    sync_directory(os.path.dirname(target))


def remove_leftovers(directory: str) -> int:
    """Remove what a killed ``replace_file`` left in a directory where nobody writes just now.

    Returns:
        How many there were.
    """
    left = [
        name
        for name in os.listdir(directory)
        if name.startswith(".") and f".{_OURS}" in name and name.endswith(_TEMPORARY)
    ]
    return sum(_is_file(path) and remove_file(path) for path in _joined(directory, left))


def sync_directory(directory: str) -> None:
    """Have the names in a directory reach the disk."""
    descriptor = os.open(directory or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _joined(directory: str, names: list[str]) -> list[str]:
    return [os.path.join(directory, name) for name in names]


def _is_file(path: str) -> bool:
    with suppress(FileNotFoundError):
        return stat.S_ISREG(os.lstat(path).st_mode)
    return False


def _write(descriptor: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]
