"""The static launcher, and what each copy of it is told to start (see launcher.c)."""

from __future__ import annotations

import os
import re
import struct
import tempfile
from typing import TYPE_CHECKING

import interceptor
from interceptor.errors import HostError
from interceptor.files import read_file
from interceptor.node.bundle.libraries import LIBRARIES
from interceptor.node.bundle.python import PROGRAM
from interceptor.system.command import find, run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interceptor.node.bundle.tools import Tool
    from interceptor.system.deadline import Deadline

NAME = "interceptor-cni"
HOME = ".interceptor"
"""Where the trees are, beside the launcher."""
LAUNCHERS = "sbin"

_HERE = os.path.dirname(os.path.abspath(__file__))
_SOURCE = os.path.join(_HERE, "launcher.c")
_BUILT = os.path.join(os.path.dirname(str(interceptor.__file__)), "_launcher", "launcher")
"""A wheel brings it compiled."""
_COMPILERS = ("cc", "gcc", "clang")
_compiled: dict[str, bytes] = {}
"""By whom; an agent lays the same down again and again."""
_MOST_BYTES = 1 << 20

_MARK = b"\177launch\0"
_FOOT = struct.Struct(f"=I{len(_MARK)}s")
_HINT = "run interceptor cni install again"
_PYTHON_FLAGS = ("-I", "-S", "-B", "-X", "utf8")
_MAIN = "from interceptor.cni.bundled import main; main()"


def base(deadline: Deadline) -> bytes:
    """Give the launcher as it is compiled, which a checkout does when it is first asked (0.1 s).

    Raises:
        HostError: it was not compiled when this was installed, and cannot be now.
        OSError: it cannot be read.
    """
    if os.path.exists(_BUILT):
        return read_file(_BUILT, _MOST_BYTES)
    compiler = next(filter(None, map(find, _COMPILERS)), None)
    if compiler is None:
        raise HostError(
            "the launcher is not compiled, and there is no C compiler to do it",
            hint="install gcc, or interceptor's wheel for this machine",
        )
    if compiler not in _compiled:
        _compiled[compiler] = _compile(compiler, deadline)
    return _compiled[compiler]


def _compile(compiler: str, deadline: Deadline) -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        made = os.path.join(directory, "launcher")
        outcome = run([compiler, *flags(), "-o", made, _SOURCE], deadline)
        if outcome.returncode != 0:
            said = [*outcome.stderr.splitlines(), "it does not say why"][0]
            raise HostError(f"the launcher cannot be compiled: {said}", hint="install gcc")
        return read_file(made, _MOST_BYTES)


def flags() -> list[str]:
    """Give the compiler's flags, which stand in the source."""
    text = read_file(_SOURCE, _MOST_BYTES).decode()
    return [
        flag for line in re.findall(r"^ \* cc: (.*)$", text, re.MULTILINE) for flag in line.split()
    ]


def for_plugin(compiled: bytes, loader: str, digest: str) -> bytes:
    """Give the launcher of the plugin, which knows its tree by its digest."""
    tree = f"@/{HOME}/{digest}"
    argv = (*_loaded(tree, loader, PROGRAM), *_PYTHON_FLAGS, "-c", _MAIN)
    return _with_trailer(compiled, (_HINT, tree, "", *argv))


def for_tool(compiled: bytes, loader: str, tool: Tool, name: str, modules: str) -> bytes:
    """Give the launcher of a tool, which stands in its tree."""
    environment = f"XTABLES_LIBDIR=@/../{modules}"
    argv = (*_loaded("@/..", loader, tool.path), *([name] if tool.words else []))
    return _with_trailer(compiled, ("", "@/..", environment, "", *argv))


def python(tree: str, loader: str, *arguments: str) -> tuple[str, ...]:
    """Give the command that starts a tree's Python."""
    return (*_loaded(tree, loader, PROGRAM), *_PYTHON_FLAGS, *arguments)


def digest_of(launcher: bytes) -> str | None:
    """Give the digest of the tree a plugin's launcher starts; ``None`` if it is none."""
    if len(launcher) < _FOOT.size:
        return None
    size, mark = _FOOT.unpack(launcher[-_FOOT.size :])
    if mark != _MARK:
        return None
    words = launcher[-_FOOT.size - size : -_FOOT.size].split(b"\0")
    start, tree = f"@/{HOME}/", words[1].decode(errors="replace") if words[1:] else ""
    return tree.removeprefix(start) if tree.startswith(start) else None


def _loaded(tree: str, loader: str, program: str) -> tuple[str, ...]:
    """Start a program by a loader that asks the host for nothing."""
    libraries = f"{tree}/{LIBRARIES}"
    return (
        f"{tree}/{loader}",
        "--inhibit-cache",
        "--library-path",
        libraries,
        f"{tree}/{program}",
    )


def _with_trailer(compiled: bytes, strings: Sequence[str]) -> bytes:
    words = b"".join(os.fsencode(string) + b"\0" for string in strings)
    return compiled + words + _FOOT.pack(len(words), _MARK)
