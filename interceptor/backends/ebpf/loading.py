"""Have the programs of this version attached: at the root of the cgroup tree, and to each pod."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from interceptor.backends.ebpf import layout
from interceptor.backends.ebpf.store import MAPS
from interceptor.errors import HostError
from interceptor.system import bpffs, libbpf
from interceptor.system.libbpf import CGROUP_KINDS, SK_LOOKUP, Object

if TYPE_CHECKING:
    from interceptor.backends.ebpf.store import Store

_HERE = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
_PROGRAMS = os.path.join(_HERE, "_bpf", "interceptor.bpf.o")
_INBOUND = os.path.join(_HERE, "_bpf", "inbound.bpf.o")


def digest() -> bytes:
    """Give 32 bytes that are another's for every other version of the programs."""
    return hashlib.sha256(_read(_PROGRAMS) + _read(_INBOUND)).digest()


def load(store: Store) -> None:
    """Load and attach what is not attached yet, and replace what is of another version.

    Each program is replaced by one call of the kernel; maps stay. So there is no moment without.

    Raises:
        HostError: this machine cannot.
    """
    wanted = digest()
    if store.attached() == sorted(CGROUP_KINDS) and store.names("maps") == sorted(MAPS):
        store.open()
        store.sweep()
        if store.state().digest == wanted:
            return
    for directory in ("maps", "links", "pods"):
        os.makedirs(store.path(directory), mode=0o700, exist_ok=True)
    cgroup = bpffs.open_root_cgroup()
    loaded = _object(_PROGRAMS, store)
    try:
        loaded.load()
        store.open()
        store.sweep()
        for name, program in loaded.programs().items():
            _hang_up(store.path("links", name), program, cgroup, CGROUP_KINDS[name])
    finally:
        loaded.close()
        os.close(cgroup)
    for cookie in store.linked():
        if store.inode(cookie):
            link_pod(store, cookie, None)
    store.note(digest=wanted)


def link_pod(store: Store, cookie: int, netns: int | None) -> None:
    """Attach a copy of the inbound program to a pod that has none.

    Args:
        store: where its link is pinned.
        cookie: the pod's.
        netns: its open namespace; ``None`` to replace the copy it has.
    """
    path = store.path("pods", str(cookie))
    if netns is not None:
        if store.inode(cookie):
            return
        libbpf.detach(path)
    loaded = _object(_INBOUND, store)
    try:
        loaded.set_constant(layout.POD_KEY.pack(cookie))
        loaded.load()
        [program] = loaded.programs().values()
        if netns is not None:
            libbpf.attach(program, netns, SK_LOOKUP, path)
        elif (link := libbpf.open_pin(path)) is not None:
            try:
                libbpf.replace_program(link, program)
            finally:
                os.close(link)
    finally:
        loaded.close()


def _hang_up(path: str, program: int, target: int, kind: int) -> None:
    """Attach a program, or put it in the place of another version of it."""
    link = libbpf.open_pin(path)
    if link is not None:
        try:
            if libbpf.replace_program(link, program):
                return
        finally:
            os.close(link)
        libbpf.detach(path)
    libbpf.attach(program, target, kind, path)


def _object(path: str, store: Store) -> Object:
    made = Object(_read(path), os.path.basename(path))
    made.share_maps(store.path("maps"), frozenset(MAPS))
    return made


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise HostError(
            f"the compiled programs are missing: {path}: {error.strerror}",
            hint="install a wheel that has them, or run make bpf in a checkout",
        ) from None
