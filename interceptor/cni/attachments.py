"""What ADD left behind for the other verbs: one small file for each attachment.

It is on the node, where nobody in a pod can write: CHECK and repair trust it, and not the record
that stands in the pod's own rules.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from interceptor.cni.protocol import CniError, Code
from interceptor.files import read_file
from interceptor.system import atomic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.operations.policy import Policy

_MOST_BYTES = 1 << 26
_SUFFIX = ".json"
_LONGEST_ID = 200
"""A file's name may have 255 bytes (NAME_MAX); runtimes use 64."""


class Attachment(msgspec.Struct, frozen=True, kw_only=True):
    """One interface of one container that we intercept.

    ``network`` is the name of the configuration, ``netns_inode`` the namespace's, ``settings``
    the whole policy as text, ``resolvers`` the name servers if the policy depends on them.
    ``netns_cookie`` is what programs at sockets know the namespace by, 0 where there are none;
    unlike an inode it is never used again.
    """

    container_id: str
    ifname: str
    network: str
    netns: str
    netns_inode: int
    namespace: str
    pod: str
    uid: str
    settings: dict[str, str]
    resolvers: tuple[str, ...] = ()
    version: str = ""
    netns_cookie: int = 0

    @property
    def policy(self) -> Policy:
        """What was meant at ADD.

        Raises:
            ConfigError: a setting of another version that this one does not read.
            SheetError: the sheet is gone.
        """
        from interceptor.layers import DEFAULTS, Layer, resolve
        from interceptor.operations.policy import Policy
        from interceptor.sheets import loader
        from interceptor.sources import sheet_layer

        sheet = loader.load(self.settings.get("sheet", DEFAULTS.values["sheet"]))
        layer = Layer(self.settings, lambda key: f"{key}, written at ADD by {self.version}")
        config = resolve([DEFAULTS, sheet_layer(sheet), layer]).config
        return Policy(config, sheet, "what ADD wrote down")


class Attachments:
    """The files in a directory.

    Args:
        directory: made at the first write.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def write(self, attachment: Attachment) -> None:
        """Write one, in the place of an older one.

        Raises:
            CniError: code 5.
        """
        self.prepare()
        try:
            path = self._path(attachment.container_id, attachment.ifname)
            atomic.replace_file(path, msgspec.json.encode(attachment), mode=0o600)
        except OSError as error:
            raise self._fault(error) from None

    def prepare(self) -> None:
        """Make the directory.

        Raises:
            CniError: code 5.
        """
        try:
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
        except OSError as error:
            raise self._fault(error) from None

    def read(self, container_id: str, ifname: str) -> Attachment | None:
        """Read one; ``None`` if there is none.

        Raises:
            CniError: code 5, it is there and cannot be read.
        """
        return self._read(self._path(container_id, ifname))

    def remove(self, container_id: str, ifname: str) -> bool:
        """Remove one, and say whether it was there.

        Raises:
            CniError: code 5.
        """
        try:
            return atomic.remove_file(self._path(container_id, ifname))
        except OSError as error:
            raise self._fault(error) from None

    def all(self) -> Iterator[Attachment]:
        """Give all that can be read; what another version wrote otherwise is left out.

        Raises:
            CniError: code 5, the directory.
        """
        try:
            names = sorted(os.listdir(self._directory))
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._fault(error) from None
        for name in names:
            if not name.endswith(_SUFFIX) or name.startswith("."):
                continue
            with suppress(CniError):
                # One that DEL removes meanwhile is none.
                if found := self._read(os.path.join(self._directory, name)):
                    yield found

    def _read(self, path: str) -> Attachment | None:
        try:
            return msgspec.json.decode(read_file(path, _MOST_BYTES), type=Attachment)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._fault(error) from None
        except ValueError as error:
            raise CniError(
                Code.IO, f"{path} cannot be read: {error}", "remove it and add the pod anew"
            ) from None

    def _path(self, container_id: str, ifname: str) -> str:
        if len(container_id) > _LONGEST_ID:
            import hashlib

            container_id = f"-{hashlib.sha256(container_id.encode()).hexdigest()}"
        # No container id has an @ or begins with a dash, so no two attachments have one name.
        return os.path.join(self._directory, f"{container_id}@{ifname}{_SUFFIX}")

    def _fault(self, error: OSError) -> CniError:
        return CniError(
            Code.IO,
            f"{self._directory}: {error.strerror}",
            "the state_dir must be a directory this plugin may write",
        )
