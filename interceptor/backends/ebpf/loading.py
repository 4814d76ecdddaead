"""Have the programs of this version attached: at the root of the cgroup tree, and to each pod."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from interceptor.backends.ebpf import PODS
from interceptor.backends.ebpf.store import MAPS
from interceptor.system import bpffs, libbpf
from interceptor.system.libbpf import CGROUP_KINDS, SK_LOOKUP

if TYPE_CHECKING:
    from interceptor.backends.ebpf.programs import Programs
    from interceptor.backends.ebpf.store import Store


def load(store: Store, programs: Programs) -> None:
    """Load and attach what is not attached yet, and replace what is of another version.

    Each program is replaced by one call of the kernel; maps stay. So there is no moment without.

    Raises:
        HostError: this machine cannot.
    """
    wanted = programs.digest()
    # Refuses what another version made, before anything is added to it.
    store.open()
    if store.attached() == sorted(CGROUP_KINDS) and store.names("maps") == sorted(MAPS):
        store.sweep()
        if store.state().digest == wanted:
            return
    for directory in ("maps", "links", PODS):
        os.makedirs(store.path(directory), mode=0o700, exist_ok=True)
    cgroup = bpffs.open_root_cgroup()
    try:
        with programs.of_machine(store) as loaded:
            store.open()
            store.sweep()
            for name, program in loaded.items():
                _hang_up(store.path("links", name), program, cgroup, CGROUP_KINDS[name])
    finally:
        os.close(cgroup)
    for cookie in store.linked():
        if store.inode(cookie):
            link_pod(store, programs, cookie, None)
    store.note(digest=wanted)


def link_pod(store: Store, programs: Programs, cookie: int, netns: int | None) -> None:
    """Attach a copy of the inbound program to a pod that has none.

    Args:
        store: where its link is pinned.
        programs: where the copy comes from.
        cookie: the pod's.
        netns: its open namespace; ``None`` to replace the copy it has.
    """
    path = store.pod_pin(cookie)
    if netns is not None:
        if store.inode(cookie):
            return
        libbpf.detach(path)
    with programs.of_pod(store, cookie) as program:
        if netns is not None:
            libbpf.attach(program, netns, SK_LOOKUP, path)
        elif (link := libbpf.open_pin(path)) is not None:
            try:
                libbpf.replace_program(link, program)
            finally:
                os.close(link)


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
