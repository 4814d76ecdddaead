"""libbpf.so.1 through ctypes: objects, maps, links and pins, as numbers and bytes.

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
    from collections.abc import Iterator, Mapping

KERNEL_NEEDED = "5.15"
"""The oldest with bpf_get_netns_cookie in all the kinds of program that want it."""

# linux/bpf.h
ANY, NOEXIST = 0, 1
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

_BATCH = 4096
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
def _said() -> Iterator[list[str]]:
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


def _code() -> int:
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


class Object:
    """A compiled file, opened and then loaded.

    Args:
        content: the ELF file.
        name: what errors call it.
    """

    def __init__(self, content: bytes, name: str) -> None:
        self._name = name
        self._library = library()
        self._content = content
        with _said() as lines:
            handle = self._library.bpf_object__open_mem(
                content, ctypes.c_size_t(len(content)), None
            )
        if not handle:
            raise refused(f"the BPF object {name} cannot be read", _code(), lines)
        self._handle: ctypes.c_void_p | None = ctypes.c_void_p(handle)

    def close(self) -> None:
        """Let go of it; what is pinned or attached by a link that is, stays."""
        if self._handle is not None:
            self._library.bpf_object__close(self._handle)
            self._handle = None

    def _each(self, kind: str) -> Iterator[tuple[str, ctypes.c_void_p]]:
        following = getattr(self._library, f"bpf_object__next_{kind}")
        named = getattr(self._library, f"bpf_{'map' if kind == 'map' else 'program'}__name")
        found = following(self._handle, None)
        while found:
            pointer = ctypes.c_void_p(found)
            yield named(pointer).decode(), pointer
            found = following(self._handle, pointer)

    def share_maps(self, directory: str, names: frozenset[str]) -> None:
        """Take maps from where they are pinned, and pin there those that are not yet."""
        for name, pointer in self._each("map"):
            if name in names:
                self._library.bpf_map__set_pin_path(pointer, f"{directory}/{name}".encode())

    def set_constant(self, value: bytes) -> None:
        """Fill in the object's read-only data, which has only what is filled in."""
        for name, pointer in self._each("map"):
            if name.endswith(".rodata"):
                self._library.bpf_map__set_initial_value(
                    pointer, value, ctypes.c_size_t(len(value))
                )

    def leave_programs_out(self) -> None:
        """Have only the maps made when it is loaded."""
        for _, pointer in self._each("program"):
            self._library.bpf_program__set_autoload(pointer, ctypes.c_bool(False))  # noqa: FBT003

    def load(self) -> None:
        """Have the kernel check and keep programs and maps.

        Raises:
            HostError: it cannot; the message has the verifier's words.
        """
        with _said() as lines:
            failed = self._library.bpf_object__load(self._handle)
        if failed:
            raise refused(f"the kernel does not take {self._name}", -failed, lines)

    def programs(self) -> dict[str, int]:
        """Give the programs' descriptors, which end with this object."""
        return {
            name: self._library.bpf_program__fd(pointer) for name, pointer in self._each("program")
        }


def open_pin(path: str) -> int | None:
    """Open what is pinned at a path; ``None`` if nothing is."""
    descriptor: int = library().bpf_obj_get(path.encode())
    if descriptor >= 0:
        return descriptor
    if _code() == errno.ENOENT:
        return None
    raise refused(f"{path} cannot be opened", _code())


def attach(program: int, target: int, kind: int, path: str) -> None:
    """Attach a program by a link of its own, and pin that."""
    loaded = library()
    link = loaded.bpf_link_create(program, target, kind, None)
    if link < 0:
        raise refused("a BPF program cannot be attached", _code())
    try:
        if loaded.bpf_obj_pin(link, path.encode()):
            raise refused(f"a link cannot be pinned at {path}", _code())
    finally:
        os.close(link)


