"""The directory of network configurations: what loaders see there, and in which order."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from interceptor.errors import InterceptorError
from interceptor.files import read_file
from interceptor.node import network_list
from interceptor.system import holding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.node.network_list import NetworkList
    from interceptor.system.deadline import Deadline

_MOST = 1 << 24
"""Bytes; containerd takes less."""
_MOST_LINKS = 40


class ChangedError(InterceptorError):
    """Somebody else changed a file between our reading and our writing."""

    usual_hint = "another program writes it again and again; see which"


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the directory.

    ``path`` is where its content is, behind any link. Of ``network`` and ``fault``, half a
    sentence, there is one.
    """

    name: str
    path: str
    content: bytes = b""
    mode: int = 0o644
    owner: tuple[int, int] = (0, 0)
    network: NetworkList | None = None
    fault: str = ""

    @property
    def has_ours(self) -> bool:
        """Whether it is valid and names our plugin."""
        return self.network is not None and bool(self.network.ours)


class Directory:
    """A directory of network configurations.

    Args:
        path: as this process sees it.
        root: where this process sees the node's root, which absolute links begin at.
    """

    def __init__(self, path: str, root: str = "/") -> None:
        self.path = path
        self._root = root.rstrip("/")

    def join(self, name: str) -> str:
        """Give a name's path, without following links."""
        return os.path.join(self.path, name)

    @contextmanager
    def locked(self, deadline: Deadline) -> Iterator[None]:
        """Keep others of us out while several files are changed."""
        with holding.alone(self.path, deadline):
            yield

    def files(self) -> tuple[File, ...]:
        """Read all that loaders look at, in their order; none if there is no directory."""
        try:
            names = os.listdir(self.path)
        except FileNotFoundError:
            return ()
        wanted = [
            name for name in names if network_list.extension(name) in network_list.EXTENSIONS
        ]
        read = [self.read(name) for name in sorted(wanted, key=os.fsencode)]
        return tuple(file for file in read if file is not None)

    def read(self, name: str, like: str = "") -> File | None:
        """Read one file.

        Args:
            name: its name.
            like: a name whose extension says how to read it, if its own does not.

        Returns:
            The file; ``None`` if there is none, or a directory, which loaders pass over.
        """
        at = self.join(name)
        if not os.path.lexists(at) or (os.path.isdir(at) and not os.path.islink(at)):
            return None
        path = self._behind_links(at)
        try:
            content = read_file(path, _MOST)
            found = os.stat(path)
        except (OSError, ValueError) as error:
            if not os.path.lexists(at):
                return None  # it went away just now
            reason = (isinstance(error, OSError) and error.strerror) or str(error)
            return File(name=name, path=path, fault=f"it cannot be read: {reason}")
        network, fault = None, ""
        try:
            network = network_list.read(like or name, content)
        except ValueError as error:
            fault = str(error)
        return File(
            name=name,
            path=path,
            content=content,
            mode=stat.S_IMODE(found.st_mode),
            owner=(found.st_uid, found.st_gid),
            network=network,
            fault=fault,
        )

    def still(self, file: File) -> None:
        """See that a file is as it was read.

        Raises:
            ChangedError: it is not.
        """
        now = self.read(file.name)
        if now is None or now.content != file.content or now.path != file.path:
            raise ChangedError(f"{self.join(file.name)} changed while it was being worked on")

    def _behind_links(self, path: str) -> str:
        """Follow links as the node itself would."""
        for _ in range(_MOST_LINKS):
            if not os.path.islink(path):
                break
            target = os.readlink(path)
            base = self._root if target.startswith("/") else f"{os.path.dirname(path)}/"
            path = base + target
        return path
