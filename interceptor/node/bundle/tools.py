"""nft and iptables, with the modules iptables loads, under the names they are asked for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from interceptor.errors import HostError
from interceptor.node.bundle.piece import Piece, copied, program
from interceptor.system.command import find

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAMS, MODULES = "libexec", "lib/xtables"
_OPERATIONS = ("", "-save", "-restore")
_FAMILIES = ("iptables", "ip6tables")
_MODULES_BESIDE = "libxtables.so.12"
_OTHER_TOOLS = ("libebt_", "libarpt_")
"""Modules of ebtables and arptables."""
_MODULE_DIRECTORIES = ("/usr/lib/xtables", "/usr/lib64/xtables", "/usr/local/lib/xtables")


class Tool(msgspec.Struct, frozen=True):
    """A program of this host, and the names it answers to.

    ``names`` are what the launchers are called; ``words`` whether a name is also said to the
    program, as its first argument.
    """

    source: str
    names: tuple[str, ...]
    words: bool

    @property
    def path(self) -> str:
        """Where in a bundle it is."""
        return f"{PROGRAMS}/{os.path.basename(self.source)}"

    @property
    def piece(self) -> Piece:
        """The program itself."""
        return program(self.path, self.source)


def tools() -> tuple[Tool, ...]:
    """Give the tools this host has.

    Raises:
        HostError: it has none at all.
    """
    found = [Tool(os.path.realpath(nft), ("nft",), words=False)] if (nft := find("nft")) else []
    for variant in ("nft", "legacy"):
        if multi := find(f"xtables-{variant}-multi"):
            names = tuple(f"{f}-{variant}{o}" for f in _FAMILIES for o in _OPERATIONS)
            found.append(Tool(os.path.realpath(multi), names, words=True))
    if not found:
        raise HostError(
            "there is neither nft nor iptables to lay down", hint="install nftables or iptables"
        )
    return tuple(found)


def modules(libraries: dict[str, str]) -> Iterator[Piece]:
    """Give what iptables loads for matches and targets, from where its own library looks."""
    beside = os.path.dirname(libraries.get(_MODULES_BESIDE, ""))
    for directory in (f"{beside}/xtables", f"/usr{beside}/xtables", *_MODULE_DIRECTORIES):
        if beside and os.path.isdir(directory):
            for name in sorted(os.listdir(directory)):
                if name.endswith(".so") and not name.startswith(_OTHER_TOOLS):
                    yield copied(f"{MODULES}/{name}", os.path.join(directory, name))
            return
