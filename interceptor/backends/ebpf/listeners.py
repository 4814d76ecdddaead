"""Inbound listeners that were there before the programs, which hear only of new ones.

The kernel says which sockets listen, /proc who has them, and pidfd_getfd(2) gives them to us.
"""

from __future__ import annotations

import os
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from interceptor.system import libc
from interceptor.system.netlink import Kernel, until_still
from interceptor.system.netns import inside

if TYPE_CHECKING:
    from collections.abc import Iterator

# linux/sock_diag.h, linux/inet_diag.h
_SOCK_DIAG = 4
_BY_FAMILY = 20
_REQUEST = struct.Struct("=BBBBI")
_ID_SIZE = 48
_LISTENING = 1 << 10
_FAMILY_AT, _PORT_AT, _INODE_AT = 0, 4, 68
_PIDFD_GETFD = 438
"""The same on every architecture (asm-generic/unistd.h)."""


class Listener(msgspec.Struct, frozen=True):
    """A listening socket: AF_INET or AF_INET6, and its inode."""

    family: int
    inode: int


def listening(netns: int, port: int) -> list[Listener]:
    """Give the TCP sockets of a namespace that listen on a port."""
    with inside(netns), Kernel(_SOCK_DIAG) as kernel:
        return until_still(lambda: list(_look(kernel, port)))


def _look(kernel: Kernel, port: int) -> Iterator[Listener]:
    for family in (socket.AF_INET, socket.AF_INET6):
        request = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0, _LISTENING) + bytes(_ID_SIZE)
        for body in kernel.dump(_BY_FAMILY, request):
            (local,) = struct.unpack_from("!H", body, _PORT_AT)
            if local == port:
                yield Listener(body[_FAMILY_AT], struct.unpack_from("=I", body, _INODE_AT)[0])


def take(wanted: list[Listener], netns: int) -> dict[Listener, int]:
    """Get descriptors of sockets from whoever has them; those nobody here has are left out."""
    inodes = {f"socket:[{one.inode}]": one for one in wanted}
    found: dict[Listener, int] = {}
    for process in _processes(netns):
        if len(found) == len(inodes):
            break
        with suppress(OSError):
            for number in os.listdir(f"/proc/{process}/fd"):
                with suppress(OSError):
                    one = inodes.get(os.readlink(f"/proc/{process}/fd/{number}"))
                    if one is not None and one not in found:
                        found[one] = _duplicate(process, int(number))
    return found


def _processes(netns: int) -> list[int]:
    """Give all processes, those of the namespace first: it is nearly always one of them."""
    inode = os.fstat(netns).st_ino
    there: list[int] = []
    elsewhere: list[int] = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                is_there = os.stat(f"/proc/{name}/ns/net").st_ino == inode
            except OSError:
                continue
            (there if is_there else elsewhere).append(int(name))
    return there + elsewhere


def _duplicate(process: int, number: int) -> int:
    if process == os.getpid():
        return os.dup(number)
    handle = os.pidfd_open(process)
    try:
        return libc.call("syscall", _PIDFD_GETFD, handle, number, 0)
    finally:
        os.close(handle)
