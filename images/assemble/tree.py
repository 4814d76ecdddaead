"""The files of an image: each with whose it is, and none with a time of its own."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

FILE, PROGRAM = 0o644, 0o755
_ROOT_DIRECTORIES = {"dev": 0o755, "proc": 0o555, "run": 0o755, "sys": 0o555, "tmp": 0o1777}
"""Empty: what a runtime mounts something over, which it cannot make where nothing is written."""
_LINKS = {name: f"usr/{name}" for name in ("bin", "lib", "lib64", "sbin")}


@dataclass(frozen=True)
class File:
    """One file; ``owner`` is a package's name in the bill of materials."""

    content: bytes
    mode: int
    owner: str


@dataclass
class Tree:
    """Files and symbolic links, by their path below the root."""

    files: dict[str, File] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=lambda: dict(_LINKS))

    def add(self, path: str, content: bytes, owner: str, mode: int = FILE) -> None:
        """Put a file there."""
        self.files[path] = File(content, mode, owner)

    def write(self, root: Path, time_s: int) -> None:
        """Write it all, as if it had been at one time, in the order of names."""
        os.umask(0)
        for name, mode in _ROOT_DIRECTORIES.items():
            (root / name).mkdir(mode, parents=True)
        for path, file in sorted(self.files.items()):
            target = root / path
            target.parent.mkdir(0o755, parents=True, exist_ok=True)
            target.write_bytes(file.content)
            target.chmod(file.mode)
        for path, aim in sorted(self.links.items()):
            target = root / path
            target.parent.mkdir(0o755, parents=True, exist_ok=True)
            target.symlink_to(aim)
        for directory, directories, names in os.walk(root, topdown=False):
            for name in (*directories, *names, "."):
                os.utime(os.path.join(directory, name), (time_s, time_s), follow_symlinks=False)
