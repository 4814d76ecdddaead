"""A BPF map that is open: keys and values are bytes, whatever they mean."""

from __future__ import annotations

import ctypes
import errno
import os
from typing import TYPE_CHECKING

from interceptor.errors import HostError
from interceptor.system.libbpf import last_code, library, refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from interceptor.errors import CommandError

# linux/bpf.h
ANY, NOEXIST = 0, 1

_BATCH = 4096


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
            if last_code() == errno.ENOENT:
                return None
            raise refused(f"the BPF map {self._name} cannot be read", last_code())
        return value.raw

    def put(self, key: bytes, value: bytes, how: int = ANY) -> bool:
        """Set a key; false if it is there and should not be."""
        if library().bpf_map_update_elem(self.descriptor, key, value, ctypes.c_ulonglong(how)):
            if how == NOEXIST and last_code() == errno.EEXIST:
                return False
            raise self._full_or(last_code())
        return True

    def remove(self, key: bytes) -> bool:
        """Take a key away; false if it is not there."""
        if library().bpf_map_delete_elem(self.descriptor, key):
            if last_code() == errno.ENOENT:
                return False
            raise refused(f"the BPF map {self._name} cannot be written", last_code())
        return True

    def put_all(self, entries: Mapping[bytes, bytes]) -> None:
        """Set many keys, in one call of the kernel if it takes all."""
        count = ctypes.c_uint32(len(entries))
        keys, values = b"".join(entries), b"".join(entries.values())
        if entries and library().bpf_map_update_batch(
            self.descriptor, keys, values, ctypes.byref(count), None
        ):
            raise self._full_or(last_code())

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
        if last_code() != errno.ENOENT:
            raise refused(f"the BPF map {self._name} cannot be read", last_code())
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
            code = last_code() if failed else 0
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
