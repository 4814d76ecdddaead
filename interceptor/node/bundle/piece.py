"""One file of a bundle: where it goes, and what it is made from."""

from __future__ import annotations

import os
from enum import Enum

import msgspec

from interceptor.files import read_file

_MOST_BYTES = 1 << 28
PROGRAM_MODE, FILE_MODE = 0o755, 0o644


class Kind(Enum):
    """How a file is made from its source."""

    FILE = "file"
    """Copied."""
    PROGRAM = "program"
    """Copied, and executable."""
    MODULE = "module"
    """A Python module, compiled."""


class Piece(msgspec.Struct, frozen=True):
    """A file of a bundle.

    ``path`` is below the tree. ``source`` is a file of this installation; where it is empty, what
    goes into the file is in ``content``.
    """

    path: str
    kind: Kind
    source: str = ""
    content: bytes = b""

    def read(self) -> bytes:
        """Give what the file is made from.

        Raises:
            OSError: it cannot be read.
        """
        return read_file(self.source, _MOST_BYTES) if self.source else self.content

    def make(self) -> bytes:
        """Give what goes into the file.

        Raises:
            OSError: its source cannot be read.
        """
        if self.kind is Kind.MODULE:
            from interceptor.node.bundle.module import compiled

            return compiled(self.source)
        return self.read()

    @property
    def mode(self) -> int:
        """The file's permissions."""
        return PROGRAM_MODE if self.kind is Kind.PROGRAM else FILE_MODE


def copied(path: str, source: str) -> Piece:
    """Copy a file to a path below the tree."""
    return Piece(path, Kind.FILE, source)


def program(path: str, source: str) -> Piece:
    """Copy a program."""
    return Piece(path, Kind.PROGRAM, source)


def module(directory: str, path: str, source: str) -> Piece:
    """Bring a Python file, or a library it loads or data it reads, below a directory.

    Of Python files only what they are compiled to is brought.
    """
    root, extension = os.path.splitext(os.path.join(directory, path))
    if extension == ".py":
        return Piece(f"{root}.pyc", Kind.MODULE, source)
    return copied(f"{root}{extension}", source)
