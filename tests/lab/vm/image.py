"""What a machine boots from: a kernel, and a file system in memory put together from layers.

Layers are cpio archives one after the other: Debian's packages, the kernel's modules, the
project with its ``.venv`` at the very path it has here (programs of a venv name it), and what
this run asks for.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

PROJECT = Path(__file__).parent.parent.parent.parent
_SCRIPTS = PROJECT / "tests" / "vm"
_TAKEN = (".venv", "bench", "docs", "interceptor", "rules", "tests")
_FILES = ("CHANGELOG.md", "LICENSE", "Makefile", "README.md", "pyproject.toml")
_LEFT_HERE = {
    *("ast_serialize", "aiohttp", "envoy", "grpc", "grpc_tools", "hatchling", "kubernetes"),
    *("librt", "mypy", "mypyc", "pip", "pydantic_core", "ruff", "setuptools", "tzdata"),
}
"""Big and not used by the tests that run inside."""


class Kernel(NamedTuple):
    """One of Debian's: what was asked for, and what that is."""

    name: str
    release: str
    package: str
    vmlinuz: Path
    modules: Path


def fetch(cache: Path, name: str) -> Kernel:
    """Have a kernel in the cache.

    Raises:
        subprocess.CalledProcessError: Debian has none of that name; it was said on stderr.
    """
    subprocess.run([str(_SCRIPTS / "kernel"), str(cache), name], check=True)
    there = cache / "kernels" / name
    release, package = ((there / part).read_text().strip() for part in ("release", "package"))
    return Kernel(name, release, package, there / "vmlinuz", there / "modules.cpio")


def base(cache: Path) -> Path:
    """Have the system inside in the cache."""
    argv = [str(_SCRIPTS / "base"), str(cache)]
    done = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True)
    return Path(done.stdout.strip())


def project(cache: Path) -> Path:
    """Have this checkout and its .venv in the cache, packed anew when a file has changed."""
    paths = sorted(_paths())
    summary = hashlib.sha256(str(PROJECT).encode())
    for path in paths:
        state = path.lstat()
        summary.update(f"{path} {state.st_mode} {state.st_size} {state.st_mtime_ns}\n".encode())
    there = cache / "project"
    made = there / f"{summary.hexdigest()[:16]}.cpio"
    if not made.exists():
        shutil.rmtree(there, ignore_errors=True)
        there.mkdir(parents=True)
        parents = sorted(parent for parent in PROJECT.parents if parent != Path("/"))
        _pack([*parents, PROJECT, *paths], Path("/"), made)
    return made


def _paths() -> Iterator[Path]:
    for name in _FILES:
        yield PROJECT / name
    for top in _TAKEN:
        yield PROJECT / top
        for directory, names, files in os.walk(PROJECT / top):
            names[:] = [name for name in names if name not in _LEFT_HERE]
            kept = [name for name in files if name not in _LEFT_HERE and "__mypyc" not in name]
            yield from (Path(directory, name) for name in (*names, *kept))


def asked(work: Path, arguments: Sequence[str]) -> Path:
    """Pack what one machine is asked to do: the first process, and pytest's arguments."""
    root = work / "asked"
    (root / "vm").mkdir(parents=True)
    shutil.copy2(_SCRIPTS / "init", root / "init")
    (root / "vm" / "project").write_text(f"{PROJECT}\n")
    (root / "vm" / "arguments").write_text("".join(f"{word}\n" for word in arguments))
    made = work / "asked.cpio"
    _pack([root / "init", root / "vm", *(root / "vm").iterdir()], root, made)
    return made


def _pack(paths: Iterable[Path], root: Path, to: Path) -> None:
    names = "".join(f"{path.relative_to(root)}\0" for path in paths)
    new = to.with_suffix(".new")
    with new.open("wb") as archive:
        subprocess.run(
            ["/usr/bin/cpio", "--quiet", "--create", "--null", "--format", "newc"],
            input=names.encode(),
            stdout=archive,
            cwd=root,
            check=True,
        )
    new.replace(to)


def join(layers: Iterable[Path], to: Path) -> None:
    """Put layers into one file; each begins where the one before it ends."""
    with to.open("wb") as joined:
        for layer in layers:
            with layer.open("rb") as part:
                shutil.copyfileobj(part, joined, 1 << 20)
