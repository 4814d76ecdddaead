"""Enter the network namespace a path names, and make new ones.

``setns`` and ``unshare`` have been in the C library for ever and in Python's ``os`` since 3.12;
until that is the oldest Python here they are called through ctypes.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from interceptor.errors import HostError, NetnsError
from interceptor.system import libc

if TYPE_CHECKING:
    from collections.abc import Iterator

CLONE_NEWNET = 0x40000000
"""linux/sched.h."""

CURRENT = "/proc/thread-self/ns/net"


def open_path(path: str) -> int:
    """Open a namespace by its path and give the file descriptor; nothing is entered yet.

    Raises:
        NetnsError: it is not there or may not be read.
    """
    try:
        # Without waiting: the opening of a pipe that nobody writes to would last for ever.
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise NetnsError(
            f"the network namespace {path} cannot be opened: {error.strerror}",
            hint="give a path as /run/netns/NAME or /proc/PID/ns/net",
        ) from None


def inode(descriptor: int) -> int:
    """Give the number by which the kernel knows an open namespace."""
    return os.fstat(descriptor).st_ino


def is_hosts(descriptor: int) -> bool:
    """Whether an open namespace is that of this process or of the first one it sees."""
    for path in (CURRENT, "/proc/1/ns/net"):
        with suppress(OSError):
            if os.stat(path).st_ino == inode(descriptor):
                return True
    return False


def enter(descriptor: int, name: str) -> None:
    """Move this thread, and what it starts, into an open namespace.

    Raises:
        NetnsError: what was opened is no network namespace.
        HostError: this process may not enter it.
    """
    try:
        libc.call("setns", descriptor, CLONE_NEWNET)
    except OSError as error:
        if error.errno == errno.EPERM:
            raise HostError(
                f"the network namespace {name} may not be entered: {error.strerror}",
                hint="run as root with CAP_SYS_ADMIN in the user namespace that owns it",
            ) from None
        raise NetnsError(
            f"{name} is no network namespace",
            hint="give a path as /run/netns/NAME or /proc/PID/ns/net",
        ) from None


def make() -> int:
    """Make a namespace that nobody is in and give the file descriptor that keeps it alive.

    When the descriptor is closed, also by the death of this process, the namespace goes with
    all its interfaces and, of each veth pair, with the peer elsewhere.

    Raises:
        HostError: this process may not make one.
    """
    here = os.open(CURRENT, os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc.call("unshare", CLONE_NEWNET)
        try:
            made = os.open(CURRENT, os.O_RDONLY | os.O_CLOEXEC)
        finally:
            libc.call("setns", here, CLONE_NEWNET)
    except OSError as error:
        raise HostError(
            f"a network namespace cannot be made: {error.strerror}",
            hint="run as root with CAP_SYS_ADMIN",
        ) from None
    finally:
        os.close(here)
    return made


@contextmanager
def inside(descriptor: int, name: str = "made for this") -> Iterator[None]:
    """Be in another namespace for a while; sockets made there stay there.

    Raises:
        NetnsError: what was opened is no network namespace.
        HostError: this process may not enter it.
    """
    here = os.open(CURRENT, os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter(descriptor, name)
        try:
            yield
        finally:
            libc.call("setns", here, CLONE_NEWNET)
    finally:
        os.close(here)


@contextmanager
def closing(descriptor: int) -> Iterator[None]:
    """Close a descriptor at the end; a namespace that :func:`make` made goes with it."""
    try:
        yield
    finally:
        os.close(descriptor)