def replace_program(link: int, program: int) -> bool:
    """Put another program in a link's place: every event meets one of the two.

    False if the link is attached to nothing any more.
    """
    if library().bpf_link_update(link, program, None):
        if _code() in (errno.ENOLINK, errno.ENOENT):
            return False
        raise refused("an attached BPF program cannot be replaced", _code())
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
        raise refused("a link cannot be looked at", _code())
    return int(_LINK_INFO.unpack_from(bytes(info))[4])


class Map:
    """An open map with keys and values of fixed sizes."""

    def __init__(self, descriptor: int, name: str, key_size: int, value_size: int) -> None:
        self.descriptor = descriptor
        self._name = name
        self._key, self._value = key_size, value_size

    def get(self, key: bytes) -> bytes | None:
        """Look a key up; for a map that is kept for each CPU, give all its values."""
        value = ctypes.create_string_buffer(self._value)
        if library().bpf_map_lookup_elem(self.descriptor, key, value):
            if _code() == errno.ENOENT:
                return None
            raise refused(f"the BPF map {self._name} cannot be read", _code())
        return value.raw

    def put(self, key: bytes, value: bytes, how: int = ANY) -> bool:
        """Set a key; false if it is there and should not be."""
        if library().bpf_map_update_elem(self.descriptor, key, value, ctypes.c_ulonglong(how)):
            if how == NOEXIST and _code() == errno.EEXIST:
                return False
            raise self._full_or(_code())
        return True

    def remove(self, key: bytes) -> bool:
        """Take a key away; false if it is not there."""
        if library().bpf_map_delete_elem(self.descriptor, key):
            if _code() == errno.ENOENT:
                return False
            raise refused(f"the BPF map {self._name} cannot be written", _code())
        return True

    def put_all(self, entries: Mapping[bytes, bytes]) -> None:
        """Set many keys, in one call of the kernel if it takes all."""
        count = ctypes.c_uint32(len(entries))
        keys, values = b"".join(entries), b"".join(entries.values())
        if entries and library().bpf_map_update_batch(
            self.descriptor, keys, values, ctypes.byref(count), None
        ):
            raise self._full_or(_code())

    def remove_all(self, keys: list[bytes]) -> None:
        """Take keys away that are there."""
        for key in keys:
            self.remove(key)

    def keys(self) -> list[bytes]:
        """Give all keys."""
        found: list[bytes] = []
        before: bytes | None = None
        following = ctypes.create_string_buffer(self._key)
        while not library().bpf_map_get_next_key(self.descriptor, before, following):
            before = following.raw
            found.append(before)
        if _code() != errno.ENOENT:
            raise refused(f"the BPF map {self._name} cannot be read", _code())
        return found

    def items(self) -> dict[bytes, bytes]:
        """Give all keys and values, many in one call of the kernel."""
        found: dict[bytes, bytes] = {}
        keys = ctypes.create_string_buffer(_BATCH * self._key)
        values = ctypes.create_string_buffer(_BATCH * self._value)
        at = ctypes.create_string_buffer(max(self._key, 8))
        begun: ctypes.Array[ctypes.c_char] | None = None
        while True:
            count = ctypes.c_uint32(_BATCH)
            failed = library().bpf_map_lookup_batch(
                self.descriptor, begun, at, keys, values, ctypes.byref(count), None
            )
            code = _code() if failed else 0
            if code not in (0, errno.ENOENT):
                raise refused(f"the BPF map {self._name} cannot be read", code)
            number = count.value
            raw_keys, raw_values = keys.raw, values.raw
            for n in range(number):
                found[raw_keys[n * self._key : (n + 1) * self._key]] = raw_values[
                    n * self._value : (n + 1) * self._value
                ]
            if code:
                return found
            begun = at

    def close(self) -> None:
        """Let go of it."""
        os.close(self.descriptor)

    def _full_or(self, code: int) -> CommandError | HostError:
        if code in (errno.ENOSPC, errno.E2BIG, errno.ENOMEM):
            return HostError(
                f"the BPF map {self._name} is full",
                hint="fewer networks and ports in the settings, or fewer pods on the machine",
            )
        return refused(f"the BPF map {self._name} cannot be written", code)
