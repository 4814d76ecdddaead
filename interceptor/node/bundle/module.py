"""Python modules compiled, to be loaded without their sources.

Such a module is found by one look into one directory, is never compared with a source, and makes
Python write nothing at run time.
"""

from __future__ import annotations

import importlib.util
import marshal
import os
import struct

from interceptor.files import read_file

_MOST_BYTES = 1 << 24
_HEADER = struct.Struct("<4sIII")
"""The magic number, flags, and of the source its time and size (PEP 552)."""
_UNCHECKED = struct.pack("<4sIQ", importlib.util.MAGIC_NUMBER, 1, 0)
"""Flags: by hash, and not to be compared; a hash that no source has."""


def compiled(source: str) -> bytes:
    """Give what a source is compiled to: what Python has already made of it, if that is so.

    Raises:
        OSError: it cannot be read.
    """
    there = _cached(source)
    if there is None:
        text = read_file(source, _MOST_BYTES)
        code = compile(text, source, "exec", dont_inherit=True, optimize=0)
        there = marshal.dumps(code)
    return _UNCHECKED + there


def _cached(source: str) -> bytes | None:
    """Give the code Python keeps beside a source, if it is of this source and this Python."""
    try:
        cache = read_file(importlib.util.cache_from_source(source, optimization=""), _MOST_BYTES)
        status = os.stat(source)
        magic, flags, changed_s, size = _HEADER.unpack_from(cache)
    except (OSError, ValueError, struct.error):
        return None
    of = (importlib.util.MAGIC_NUMBER, 0, int(status.st_mtime) & 0xFFFFFFFF, status.st_size)
    return cache[_HEADER.size :] if (magic, flags, changed_s, size) == of else None
