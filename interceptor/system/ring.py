"""Ring buffers that BPF programs write events to, through libbpf."""

from __future__ import annotations

import ctypes
import os

from interceptor.system.libbpf import library, refused

_RINGBUF = 27
"""linux/bpf.h, BPF_MAP_TYPE_RINGBUF; Linux 5.8."""
_SAMPLE = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_char), ctypes.c_size_t
)


class Ring:
    """A map of its own that is a ring buffer; it is to be put where programs find it.

    Args:
        size: bytes, a power of two and of whole pages.

    Raises:
        HostError: this process may not make one.
    """

    def __init__(self, size: int) -> None:
        self._found: list[bytes] = []
        self._note = _SAMPLE(self._add)
        self._library = library()
        self._library.ring_buffer__new.restype = ctypes.c_void_p
        self.descriptor: int = self._library.bpf_map_create(_RINGBUF, b"events", 0, 0, size, None)
        if self.descriptor < 0:
            raise refused("a ring buffer for BPF programs cannot be made", ctypes.get_errno())
        made = self._library.ring_buffer__new(self.descriptor, self._note, None, None)
        if not made:
            code = ctypes.get_errno()
            os.close(self.descriptor)
            raise refused("the ring buffer of BPF programs cannot be opened", code)
        self._handle = ctypes.c_void_p(made)

    def _add(self, _: object, data: ctypes._Pointer[ctypes.c_char], size: int) -> int:
        self._found.append(ctypes.string_at(data, size))
        return 0

    def wait(self, seconds: float) -> list[bytes]:
        """Give what is there, waiting for the first if there is nothing."""
        self._library.ring_buffer__poll(self._handle, int(seconds * 1000))
        found = list(self._found)
        self._found.clear()
        return found

    def close(self) -> None:
        """Let go of it."""
        self._library.ring_buffer__free(self._handle)
        os.close(self.descriptor)
