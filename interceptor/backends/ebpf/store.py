"""What is pinned: maps, links, and the note the machine keeps for the next run.

::

    PIN_ROOT/LAYOUT/maps/NAME       shared by all programs
    PIN_ROOT/LAYOUT/links/PROGRAM   one a hook, at the root of the cgroup tree
    PIN_ROOT/LAYOUT/pods/COOKIE     one a pod: which listener takes what arrives
    PIN_ROOT/LAYOUT/tracers/NUMBER  an empty directory, locked by whoever has this place

Another version's maps may be laid out otherwise: it has a set of its own, see ``elders``.
"""

from __future__ import annotations

import os
from contextlib import suppress

import msgspec

from interceptor.backends.ebpf import PODS, layout, pod_pin
from interceptor.backends.ebpf.layout import State
from interceptor.errors import HostError
from interceptor.system import bpffs, libbpf
from interceptor.system.bpf_map import Map

MAPS = {
    "pods": (layout.POD_KEY.size, layout.POLICY_SIZE),
    "facts": (layout.FACT_KEY_SIZE, 4),
    "counts": (layout.POD_KEY.size, layout.COUNTERS_SIZE),
    "originals": (4, 20),
    "pending": (32, 20),
    "listeners": (layout.LISTENER_KEY_SIZE, 8),
    "states": (4, layout.STATE_SIZE),
    "traces": (4, 16),
    "rings": (4, 4),
    "losses": (4, 8),
}
"""Sizes of keys and values."""
_OF_EACH_CPU = {"counts", "losses"}

_STATE_KEY = bytes(4)
_POSSIBLE = "/sys/devices/system/cpu/possible"


class Store:
    """One set of pins, whose maps are opened once.

    Args:
        root: of this version's pins.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._open: dict[str, Map] = {}

    def path(self, *parts: str) -> str:
        """Give the path of a pin."""
        return os.path.join(self.root, *parts)

    def pod_pin(self, cookie: int) -> str:
        """Give the path of a pod's link."""
        return pod_pin(self.root, cookie)

    def names(self, directory: str) -> list[str]:
        """Name what is pinned in one of the directories."""
        with suppress(FileNotFoundError):
            return sorted(os.listdir(self.path(directory)))
        return []

    def open(self) -> None:
        """Open what maps there are.

        Raises:
            HostError: they are another version's.
        """
        for name, (key, value) in MAPS.items():
            if name in self._open:
                continue
            descriptor = libbpf.open_pin(self.path("maps", name))
            if descriptor is not None:
                size = value * possible_cpus() if name in _OF_EACH_CPU else value
                self._open[name] = Map(descriptor, name, key, size)
        if "states" in self._open and self.state().layout not in (0, layout.LAYOUT):
            raise HostError(
                f"what is at {self.root} was made by another version of this program",
                hint="remove it with that version's uninstall, then install again",
            )

    def close(self) -> None:
        """Let go of the maps; all that is enforced stays."""
        while self._open:
            self._open.popitem()[1].close()

    def map(self, name: str) -> Map:
        """Give a map that is open.

        Raises:
            HostError: it is not there.
        """
        if name not in self._open:
            raise HostError(
                f"{self.path('maps', name)} is missing",
                hint="install again: what is missing is made anew",
            )
        return self._open[name]

    def state(self) -> State:
        """Read the note."""
        data = self.map("states").get(_STATE_KEY)
        return State.unpack(data) if data is not None else State()

    def note(self, **changes: int | bool | bytes) -> None:
        """Change the note."""
        state = msgspec.structs.replace(self.state(), layout=layout.LAYOUT, **changes)
        self.map("states").put(_STATE_KEY, state.pack())

    def policies(self) -> dict[int, bytes]:
        """Give the policy of each pod, by cookie."""
        pods = self.map("pods")
        found = {layout.POD_KEY.unpack(key)[0]: pods.get(key) for key in pods.keys()}  # noqa: SIM118
        return {cookie: policy for cookie, policy in found.items() if policy is not None}

    def linked(self) -> list[int]:
        """Give the cookies of pods that have a link."""
        return [int(name) for name in self.names(PODS)]

    def inode(self, cookie: int) -> int | None:
        """Give the inode of a linked namespace: 0 if it is no more, ``None`` without a link."""
        return target(self.pod_pin(cookie))

    def attached(self) -> list[str]:
        """Name the programs at the root of the cgroup tree: a link may be detached and pinned."""
        return [name for name in self.names("links") if target(self.path("links", name))]

    def sweep(self) -> None:
        """Take away what somebody who died left half done."""
        if not self.state().changing:
            return
        pods, linked = set(self.policies()), set(self.linked())
        for cookie in pods ^ linked:
            # Half a pod is none: a policy alone lets what arrives go past the proxy.
            self.forget(cookie)
        counted = self.map("counts")
        for key in counted.keys():  # noqa: SIM118 - it is no dict
            if layout.POD_KEY.unpack(key)[0] not in pods & linked:
                counted.remove(key)
        self.sweep_facts()
        self.note(changing=False)

    def forget(self, cookie: int) -> bool:
        """Take all of a pod away but its facts; false if there was nothing."""
        pod = layout.POD_KEY.pack(cookie)
        # Somebody may have removed pins of maps.
        had_policy = "pods" in self._open and self.map("pods").remove(pod)
        had_link = libbpf.detach(self.pod_pin(cookie))
        if "counts" in self._open:
            self.map("counts").remove(pod)
        if "listeners" in self._open:
            self.map("listeners").remove_all(layout.listener_keys(cookie))
        return had_policy or had_link

    def sweep_facts(self) -> None:
        """Take facts away that no pod's policy is about."""
        facts = self.map("facts")
        kept = set(map(layout.generation_of, self.policies().values()))
        facts.remove_all([key for key in facts.items() if layout.owner_of(key) not in kept])

    def remove(self) -> None:
        """Detach all programs and remove all pins."""
        for directory in ("links", PODS):
            for name in self.names(directory):
                libbpf.detach(self.path(directory, name))
        self.close()
        for name in self.names("maps"):
            os.unlink(self.path("maps", name))
        for name in self.names("tracers"):
            bpffs.remove_directory(self.path("tracers", name))
        for directory in ("links", PODS, "maps", "tracers"):
            bpffs.remove_directory(self.path(directory))
        bpffs.remove_directory(self.root)
        bpffs.remove_directory(os.path.dirname(self.root))


def target(path: str) -> int | None:
    """Give what a pinned link is attached to: 0 if nothing, ``None`` without a link."""
    link = libbpf.open_pin(path)
    if link is None:
        return None
    try:
        return libbpf.target_of(link)
    finally:
        os.close(link)


def possible_cpus() -> int:
    """Count the processors there may be: some maps have a value for each."""
    with open(_POSSIBLE, encoding="ascii") as file:
        return int(file.read().strip().split("-")[-1]) + 1
