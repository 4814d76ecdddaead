"""The installation on a node: a bundle, a kubeconfig if wanted, our entry, a ready file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec

from interceptor import __version__
from interceptor.errors import HostError
from interceptor.node.directory import Directory
from interceptor.node.kubeconfig import Kubeconfig
from interceptor.node.network_list import PLUGIN
from interceptor.node.place import Place
from interceptor.node.splice import Spliced, Splicer
from interceptor.system import atomic

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from interceptor.system.deadline import Deadline

_T = TypeVar("_T")

BIN_DIR, CONF_DIR = "/opt/cni/bin", "/etc/cni/net.d"
"""Where runtimes look, unless they are told otherwise."""

READY_FILE = "/run/interceptor/ready"
"""On a file system that a reboot empties."""


class Laid(Protocol):
    """What is known of a bundle that is there or not."""

    @property
    def present(self) -> bool:
        """Whether there is one."""

    @property
    def version(self) -> str:
        """Of the interceptor in it."""

    @property
    def digest(self) -> str:
        """Of all its files."""

    @property
    def intact(self) -> bool:
        """Whether its files are what they were."""


class Bundle(Protocol):
    """What puts the plugin's program, and all it needs, into the directory runtimes start from."""

    def lay(self, bin_dir: str, deadline: Deadline, *, kubernetes: bool = False) -> bool:
        """Make it present and intact, and say whether that took a change."""

    def remove(self, bin_dir: str) -> bool:
        """Remove it, and say whether it was there."""

    def inspect(self, bin_dir: str) -> Laid:
        """Look at it."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted on a node; paths are the node's, but ``account``.

    ``entry`` is our entry as JSON; ``kubeconfig`` is ``""`` if none is wanted.
    """

    entry: bytes
    place: Place = Place()
    bin_dir: str = BIN_DIR
    conf_dir: str = CONF_DIR
    fail_closed: bool = False
    ready_file: str = READY_FILE
    kubeconfig: str = ""
    account: str = ""


class Installation:
    """Brings a node to what is wanted, and back."""

    def __init__(
        self, options: Options, bundle: Bundle, environment: Mapping[str, str] = os.environ
    ) -> None:
        self._options = options
        self._bundle = bundle
        self._environment = environment
        here = options.place.here
        self.bin_dir = here(options.bin_dir)
        self.conf_dir = here(options.conf_dir)
        self._ready = here(options.ready_file)
        self._directory = Directory(self.conf_dir, options.place.root)

    @property
    def directories(self) -> tuple[str, ...]:
        """Give the directories whose files decide what there is to do, as this process sees them.

        The first is that of network configurations.
        """
        options = self._options
        return (
            self.conf_dir,
            self.bin_dir,
            *((options.account,) if options.kubeconfig else ()),
            *((os.path.dirname(self._ready),) if options.fail_closed else ()),
        )

    def install(self, deadline: Deadline, *, program: bool = True) -> Spliced:
        """Put the program there first, and then the entry that has it called.

        Args:
            deadline: for all of it.
            program: whether to look at every file of the program, or only whether there is one.

        Raises:
            NoNetworkError: there is no network configuration yet.
            HostError: this node cannot; a file cannot be written.
            DeadlineError: another installer held the directory for too long.
        """
        try:
            return _told(lambda: self._install(deadline, program=program))
        except BaseException:
            # Nobody knows any more whether the copy is what it should be.
            if self._options.fail_closed:
                atomic.remove_file(self._ready)
            raise

    def _install(self, deadline: Deadline, *, program: bool) -> Spliced:
        options = self._options
        changed = False
        if program or not os.path.exists(os.path.join(self.bin_dir, PLUGIN)):
            os.makedirs(self.bin_dir, exist_ok=True)
            kubernetes = bool(options.kubeconfig)
            changed = self._bundle.lay(self.bin_dir, deadline, kubernetes=kubernetes)
        os.makedirs(self.conf_dir, exist_ok=True)
        with self._directory.locked(deadline):
            if options.kubeconfig:
                changed |= self._kubeconfig().lay(self._environment)
            splicer = Splicer(self._directory)
            if options.fail_closed:
                done = splicer.copy(options.entry)
                changed |= self._make_ready()
            else:
                done = splicer.put_in(options.entry)
                atomic.remove_file(self._ready)
        return msgspec.structs.replace(done, changed=done.changed or changed)

    def uninstall(self, deadline: Deadline) -> bool:
        """Take the entry out first, then what it needs, and say whether anything was there.

        Raises:
            HostError: a file cannot be changed or removed.
            DeadlineError: another installer held the directory for too long.
        """
        return _told(lambda: self._uninstall(deadline))

    def _uninstall(self, deadline: Deadline) -> bool:
        changed = False
        if os.path.isdir(self.conf_dir):
            with self._directory.locked(deadline):
                kubeconfigs = {self._options.kubeconfig} | self._said("lookup", "kubeconfig")
                ready_files = {self._options.ready_file} | self._said("ready_file")
                changed = Splicer(self._directory).take_out()
                for path in ready_files:
                    changed |= atomic.remove_file(self._options.place.here(path))
                for path in kubeconfigs - {""}:
                    changed |= Kubeconfig(path, self._options.place).remove()
        return self._bundle.remove(self.bin_dir) or changed

    def _said(self, *keys: str) -> set[str]:
        """Give the paths that our entries name under some key."""
        found = set()
        for file in self._directory.files():
            for entry in file.network.ours if file.network else ():
                value = msgspec.json.decode(entry).get("interceptor")
                for key in keys:
                    value = value.get(key) if isinstance(value, dict) else None
                if isinstance(value, str) and value.startswith("/"):
                    found.add(value)
        return found

    def _kubeconfig(self) -> Kubeconfig:
        options = self._options
        return Kubeconfig(options.kubeconfig, options.place, options.account)

    def _make_ready(self) -> bool:
        if os.path.exists(self._ready):
            return False
        os.makedirs(os.path.dirname(self._ready), exist_ok=True)
        atomic.replace_file(self._ready, f"{__version__}\n".encode())
        return True


def _told(step: Callable[[], _T]) -> _T:
    """Say in our words what a system call could not do."""
    try:
        return step()
    except OSError as error:
        what = error.filename2 or error.filename or "a file"
        raise HostError(
            f"{what} cannot be changed: {error.strerror}",
            hint="the directories must be writable, and the disk not full; nothing is half done",
        ) from None
