"""All that is in a bundle, and the digest that names it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from interceptor.node.bundle import launcher, python, sockets, tools
from interceptor.node.bundle.libraries import closure, is_library
from interceptor.node.bundle.piece import Kind, Piece

if TYPE_CHECKING:
    from interceptor.system.deadline import Deadline

_DIGITS = 20


class Contents(msgspec.Struct, frozen=True):
    """A bundle before it is laid: the files of its tree, and the plugin's launcher.

    ``loader`` is a path below the tree.
    """

    digest: str
    pieces: tuple[Piece, ...]
    loader: str
    launcher: bytes


def gather(deadline: Deadline, *, kubernetes: bool) -> Contents:
    """Find out what is in the bundle of this installation.

    The digest is that of what the files are made from, so that nothing has to be made to see
    whether the bundle is there.

    Raises:
        HostError: something of it is missing here.
        OSError: something of it cannot be read.
    """
    compiled = launcher.base(deadline)
    pieces = list(python.pieces(kubernetes=kubernetes))
    programs_at_sockets = list(sockets.pieces())
    by_name = (sockets.LIBBPF,) if programs_at_sockets else ()
    pieces += programs_at_sockets
    found = tools.tools()
    pieces += [tool.piece for tool in found]
    sources = {piece.path: piece.source for piece in pieces}
    programs = [sources[python.PROGRAM], *(tool.source for tool in found)]
    brought = [p.source for p in pieces if p.kind is Kind.FILE and is_library(p.path)]
    first = closure(programs, brought, deadline)
    extensions = list(tools.modules(first.libraries))
    loaded = [*brought, *(piece.source for piece in extensions)]
    needed = closure(programs, loaded, deadline, by_name)
    pieces += [*extensions, *needed.pieces()]
    for tool in found:
        for name in tool.names:
            content = launcher.for_tool(compiled, needed.loader_path, tool, name, tools.MODULES)
            pieces.append(Piece(f"{launcher.LAUNCHERS}/{name}", Kind.PROGRAM, content=content))
    by_path = {piece.path: piece for piece in pieces}
    whole = tuple(by_path[path] for path in sorted(by_path))
    digest = _digest(whole, compiled)
    started = launcher.for_plugin(compiled, needed.loader_path, digest)
    return Contents(digest, whole, needed.loader_path, started)


def _digest(pieces: tuple[Piece, ...], compiled: bytes) -> str:
    """Name a bundle by what it is made from: paths, kinds and contents."""
    said = hashlib.sha256(hashlib.sha256(compiled).digest())
    for piece in pieces:
        said.update(f"{piece.path}\0{piece.kind.value}\0".encode())
        said.update(hashlib.sha256(piece.read()).digest())
    return said.hexdigest()[:_DIGITS]
