"""One bundle's files on disk: made, looked over, mended."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from typing import TYPE_CHECKING

import msgspec

from interceptor import __version__
from interceptor.files import read_file
from interceptor.node.bundle.piece import FILE_MODE

if TYPE_CHECKING:
    from interceptor.node.bundle.contents import Contents
    from interceptor.system.deadline import Deadline

MANIFEST = "manifest"
_MOST_BYTES = 1 << 28
_DIRECTORY_MODE = 0o755


class Laid(msgspec.Struct, frozen=True):
    """What is in a directory of CNI plugins.

    Args:
        present: whether there is a launcher.
        version: the interceptor's, or empty if that cannot be told.
        digest: the tree's name, or empty.
        intact: whether everything is as it was laid.
    """

    present: bool
    version: str
    digest: str
    intact: bool


class Manifest(msgspec.Struct, frozen=True):
    """What a tree is to hold: of each file its permissions and its hash, by its path."""

    version: str
    launcher: str
    files: dict[str, tuple[int, str]]

    def text(self) -> str:
        """Write it: a line for the bundle, then one a file."""
        lines = [f"{self.version} {self.launcher}"]
        lines += [f"{mode:o} {said} {path}" for path, (mode, said) in self.files.items()]
        return "".join(f"{line}\n" for line in lines)


def write_file(path: str, content: bytes, mode: int) -> None:
    """Write a new file with the permissions it is to have, whatever the umask.

    Raises:
        OSError: it cannot be written, or it is there.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(content)


def make(tree: str, contents: Contents, deadline: Deadline) -> None:
    """Make a tree where nothing is; it is not on disk yet.

    Raises:
        DeadlineError: it took too long.
        OSError: it cannot be made.
    """
    made: set[str] = set()
    files: dict[str, tuple[int, str]] = {}
    for piece in contents.pieces:
        deadline.remaining("laying the bundle down")
        path = os.path.join(tree, piece.path)
        _make_directories(os.path.dirname(path), made)
        content = piece.make()
        write_file(path, content, piece.mode)
        files[piece.path] = (piece.mode, hash_of(content))
    manifest = Manifest(__version__, hash_of(contents.launcher), files)
    write_file(os.path.join(tree, MANIFEST), manifest.text().encode(), FILE_MODE)


def look_over(tree: str) -> Manifest | None:
    """Give a tree's manifest if the tree is what it says, file by file; else ``None``."""
    try:
        manifest = _read_manifest(tree)
        if _held(tree) != {*manifest.files, MANIFEST}:
            return None
        for path, (mode, said) in manifest.files.items():
            there = os.path.join(tree, path)
            status = os.lstat(there)
            if not stat.S_ISREG(status.st_mode) or stat.S_IMODE(status.st_mode) != mode:
                return None
            if hash_of(read_file(there, _MOST_BYTES)) != said:
                return None
    except (OSError, ValueError):
        return None
    return manifest


def mend(tree: str, fresh: str) -> None:
    """Put what a fresh tree has in the place of what is wrong in another, one file at a time.

    Calls that run from it go on: no file that is right is touched, none is ever missing.

    Raises:
        OSError: it cannot be done.
    """
    wanted = _held(fresh)
    # First, as a link where a directory belongs shows what is right in the wrong place.
    for path in _held(tree) - wanted:
        os.unlink(os.path.join(tree, path))
    for path in sorted(wanted):
        there, good = os.path.join(tree, path), os.path.join(fresh, path)
        if _same(there, good):
            continue
        if os.path.isdir(there) and not os.path.islink(there):
            shutil.rmtree(there)
        _make_directories(os.path.dirname(there), set())
        os.rename(good, there)


def hash_of(content: bytes) -> str:
    """Hash what is in a file."""
    return hashlib.sha256(content).hexdigest()


def _read_manifest(tree: str) -> Manifest:
    """Read it.

    Raises:
        OSError: it is not there.
        ValueError: it is none.
    """
    text = read_file(os.path.join(tree, MANIFEST), _MOST_BYTES).decode()
    first, *lines = text.splitlines()
    version, launcher = first.split(" ")
    rows = (line.split(" ", 2) for line in lines)
    return Manifest(version, launcher, {path: (int(mode, 8), said) for mode, said, path in rows})


def _held(tree: str) -> set[str]:
    """Give the paths below a tree of all that is no directory; a link to one is none."""
    found = set()
    for directory, directories, names in os.walk(tree):
        links = [d for d in directories if os.path.islink(os.path.join(directory, d))]
        found |= {os.path.relpath(os.path.join(directory, n), tree) for n in [*names, *links]}
    return found


def _same(there: str, good: str) -> bool:
    try:
        one, other = os.lstat(there), os.lstat(good)
        return one.st_mode == other.st_mode and (
            read_file(there, _MOST_BYTES) == read_file(good, _MOST_BYTES)
        )
    except (OSError, ValueError):
        return False


def _make_directories(path: str, made: set[str]) -> None:
    if path in made or os.path.isdir(path):
        return
    _make_directories(os.path.dirname(path), made)
    os.mkdir(path)
    os.chmod(path, _DIRECTORY_MODE)
    made.add(path)
