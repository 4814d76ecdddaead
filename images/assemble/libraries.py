"""What programs and libraries are linked with, asked of the loader itself."""

from __future__ import annotations

import re
import struct
import subprocess
from glob import glob
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LOADERS = ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1")
_FOUND = re.compile(r"^\s*\S+ => (/.*) \(0x[0-9a-f]+\)$", re.MULTILINE)

# elf(5), for 64 bits
_ELF = b"\177ELF\2"
_TABLE = struct.Struct("=32xQ14xHH")
"""Of the file's header: where the program headers are, how long each is and how many."""
_KIND, _DYNAMIC = struct.Struct("=I"), 2


def loader() -> str:
    """Give the path programs here ask for.

    Raises:
        LookupError: this is no machine images are made on.
    """
    return next(path for path in _LOADERS if glob(path))


def is_linked(content: bytes) -> bool:
    """Whether a file is a program or a library that the loader has something to find for."""
    if not content.startswith(_ELF):
        return False
    start, size, count = _TABLE.unpack_from(content)
    kinds = (_KIND.unpack_from(content, start + n * size)[0] for n in range(count))
    return _DYNAMIC in kinds


def needed(paths: Iterable[str]) -> set[str]:
    """Give the paths of all that some programs and libraries need.

    Raises:
        subprocess.CalledProcessError: the loader cannot read one of them.
        LookupError: something that one needs is not here.
    """
    found = set()
    for path in paths:
        done = subprocess.run(
            [loader(), "--list", path], check=True, capture_output=True, text=True
        )
        if "not found" in done.stdout:
            raise LookupError(f"{path}: {done.stdout}")
        found |= set(_FOUND.findall(done.stdout))
    return found


def by_name(names: Iterable[str]) -> Iterator[str]:
    """Find libraries that are loaded by name.

    Raises:
        LookupError: one is not here.
    """
    for name in names:
        places = [*glob(f"/lib/*-linux-gnu/{name}"), *glob(f"/usr/lib/*-linux-gnu/{name}")]
        if not places:
            raise LookupError(f"{name} is not here")
        yield places[0]
