"""libbpf.so.1 through ctypes: what it says, links and pins; see bpf_object and bpf_map for those.

Nothing here knows what a map means. Descriptors are the caller's to close.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from interceptor.errors import CommandError, HostError
from interceptor.system import libc

if TYPE_CHECKING:
    from collections.abc import Iterator

KERNEL_NEEDED = "5.15"
"""The oldest with bpf_get_netns_cookie in all the kinds of program that want it."""

# linux/bpf.h
CGROUP_KINDS = {
    "connect4": 10,
    "connect6": 11,
    "sendmsg4": 14,
    "sendmsg6": 15,
    "recvmsg4": 19,
    "recvmsg6": 20,
    "getpeername4": 29,
    "getpeername6": 30,
    "getsockopt": 21,
    "tcp_events": 3,
}
"""Kind of attachment (enum bpf_attach_type) by the name of the program in rules/bpf."""
SK_LOOKUP = 36

_INFORMATION = 1
"""bpf/libbpf.h, LIBBPF_INFO: what is above is for those who debug libbpf."""
_LINK_INFO = struct.Struct("=IIIIII")
_LIBBPFS_OWN = 4000
_NOT_KNOWN = 524
"""ENOTSUPP, which the C library has no words for."""


@cache
def library() -> Any:
    """Give libbpf, loaded once.

    Raises:
        HostError: there is none.
    """
    try:
        loaded = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError:
        raise HostError("there is no libbpf on this host", hint="install libbpf1") from None
    for name in ("bpf_object__open_mem", "bpf_object__next_map", "bpf_object__next_program"):
        getattr(loaded, name).restype = ctypes.c_void_p
    for name in ("bpf_map__name", "bpf_program__name"):
        getattr(loaded, name).restype = ctypes.c_char_p
    for name in ("bpf_map_update_batch", "bpf_map_delete_batch", "bpf_map_lookup_batch"):
        getattr(loaded, name).restype = ctypes.c_int
    return loaded


_PRINTER = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)


@contextmanager
def said() -> Iterator[list[str]]:
    """Gather what libbpf would print: the verifier's words among it."""
    lines: list[str] = []
    buffer = ctypes.create_string_buffer(1 << 14)

    def note(level: int, form: int, arguments: int) -> int:
        if level > _INFORMATION:
            return 0
        libc.library().vsnprintf(
            buffer, ctypes.sizeof(buffer), ctypes.c_void_p(form), ctypes.c_void_p(arguments)
        )
        lines.extend(buffer.value.decode(errors="replace").splitlines())
        return 0

    printer = _PRINTER(note)
    loaded = library()
    loaded.libbpf_set_print.restype = ctypes.c_void_p
    before = loaded.libbpf_set_print(printer)
    try:
        yield lines
    finally:
        loaded.libbpf_set_print(ctypes.c_void_p(before))


def last_code() -> int:
    """Give the errno of the call before."""
    return ctypes.get_errno()


def words(code: int) -> str:
    """Say what an errno means; libbpf has some of its own."""
    if code >= _LIBBPFS_OWN:
        return "libbpf does not understand it"
    return "not supported" if code == _NOT_KNOWN else os.strerror(code)


def refused(what: str, code: int, lines: list[str] | None = None) -> CommandError | HostError:
    """Make the error for something the kernel did not do.

    The verifier's last words but one say why it refuses a program; all of them fill pages.
    """
    if code == errno.EPERM:
        return HostError(
            f"{what}: {words(code)}",
            hint="run as root with CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN, on the node",
        )
    kept = [
        line.removeprefix("libbpf: ").strip()
        for line in lines or ()
        if line.strip() and not line.startswith(("processed ", "-- ")) and "debug" not in line
    ]
    why = next(
        (kept[n - 1] for n, line in enumerate(kept) if n and "failed to load" in line),
        kept[-1] if kept else "",
    )
    message = f"{what}: {words(code)}" + (f" ({why})" if why else "")
    if code in (errno.EINVAL, errno.EACCES, _NOT_KNOWN, errno.EOPNOTSUPP):
        return HostError(
            message,
            hint=f"the eBPF backend needs Linux {KERNEL_NEEDED}; --backend nftables does not",
        )
    return CommandError(message, hint="nothing was enabled; run the same command again")


def open_pin(path: str) -> int | None:
    """Open what is pinned at a path; ``None`` if nothing is."""
    descriptor: int = library().bpf_obj_get(path.encode())
    if descriptor >= 0:
        return descriptor
    if last_code() == errno.ENOENT:
        return None
    raise refused(f"{path} cannot be opened", last_code())


def attach(program: int, target: int, kind: int, path: str) -> None:
    """Attach a program by a link of its own, and pin that."""
    loaded = library()
    link = loaded.bpf_link_create(program, target, kind, None)
    if link < 0:
        raise refused("a BPF program cannot be attached", last_code())
    try:
        if loaded.bpf_obj_pin(link, path.encode()):
            raise refused(f"a link cannot be pinned at {path}", last_code())
    finally:
        os.close(link)


def replace_program(link: int, program: int) -> bool:
    """Put another program in a link's place: every event meets one of the two.

    False if the link is attached to nothing any more.
    """
    if library().bpf_link_update(link, program, None):
        if last_code() in (errno.ENOLINK, errno.ENOENT):
            return False
        raise refused("an attached BPF program cannot be replaced", last_code())
    return True


def detach(path: str) -> bool:
    """Detach what a pinned link attaches, whoever else holds it, and remove the pin."""
    link = open_pin(path)
    if link is None:
        return False
    # In this order: whoever dies in between leaves no pin of a link that does nothing.
    os.unlink(path)
    # What the link was attached to may be gone.
    library().bpf_link_detach(link)
    os.close(link)
    return True


def target_of(link: int) -> int:
    """Give the inode of what a link is attached to, a network namespace or a control group.

    It is 0 if that is no more, or the link was detached.
    """
    info = (ctypes.c_char * 256)()
    length = ctypes.c_uint32(ctypes.sizeof(info))
    if library().bpf_obj_get_info_by_fd(link, info, ctypes.byref(length)):
        raise refused("a link cannot be looked at", last_code())
    return int(_LINK_INFO.unpack_from(bytes(info))[4])
