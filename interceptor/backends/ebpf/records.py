"""What was meant for each pod, on the node: the lines of ``record.Record``, by cookie.

Programs at sockets have no comments to hold it. The files are gone at a reboot, as pods are.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from interceptor.backends.ebpf import RECORDS, record_file
from interceptor.files import read_file
from interceptor.system import atomic

if TYPE_CHECKING:
    from collections.abc import Sequence

_SUFFIX = ".json"
_MOST_BYTES = 1 << 26


class Records:
    """One file for each pod.

    Args:
        directory: made at the first write.
    """

    def __init__(self, directory: str = RECORDS) -> None:
        self._directory = directory

    def read(self, cookie: int) -> tuple[str, ...]:
        """Give a pod's lines; none if there is no such file, or none that can be read."""
        with suppress(OSError, ValueError):
            content = read_file(self._path(cookie), _MOST_BYTES)
            return msgspec.json.decode(content, type=tuple[str, ...])
        return ()

    def write(self, cookie: int, lines: Sequence[str]) -> None:
        """Put a pod's lines in the place of older ones; without lines, remove them."""
        if not lines:
            atomic.remove_file(self._path(cookie))
            return
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        atomic.replace_file(self._path(cookie), msgspec.json.encode(tuple(lines)), mode=0o600)

    def cookies(self) -> tuple[int, ...]:
        """Name the pods that have a file."""
        try:
            names = os.listdir(self._directory)
        except FileNotFoundError:
            return ()
        stems = (name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX))
        return tuple(sorted(int(stem) for stem in stems if stem.isdecimal()))

    def _path(self, cookie: int) -> str:
        return record_file(self._directory, cookie)
