"""Sets of programs and maps that other versions of this program left, with other layouts.

What is in their maps is not read. What all versions have in common is where things are::

    PIN_ROOT/LAYOUT/maps/pods    the policies: a policy is gone with its key, the pod's cookie
    PIN_ROOT/LAYOUT/pods/COOKIE  the link of each pod that has a policy

So a version that takes over can enforce a pod's policy by its own programs, and have the pod let
go by the others after that.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from interceptor.backends.ebpf import PODS, layout
from interceptor.backends.ebpf.store import target
from interceptor.system import bpffs, libbpf
from interceptor.system.bpf_map import Map

if TYPE_CHECKING:
    from interceptor.system.deadline import Deadline


def elders(pin_root: str) -> tuple[str, ...]:
    """Give the directories of other versions' sets."""
    others = {int(name) for name in _names(pin_root) if name.isdecimal()} - {layout.LAYOUT}
    return tuple(os.path.join(pin_root, str(other)) for other in sorted(others))


def holds(pin_root: str, cookie: int) -> bool:
    """Whether a pod is in one of them."""
    return any(cookie in _pods(elder) for elder in elders(pin_root))


def let_go(pin_root: str, deadline: Deadline, cookie: int = 0) -> tuple[int, ...]:
    """Have others enforce nothing for a pod, nor for namespaces that are no more.

    A set without pods is taken away, programs and maps.

    Args:
        pin_root: where all sets are.
        deadline: for waiting until nobody changes them.
        cookie: the pod's; 0 for none but those that are gone.

    Returns:
        The cookies of those that were let go.

    Raises:
        InterceptorError: why not.
    """
    gone: list[int] = []
    for elder in elders(pin_root):
        with bpffs.locked(elder, deadline):
            pods = _pods(elder)
            for one, inode in pods.items():
                if one == cookie or inode == 0:
                    _forget(elder, one)
                    gone.append(one)
            if not pods.keys() - {*gone}:
                _remove(elder)
    return tuple(gone)


def _pods(elder: str) -> dict[int, int | None]:
    """Give the inode of each pod's namespace, by cookie."""
    names = _names(os.path.join(elder, PODS))
    return {int(one): target(os.path.join(elder, PODS, one)) for one in names if one.isdecimal()}


def _forget(elder: str, cookie: int) -> None:
    descriptor = libbpf.open_pin(os.path.join(elder, "maps", "pods"))
    if descriptor is not None:
        policies = Map(descriptor, "pods", layout.POD_KEY.size, 0)
        try:
            policies.remove(layout.POD_KEY.pack(cookie))
        finally:
            policies.close()
    libbpf.detach(os.path.join(elder, PODS, str(cookie)))


def _remove(elder: str) -> None:
    """Detach what is attached from there, and remove every pin."""
    for directory in ("links", PODS):
        for name in _names(os.path.join(elder, directory)):
            libbpf.detach(os.path.join(elder, directory, name))
    shutil.rmtree(elder, ignore_errors=True)


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except FileNotFoundError:
        return []
