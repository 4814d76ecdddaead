"""Puts our entry into the network configuration that loaders take, and takes it out again.

At every instant a loader finds a valid configuration: each file changes in one step, and of two
steps the first makes the new state and the second removes the old one. What a killed run left is
finished by the next.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeVar

import msgspec

from interceptor.cni.versions import VERSIONS
from interceptor.errors import HostError
from interceptor.node import network_list
from interceptor.node.directory import ChangedError, Directory, File
from interceptor.system import atomic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from interceptor.node.network_list import NetworkList

SAVED = ".interceptor-saved"
"""Extension of a file that was there before us, for ``take_out``; no loader takes it."""

OWN = "00-interceptor.conflist"
"""Our copy of the first configuration, if pods are to wait for us after a reboot."""

_TURNS = 5

_T = TypeVar("_T")


class NoNetworkError(HostError):
    """There is no network configuration our entry could go into."""

    usual_hint = (
        "install the cluster's own CNI plugin first, or have it waited for: cni install --watch"
    )


class Spliced(msgspec.Struct, frozen=True):
    """Where our entry is, what that took, and what a person should know.

    ``inserted`` is whether a configuration had to be changed, ``changed`` whether anything had.
    """

    name: str
    inserted: bool
    changed: bool
    notes: tuple[str, ...] = ()


def is_own(file: File) -> bool:
    """Whether it is our copy, as it is or damaged."""
    return file.name == OWN and (file.network is None or file.has_ours)


def primary(files: Iterable[File]) -> File | None:
    """Give what loaders would take if our copy were not there."""
    return next((f for f in files if f.network is not None and not is_own(f)), None)


def notes(files: Iterable[File], first: str) -> tuple[str, ...]:
    """Say which files before the first valid one are none."""
    return tuple(
        f"{file.name} is no network configuration: {file.fault}; "
        "containerd starts no pods while it comes first"
        for file in files
        if file.network is None
        and not is_own(file)
        and os.fsencode(file.name) < os.fsencode(first)
    )


class Splicer:
    """Works on one directory, whose lock its caller holds."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def put_in(self, entry: bytes) -> Spliced:
        """Put our entry last into the first valid configuration, and into no other.

        Raises:
            NoNetworkError: there is none.
            HostError: our plugin cannot work there.
            OSError: a file cannot be written.
        """
        return _again_if_changed(lambda: self._put_in(entry))

    def copy(self, entry: bytes) -> Spliced:
        """Make a file of our own that comes first: a copy of the other first one, with our entry.

        Raises:
            NoNetworkError: there is none.
            HostError: our plugin cannot work there, or our file would not come first.
            OSError: a file cannot be written.
        """
        return _again_if_changed(lambda: self._copy(entry))

    def take_out(self) -> bool:
        """Take our entry out of all files, and say whether there was anything of ours.

        A file that nobody else changed meanwhile is then what it was, byte for byte.
        """
        return _again_if_changed(self._take_out)

    def _put_in(self, entry: bytes) -> Spliced:
        atomic.remove_leftovers(self._directory.path)
        files = self._directory.files()
        first, network = self._usable(files)
        if network_list.is_list(first.name):
            name, changed = first.name, self._rewrite(first, network.with_ours(entry))
        else:
            name, changed = self._convert(first, network.with_ours(entry), files), True
        for file in files:
            if file.name in (name, first.name):
                continue
            if is_own(file):
                changed |= atomic.remove_file(self._directory.join(OWN))
            elif file.has_ours:
                self._restore(file)
                changed = True
            elif file.name in _origins(name) and _same(file.network, network.without_ours()):
                self._set_aside(file.name)  # a run was killed between the two steps
                changed = True
        changed |= self._forget({f"{one}{SAVED}" for one in (name, *_origins(name))})
        return Spliced(name, changed, changed, notes(files, name))

    def _copy(self, entry: bytes) -> Spliced:
        atomic.remove_leftovers(self._directory.path)
        files = self._directory.files()
        first, network = self._usable(files)
        if os.fsencode(first.name) < os.fsencode(OWN):
            raise HostError(
                f"{first.name} comes before {OWN}, so --fail-closed cannot hold",
                hint="have its maker give it a later name, or leave --fail-closed out",
            )
        wanted = network.with_ours(entry)
        own = next((file for file in files if file.name == OWN), None)
        changed = not (own and _same(own.network, wanted))
        if changed:
            atomic.replace_file(
                self._directory.join(OWN),
                wanted.encode(),
                mode=first.mode,
                owner=first.owner,
                before=lambda: self._directory.still(first),
            )
        for file in files:
            if file.has_ours and not is_own(file):
                self._restore(file)
                changed = True
        changed |= self._forget(set())
        return Spliced(OWN, changed, changed, notes(files, OWN))

    def _take_out(self) -> bool:
        changed = False
        for file in self._directory.files():
            if is_own(file):
                changed |= atomic.remove_file(self._directory.join(OWN))
            elif file.has_ours:
                self._restore(file)
                changed = True
        atomic.remove_leftovers(self._directory.path)
        return self._forget(set()) or changed

    def _forget(self, needed: set[str]) -> bool:
        """Remove what was saved and is not needed any more, and say whether there was any."""
        saved = [name for name in os.listdir(self._directory.path) if name.endswith(SAVED)]
        removed = [
            atomic.remove_file(self._directory.join(name)) for name in saved if name not in needed
        ]
        return any(removed)

    def _usable(self, files: tuple[File, ...]) -> tuple[File, NetworkList]:
        """Give the first valid configuration, and see that pods would start with our entry."""
        first = primary(files)
        if first is None or first.network is None:
            raise NoNetworkError(f"there is no network configuration in {self._directory.path}")
        network = first.network
        if not network.without_ours().plugins:
            raise HostError(
                f"{first.name} names no plugin but {network_list.PLUGIN}",
                hint="our plugin goes behind another, which makes the pod's interface",
            )
        if network.version not in VERSIONS:
            raise HostError(
                f"{first.name} is of CNI version {network.version or 'none'}, "
                f"which {network_list.PLUGIN} does not speak",
                hint=f"write one of {', '.join(VERSIONS)} as its cniVersion",
            )
        return first, network

    def _rewrite(self, file: File, wanted: NetworkList) -> bool:
        """Put our entry into a list; what was there is saved first."""
        if _same(file.network, wanted):
            return False
        if not file.has_ours:
            self._write(self._directory.join(file.name + SAVED), file, file.content)
        self._write(file.path, file, wanted.encode())
        return True

    def _convert(self, single: File, wanted: NetworkList, files: tuple[File, ...]) -> str:
        """Put a list in the place of a single configuration and give its name.

        Of the two the single one sorts first, or both are valid: a loader has one at any time.
        """
        name = self._list_name(single.name, files)
        self._write(self._directory.join(name), single, wanted.encode())
        self._set_aside(single.name)
        return name

    def _list_name(self, single: str, files: tuple[File, ...]) -> str:
        """Choose a name that nobody else has, next to the single configuration's."""
        others = {file.name for file in files if not file.has_ours}
        stem = single.removesuffix(network_list.extension(single))
        for name in (stem + network_list.LIST_EXTENSION, single + network_list.LIST_EXTENSION):
            if name not in others:
                return name
        raise HostError(
            f"{single} cannot become a list: {name} is another's",
            hint="remove the one of both that is not used",
        )

    def _restore(self, file: File) -> None:
        """Take our entry out of one file; put back what was there if nobody else changed it."""
        at = self._directory.join(file.name)
        rest = file.network.without_ours() if file.network else None
        if rest is None or not rest.plugins:
            atomic.remove_file(at)
            return
        for name in _origins(file.name):
            there = self._directory.read(name)
            saved = self._directory.read(name + SAVED, like=name)
            if not any(one and _same(one.network, rest) for one in (there, saved)):
                continue
            if there is None:
                atomic.move_file(self._directory.join(name + SAVED), self._directory.join(name))
            atomic.remove_file(at)
            atomic.remove_file(self._directory.join(name + SAVED))
            return
        saved = self._directory.read(file.name + SAVED, like=file.name)
        unchanged = saved is not None and _same(saved.network, rest)
        self._write(file.path, file, saved.content if saved and unchanged else rest.encode())
        for name in (file.name, *_origins(file.name)):
            atomic.remove_file(self._directory.join(name + SAVED))

    def _write(self, path: str, model: File, content: bytes) -> None:
        """Write a file with another's mode and owner, if that is still as it was read."""
        atomic.replace_file(
            path,
            content,
            mode=model.mode,
            owner=model.owner,
            before=lambda: self._directory.still(model),
        )

    def _set_aside(self, name: str) -> None:
        """Rename a single configuration, be it a link, so that no loader takes it."""
        path = self._directory.join(name)
        atomic.move_file(path, path + SAVED)


def _again_if_changed(step: Callable[[], _T]) -> _T:
    for _ in range(_TURNS - 1):
        try:
            return step()
        except (ChangedError, FileNotFoundError):
            continue
    return step()


def _same(one: NetworkList | None, other: NetworkList) -> bool:
    return one is not None and one.means(other)


def _origins(name: str) -> tuple[str, ...]:
    """Give the names of the single configurations that a list may have been made of."""
    stem = name.removesuffix(network_list.LIST_EXTENSION)
    itself = (stem,) if network_list.extension(stem) in network_list.SINGLE_EXTENSIONS else ()
    return (*(stem + extension for extension in network_list.SINGLE_EXTENSIONS), *itself)
