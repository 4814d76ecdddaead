"""Where BPF things are kept and hung up: bpffs, and the root of the cgroup v2 tree."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from interceptor.errors import HostError
from interceptor.system import libc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.system.deadline import Deadline

USUAL = "/sys/fs/bpf"
"""Where systemd and bpftool mount bpffs."""

_MAGIC = 0xCAFE4A11
"""linux/magic.h, BPF_FS_MAGIC."""
_ROOT_CGROUP_INODE = 1
"""Of the first directory of the tree, in every kernel that has one."""
_FIRST_PID_NAMESPACE = 0xEFFFFFFC
"""PROC_PID_INIT_INO of the kernel (include/linux/proc_ns.h)."""
_WAIT_S = 0.002


def _is_bpffs(path: str) -> bool:
    buffer = (ctypes.c_long * 32)()
    if libc.library().statfs(path.encode(), buffer):
        return False
    return buffer[0] & 0xFFFFFFFF == _MAGIC


def _mount(at: str) -> None:
    if _is_inside_container():
        raise OSError(errno.ENOENT, "none is mounted in this container")
    libc.call("mount", b"bpffs", at.encode(), b"bpf", 0, b"mode=0700")


def _is_inside_container() -> bool:
    """Whether what is mounted here is known to be others' business than the node's.

    Pins in a file system of a container's own go with it, and the interception with them.
    """
    with suppress(OSError):
        if os.stat("/proc/self/ns/pid").st_ino != _FIRST_PID_NAMESPACE:
            return True
        return os.stat("/proc/self/ns/mnt").st_ino != os.stat("/proc/1/ns/mnt").st_ino
    return False


def ensure(root: str) -> None:
    """Have a directory in bpffs, mounting one where there is none.

    That is at ``/sys/fs/bpf`` for what is below it, else at the directory itself.

    Raises:
        HostError: this process may not.
    """
    at = USUAL if root.startswith(f"{USUAL}/") else root
    try:
        if at == root:
            os.makedirs(root, exist_ok=True)
        if not _is_bpffs(at):
            _mount(at)
        while not os.path.isdir(root):
            # Who leaves nothing behind may remove a directory above it meanwhile.
            with suppress(FileNotFoundError):
                os.makedirs(root, mode=0o700, exist_ok=True)
    except OSError as error:
        raise HostError(
            f"there is no BPF file system at {at}: {error.strerror}",
            hint="run as root on the node, or mount the node's /sys/fs/bpf into the container",
        ) from None


@contextmanager
def locked(root: str, deadline: Deadline) -> Iterator[None]:
    """Hold a directory's lock, which dies with its holder.

    Raises:
        DeadlineError: somebody else held it for too long.
        HostError: there is no bpffs and none can be had.
    """
    import time

    while True:
        ensure(root)
        try:
            descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(min(_WAIT_S, deadline.remaining(f"waiting for the lock of {root}")))
                continue
            # Who held it before may have removed the directory, and another be in its place.
            try:
                if os.stat(root).st_ino != os.fstat(descriptor).st_ino:
                    continue
            except FileNotFoundError:
                continue
            try:
                yield
            finally:
                # To look at what is not there leaves nothing either.
                remove_directory(root)
                remove_directory(os.path.dirname(root))
            return
        finally:
            os.close(descriptor)


def try_lock(path: str) -> int | None:
    """Make a directory and lock it; ``None`` if somebody else has.

    Its descriptor holds the lock, which dies with its holder. To let go is to remove the directory
    and then close.
    """
    while True:
        with suppress(FileExistsError):
            os.mkdir(path, mode=0o700)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Who held it before may have removed it, and another be in its place.
            if os.stat(path).st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except FileNotFoundError:
            pass
        os.close(descriptor)


def open_root_cgroup() -> int:
    """Open the root of the cgroup v2 tree, wherever it is mounted.

    Raises:
        HostError: it is not to be seen from here.
    """
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        rows = [line.split() for line in file]
    for row in rows:
        if row[row.index("-") + 1] != "cgroup2":
            continue
        path = row[4].encode().decode("unicode_escape")
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            continue
        if os.fstat(descriptor).st_ino == _ROOT_CGROUP_INODE:
            return descriptor
        os.close(descriptor)
    raise HostError(
        "the root of the cgroup v2 tree is not to be seen from here",
        hint="run on the node, as the CNI plugin does; or mount its /sys/fs/cgroup here",
    )


def remove_directory(path: str) -> None:
    """Remove an empty directory, if it is there and empty."""
    try:
        os.rmdir(path)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EBUSY):
            raise
