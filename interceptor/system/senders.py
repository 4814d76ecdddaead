"""Whose socket sends from somewhere: its user, as sock_diag(7) tells, and the process that has it.

Asked a moment after it sent: by then a socket may be closed, and nobody knows any more.
"""

from __future__ import annotations

import os
import socket
import struct
from contextlib import suppress
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from interceptor.analysis.decision import Sender
from interceptor.system.netlink import ERROR, REQUEST, Kernel
from interceptor.system.netns import CURRENT

if TYPE_CHECKING:
    from interceptor.analysis.traced import Header

# linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h, net/tcp_states.h
_SOCK_DIAG, _BY_FAMILY = 4, 20
_REQUEST = struct.Struct("=BBBxI")
_NO_COOKIE = b"\xff" * 8
_ID = struct.Struct("!HH16s16sI8s")
_MESSAGE = struct.Struct("=xB62xII")
"""Of struct inet_diag_msg: state and, after both ends, timers and queues, user and inode."""
_TIME_WAIT, _LISTEN = 6, 10
_PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP}


def sender(protocol_name: str, header: Header) -> Sender | None:
    """Give who made a connection or sent a query from this namespace; ``None`` if nobody knows."""
    protocol = _PROTOCOLS[protocol_name]
    own = header.source_port, header.source.packed
    other = header.destination_port, header.destination.packed
    if protocol == socket.IPPROTO_UDP:
        # "src and dst are swapped for historical reasons", net/ipv4/udp_diag.c.
        own, other = other, own
    family = socket.AF_INET if isinstance(header.source, IPv4Address) else socket.AF_INET6
    asked = _REQUEST.pack(family, protocol, 0, 0xFFFFFFFF)
    asked += _ID.pack(own[0], other[0], own[1], other[1], 0, _NO_COOKIE)
    try:
        with Kernel(_SOCK_DIAG) as kernel:
            answer, _, body = next(kernel.ask((_BY_FAMILY, REQUEST, asked)))
    except OSError:
        return None
    return None if answer == ERROR else _read(body)


def _read(body: bytes) -> Sender | None:
    state, uid, inode = _MESSAGE.unpack_from(body)
    if state in (_TIME_WAIT, _LISTEN):
        # Of what is over the kernel keeps no user; and a listener sends nothing.
        return None
    pid = _holder(inode) if inode else None
    return Sender(uid, None, pid, _command(pid) if pid else "")


def _holder(inode: int) -> int | None:
    """Give a process of this namespace that has a socket open."""
    wanted = f"socket:[{inode}]"
    here = os.stat(CURRENT).st_ino
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        with suppress(OSError):
            if os.stat(f"/proc/{name}/ns/net").st_ino != here:
                continue
            with os.scandir(f"/proc/{name}/fd") as entries:
                if any(_is(entry.path, wanted) for entry in entries):
                    return int(name)
    return None


def _is(path: str, wanted: str) -> bool:
    try:
        return os.readlink(path) == wanted
    except OSError:
        return False


def _command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().rstrip("\n")
    except OSError:
        return ""
