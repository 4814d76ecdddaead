"""Python's library and the packages from wheels, compiled here so that nobody does it again.

What is compiled is never compared with a source (PEP 552), because in an image nobody edits one.
"""

from __future__ import annotations

import email
import fnmatch
import hashlib
import importlib.util
import marshal
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from images.assemble.tree import FILE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message

    from images.assemble.recipe import Recipe
    from images.assemble.tree import Tree

LIBRARY = "usr/lib/python3.11"
PACKAGES = "usr/lib/python3/dist-packages"
"""Where Debian's Python looks for packages."""

_UNCHECKED = 1
PROGRAM = f"""\
#!/usr/bin/python3 -ISBXutf8
import sys

sys.path.append("/{PACKAGES}")
from interceptor.cli.entry import main

main()
"""
"""Without ``site``, which a start need not wait for, and with nothing of the environment's."""


@dataclass(frozen=True)
class Wheel:
    """A Python package, as its file describes it."""

    name: str
    version: str
    licence: str
    digest: str


def compiled(source: bytes, path: str) -> bytes:
    """Give what a module is compiled to."""
    code = compile(source, f"/{path}", "exec", dont_inherit=True, optimize=0)
    header = struct.pack("<4sI", importlib.util.MAGIC_NUMBER, _UNCHECKED)
    return header + importlib.util.source_hash(source) + marshal.dumps(code)


def add_module(tree: Tree, recipe: Recipe, path: str, content: bytes, owner: str) -> None:
    """Put a file of Python's there: a source as what it is compiled to, and with it if wanted."""
    if not path.endswith(".py"):
        tree.add(path, content, owner, FILE)
        return
    if not recipe.sources:
        tree.add(f"{path}c", compiled(content, path), owner)
        return
    tree.add(path, content, owner)
    directory, _, name = path.rpartition("/")
    cache = f"{directory}/__pycache__/{name.removesuffix('.py')}.cpython-311.pyc"
    tree.add(cache, compiled(content, path), owner)


def library(recipe: Recipe) -> Iterator[tuple[str, bytes]]:
    """Give the files of Python's library that are wanted, by their path below the root."""
    root = Path("/", LIBRARY)
    for path in sorted(root.rglob("*")):
        below = str(path.relative_to(root))
        if path.is_file() and path.suffix in (".py", ".so") and _wanted(below, recipe):
            yield f"{LIBRARY}/{below}", path.read_bytes()


def _wanted(below: str, recipe: Recipe) -> bool:
    if "__pycache__" in below:
        return False
    parts = below.split("/")
    heads = ["/".join(parts[:n]) for n in range(1, len(parts) + 1)]
    heads.append(f"{'/'.join(parts[:-1])}/{parts[-1].partition('.')[0]}".lstrip("/"))
    return not any(
        fnmatch.fnmatchcase(head, pattern) for head in heads for pattern in recipe.library_without
    )


def add_wheel(tree: Tree, recipe: Recipe, file: Path) -> Wheel:
    """Put a wheel's package there.

    Raises:
        ValueError: it has what no package here needs, and what would be left out in silence.
    """
    with zipfile.ZipFile(file) as wheel:
        names = [name for name in wheel.namelist() if not name.endswith("/")]
        (noted,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        metadata: Message = email.message_from_bytes(wheel.read(noted))
        name, version = str(metadata["Name"]), str(metadata["Version"])
        for path in sorted(names):
            parts = path.split("/")
            if parts[0].endswith(".data"):
                # Manual pages, or scripts that are of no use here.
                if parts[1] not in ("data", "scripts"):
                    raise ValueError(f"{file.name} has {path}")
                continue
            if _left_out(path, recipe):
                continue
            add_module(tree, recipe, f"{PACKAGES}/{path}", wheel.read(path), name)
    licence = str(metadata["License-Expression"] or "NOASSERTION")
    return Wheel(name, version, licence, hashlib.sha256(file.read_bytes()).hexdigest())


def _left_out(path: str, recipe: Recipe) -> bool:
    parts = path.split("/")
    heads = ["/".join(parts[:n]) for n in range(1, len(parts) + 1)]
    return any(
        fnmatch.fnmatchcase(head, pattern) for head in heads for pattern in recipe.packages_without
    )
