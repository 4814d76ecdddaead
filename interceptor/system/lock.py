"""One lock for each network namespace, which dies with its holder.

Design: an exclusive ``flock`` on the namespace itself, through /proc/thread-self/ns/net. The
kernel has one inode for a namespace however it is reached, from the pod, from the node or from
another mount namespace, so all writers meet; there is no file to leave behind, no directory that
must be writable, and the kernel drops the lock when the holder dies. Other tools that guard a
pod's iptables by its namespace's path (XTABLES_LOCKFILE) lock the same inode.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from interceptor.system.command import kept_open
from interceptor.system.deadline import Deadline
from interceptor.system.netns import CURRENT

if TYPE_CHECKING:
    from collections.abc import Iterator

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.001, 0.05
_LOOKERS_PATIENCE_S = 2.0
_SOMEBODY = "somebody who holds this namespace's lock"


@contextmanager
def namespace_lock(deadline: Deadline, *, shared: bool = False) -> Iterator[bool]:
    """Hold the lock of the namespace this thread is in, alone or with others who only look.

    Processes started meanwhile hold it too: if this one is killed, the next holder waits until
    a tool it started is done. Whoever only looks gives up waiting after a while and gets false:
    a process in the pod that sits on the lock must not hide what it does.

    Raises:
        DeadlineError: somebody else held it for too long; it says who, if that can be seen.
    """
    how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    patience = Deadline(_LOOKERS_PATIENCE_S)
    descriptor = os.open(CURRENT, os.O_RDONLY | os.O_CLOEXEC)
    try:
        wait_s = _FIRST_WAIT_S
        while True:
            try:
                fcntl.flock(descriptor, how | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if shared and patience.is_over:
                    yield False
                    return
                left = deadline.remaining(f"waiting for {_holder(descriptor)}")
                time.sleep(min(wait_s, left))
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
        with kept_open(descriptor):
            yield True
    finally:
        os.close(descriptor)


def _holder(descriptor: int) -> str:
    """Name the process that holds the lock, as /proc/locks has it."""
    inode = os.fstat(descriptor).st_ino
    try:
        with open("/proc/locks", encoding="ascii") as file:
            pids = [
                fields[4]
                for fields in map(str.split, file)
                if fields[1] == "FLOCK" and fields[5].endswith(f":{inode}")
            ]
    except OSError:
        pids = []
    return f"process {pids[0]}, which holds this namespace's lock" if pids else _SOMEBODY


@contextmanager
def private_xtables_lock(*, needed: bool) -> Iterator[str | None]:
    """Give a file of our own for iptables-legacy to lock, or ``None`` to leave it to its own.

    Its own is /run/xtables.lock, one for the whole host. Working in another namespace from the
    host we must not wait for other namespaces there, and in a container with a read-only root it
    cannot be opened at all. The namespace's lock is held anyway.
    """
    if not needed and os.access("/run", os.W_OK):
        yield None
        return
    descriptor = os.memfd_create("interceptor-xtables-lock")
    try:
        yield f"/proc/{os.getpid()}/fd/{descriptor}"
    finally:
        os.close(descriptor)
