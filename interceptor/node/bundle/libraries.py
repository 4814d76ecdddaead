"""The loader and the libraries programs need, found as the loader itself finds them."""

from __future__ import annotations

import os
import re
import struct
from typing import TYPE_CHECKING

import msgspec

from interceptor.errors import HostError
from interceptor.files import read_file
from interceptor.node.bundle.piece import Piece, copied, program
from interceptor.system.command import run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from interceptor.system.deadline import Deadline

LIBRARIES = "lib"

# elf(5), for 64 bits
_MOST_BYTES = 1 << 28
_ELF = b"\177ELF\2"
_TABLE = struct.Struct("=32xQ14xHH")
"""Of the file's header: where the program headers are, how long each is and how many."""
_SEGMENT = struct.Struct("=I4xQ16xQ")
_INTERPRETER = 3

_FOUND = re.compile(r"^\s*(\S+) => (/.*) \(0x[0-9a-f]+\)$")
_BY_NAME = ("libgcc_s.so.1",)
"""What the C library loads by name, when a thread ends from within."""
_COMPLAINT = "object '{}' from --preload"


class Closure(msgspec.Struct, frozen=True):
    """A loader's path, and that of each library by the name it is asked for."""

    loader: str
    libraries: dict[str, str]

    @property
    def loader_path(self) -> str:
        """Where in a bundle the loader is."""
        return f"{LIBRARIES}/{os.path.basename(self.loader)}"

    def pieces(self) -> Iterator[Piece]:
        """Give all of it."""
        yield program(self.loader_path, self.loader)
        for name, path in self.libraries.items():
            yield copied(f"{LIBRARIES}/{name}", path)


def closure(
    programs: Iterable[str],
    loaded: Iterable[str],
    deadline: Deadline,
    by_name: Iterable[str] = (),
) -> Closure:
    """Find what programs need, and libraries that they load while they run.

    Those they load ``by_name`` are left out where they are not there.

    Raises:
        HostError: something of it is not on this host.
        OSError: one of them cannot be read.
    """
    first, *others = programs
    loader = interpreter(first)
    found: dict[str, str] = {}
    optional = (*_BY_NAME, *by_name)
    preload = ":".join((*loaded, *optional))
    for argv in (["--preload", preload, "--list", first], *(["--list", p] for p in others)):
        outcome = run([loader, *argv], deadline)
        said = outcome.stdout.decode(errors="replace").splitlines()
        missing = [line.strip() for line in said if line.endswith("=> not found")]
        missing += [
            line
            for line in outcome.stderr.splitlines()
            if not any(_COMPLAINT.format(name) in line for name in optional)
        ]
        if outcome.returncode != 0 or missing:
            raise HostError(
                f"{argv[-1]}: {[*missing, 'the loader does not say why'][0]}",
                hint="mend the installation that is to be laid down",
            )
        found |= {match[1]: match[2] for match in map(_FOUND.match, said) if match}
    return Closure(loader, {name: path for name, path in found.items() if "/" not in name})


def interpreter(path: str) -> str:
    """Give the path of the loader a program asks for.

    Raises:
        HostError: it asks for none.
        OSError: it cannot be read.
    """
    content = read_file(path, _MOST_BYTES)
    if content.startswith(_ELF):
        start, size, count = _TABLE.unpack_from(content)
        for number in range(count):
            kind, offset, length = _SEGMENT.unpack_from(content, start + number * size)
            if kind == _INTERPRETER:
                return content[offset : offset + length].rstrip(b"\0").decode()
    raise HostError(f"{path} names no loader", hint="use a Python of this host's own kind")


def is_library(path: str) -> bool:
    """Whether a path's name is that of a library."""
    return ".so" in os.path.basename(path)
