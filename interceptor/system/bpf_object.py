"""A compiled file of BPF programs and maps, loaded by libbpf."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from interceptor.system.libbpf import last_code, library, refused, said

if TYPE_CHECKING:
    from collections.abc import Iterator


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
        with said() as lines:
            handle = self._library.bpf_object__open_mem(
                content, ctypes.c_size_t(len(content)), None
            )
        if not handle:
            raise refused(f"the BPF object {name} cannot be read", last_code(), lines)
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
        with said() as lines:
            failed = self._library.bpf_object__load(self._handle)
        if failed:
            raise refused(f"the kernel does not take {self._name}", -failed, lines)

    def programs(self) -> dict[str, int]:
        """Give the programs' descriptors, which end with this object."""
        return {
            name: self._library.bpf_program__fd(pointer) for name, pointer in self._each("program")
        }
