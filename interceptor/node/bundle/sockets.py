"""What the eBPF backend needs beside Python: the compiled programs, and libbpf by its name.

An installation that was made without them makes a bundle without, in which that backend says so.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import interceptor
from interceptor.node.bundle.piece import Piece, copied
from interceptor.node.bundle.python import LIBRARY

if TYPE_CHECKING:
    from collections.abc import Iterator

LIBBPF = "libbpf.so.1"
"""It is loaded by name, and found among the bundle's libraries."""

_ROOM = "_bpf"


def pieces() -> Iterator[Piece]:
    """Give the compiled programs, if this installation has any.

    Raises:
        OSError: they are there and cannot be looked at.
    """
    directory = os.path.join(os.path.dirname(os.path.abspath(str(interceptor.__file__))), _ROOM)
    if not os.path.isdir(directory):
        return
    for name in sorted(os.listdir(directory)):
        if name.endswith(".o"):
            yield copied(f"{LIBRARY}/interceptor/{_ROOM}/{name}", os.path.join(directory, name))
