"""The machine's programs and maps, and what they hold for each pod.

::

    PIN_ROOT/maps/NAME       shared by all programs
    PIN_ROOT/links/PROGRAM   one a hook, at the root of the cgroup tree
    PIN_ROOT/pods/COOKIE     one a pod: which listener takes what arrives

Everything is found again by its pin, whoever made it. A change is made in such an order that what
is there at any moment is an old policy, a new one, or none; whoever dies in the middle leaves a
note, and the next one sweeps. Only one changes things at a time: the lock is that of PIN_ROOT.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Self

import msgspec

from interceptor.backends.ebpf import layout
from interceptor.backends.ebpf.layout import State
from interceptor.backends.ebpf.listeners import listening, take
from interceptor.backends.ebpf.observe import cookie as cookie_of
from interceptor.errors import HostError
from interceptor.system import bpffs, libbpf
from interceptor.system.libbpf import CGROUP_KINDS, NOEXIST, SK_LOOKUP, Map, Object

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.backends.ebpf.pod_config import PodConfig
    from interceptor.system.deadline import Deadline

PIN_ROOT = "/sys/fs/bpf/interceptor"

_HERE = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
_PROGRAMS = os.path.join(_HERE, "_bpf", "interceptor.bpf.o")
_INBOUND = os.path.join(_HERE, "_bpf", "inbound.bpf.o")
_STATE_KEY = bytes(4)
_POSSIBLE = "/sys/devices/system/cpu/possible"

_MAPS = {
    "pods": (layout.POD_KEY.size, layout.POLICY_SIZE),
    "facts": (layout.FACT_KEY_SIZE, 4),
    "counts": (layout.POD_KEY.size, layout.COUNTERS_SIZE),
    "originals": (4, 20),
    "pending": (32, 20),
    "listeners": (layout.LISTENER_KEY_SIZE, 8),
    "states": (4, layout.STATE_SIZE),
    "traces": (4, 16),
    "events": (0, 0),
}
"""Sizes of keys and values."""


class Enabled(msgspec.Struct, frozen=True):
    """What enabling did.

    Args:
        changed: false if all was so already.
        unreachable: listeners of the proxy that no process seen from here has. Until they are
            opened anew, what would go to them is refused.
    """

    changed: bool
    unreachable: int = 0


class Held(msgspec.Struct, frozen=True):
    """What is enforced for one pod.

    Args:
        cookie: its namespace's.
        config: its policy as the kernel has it.
        inode: of its namespace; 0 if that is gone, ``None`` if what arrives there meets nothing.
    """

    cookie: int
    config: PodConfig
    inode: int | None


class Machine:
    """One set of programs and maps.

    Args:
        deadline: for waiting.
        pin_root: where it is kept. Two sets on one machine work side by side.
    """

    def __init__(self, deadline: Deadline, pin_root: str = PIN_ROOT) -> None:
        self._deadline = deadline
        self._root = pin_root
        self._open: dict[str, Map] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the maps; all that is enforced stays."""
        while self._open:
            self._open.popitem()[1].close()

    @property
    def is_loaded(self) -> bool:
        """Whether any of it is there."""
        return os.path.isdir(self._path("maps"))

    def load(self) -> None:
        """Have the programs attached, those of this version, for no pod yet.

        Raises:
            HostError: this machine cannot.
        """
        with self._changing():
            self._load()

    def enable(self, netns: int, config: PodConfig) -> Enabled:
        """Have a policy enforced in an open network namespace, in the place of any before.

        Raises:
            HostError: this machine cannot; what was enforced is enforced still.
        """
        cookie = cookie_of(netns)
        with self._changing():
            self._load()
            if self._is_enforced(cookie, config):
                return Enabled(changed=False)
            return Enabled(changed=True, unreachable=self._enable(cookie, netns, config))

    def disable(self, cookie: int) -> bool:
        """Enforce nothing in a pod any more; false if nothing was."""
        if not self.is_loaded:
            return False
        with self._changing():
            self._open_maps()
            return self._disable(cookie)

    def collect(self) -> tuple[int, ...]:
        """Take away what is left of namespaces that are no more; give their cookies."""
        if not self.is_loaded:
            return ()
        with self._changing():
            self._open_maps()
            dead = [cookie for cookie in self._linked() if self._inode(cookie) == 0]
            for cookie in dead:
                self._disable(cookie)
            return tuple(dead)

    def unload(self, *, even_if_used: bool = False) -> bool:
        """Take all of it away, unless it is enforced for some pod; false if it is."""
        if not self.is_loaded:
            return True
        with self._changing():
            self._open_maps()
            pods = self._pods()
            if pods and not even_if_used:
                return False
            for cookie in {*pods, *self._linked()}:
                self._disable(cookie)
            for name in self._names("links"):
                libbpf.detach(self._path("links", name))
            self.close()
            for name in self._names("maps"):
                os.unlink(self._path("maps", name))
            for directory in ("links", "pods", "maps"):
                bpffs.remove_directory(self._path(directory))
            bpffs.remove_directory(self._root)
        return True

    def held(self) -> dict[int, Held]:
        """Give what is enforced now, by cookie, read from the kernel."""
        if not self.is_loaded:
            return {}
        with self._locked():
            self._open_maps()
            facts = self._map("facts").items()
            return {
                cookie: Held(cookie, layout.raised(policy, facts), self._inode(cookie))
                for cookie, policy in self._policies().items()
            }

    def counts(self) -> dict[int, dict[str, int]]:
        """Give how often each reason decided, by cookie; see ``reasons``."""
        if not self.is_loaded:
            return {}
        self._open_maps()
        counted = self._map("counts")
        found = {}
        for key in counted.keys():  # noqa: SIM118 - it is no dict
            if (values := counted.get(key)) is not None:
                found[layout.POD_KEY.unpack(key)[0]] = layout.counters(values)
        return found

    def attached(self) -> tuple[str, ...]:
        """Name the programs that are attached at the root of the cgroup tree."""
        return tuple(self._names("links"))

    # What follows needs the lock.

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with bpffs.locked(self._root, self._deadline):
            yield

    @contextmanager
    def _changing(self) -> Iterator[None]:
        from interceptor.system.command import held_interrupts

        with self._locked(), held_interrupts():
            yield

    def _load(self) -> None:
        digest = self._digest()
        if self._names("links") == sorted(CGROUP_KINDS) and self._names("maps") == sorted(_MAPS):
            self._open_maps()
            self._sweep()
            if self._state().digest == digest:
                return
        for directory in ("maps", "links", "pods"):
            os.makedirs(self._path(directory), mode=0o700, exist_ok=True)
        cgroup = bpffs.open_root_cgroup()
        loaded = self._object(_PROGRAMS)
        try:
            loaded.load()
            self._open_maps()
            self._sweep()
            for name, program in loaded.programs().items():
                self._hang_up(self._path("links", name), program, cgroup, CGROUP_KINDS[name])
        finally:
            loaded.close()
            os.close(cgroup)
        for cookie in self._linked():
            if self._inode(cookie):
                self._link_pod(cookie, None)
        self._note(digest=digest)

    @staticmethod
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

    def _enable(self, cookie: int, netns: int, config: PodConfig) -> int:
        pod = layout.POD_KEY.pack(cookie)
        pods, facts = self._map("pods"), self._map("facts")
        before = pods.get(pod)
        generation = self._state().last_generation + 1
        self._note(last_generation=generation, changing=True)
        lowered = layout.lower(config, generation)
        try:
            facts.put_all(lowered.facts)
            self._map("counts").put(pod, bytes(layout.COUNTERS_SIZE * _possible_cpus()), NOEXIST)
            # From here on the new one decides, about whatever is asked next.
            pods.put(pod, lowered.policy)
            unreachable = self._register(cookie, netns, config.inbound_port)
            self._link_pod(cookie, netns)
        except BaseException:
            if before is None:
                self._disable(cookie)
            else:
                pods.put(pod, before)
            self._sweep()
            raise
        if before is not None:
            self._sweep_facts()
        self._note(changing=False)
        return unreachable

    def _link_pod(self, cookie: int, netns: int | None) -> None:
        """Attach a copy of the inbound program, or replace one; a stale link is no link."""
        path = self._path("pods", str(cookie))
        if netns is not None and self._inode(cookie) == 0:
            libbpf.detach(path)
        link = libbpf.open_pin(path)
        try:
            if link is not None and netns is not None:
                return
            loaded = self._object(_INBOUND)
            try:
                loaded.set_constant(layout.POD_KEY.pack(cookie))
                loaded.load()
                [program] = loaded.programs().values()
                if link is not None:
                    libbpf.replace_program(link, program)
                elif netns is not None:
                    libbpf.attach(program, netns, SK_LOOKUP, path)
            finally:
                loaded.close()
        finally:
            if link is not None:
                os.close(link)

    def _register(self, cookie: int, netns: int, port: int) -> int:
        """Name the listeners that are there already; give how many could not be had."""
        wanted = listening(netns, port)
        taken = take(wanted, netns) if wanted else {}
        listeners = self._map("listeners")
        slots = layout.listener_keys(cookie)
        for number, key in enumerate(slots):
            # What listened on another port before is not the proxy any more.
            family = 2 if number < layout.LISTENER_SLOTS else 10
            mine = [one for one in taken if one.family == family]
            at = number % layout.LISTENER_SLOTS
            if at < len(mine):
                listeners.put(key, taken[mine[at]].to_bytes(8, "little"))
            elif wanted:
                listeners.remove(key)
        for descriptor in taken.values():
            os.close(descriptor)
        return len(wanted) - len(taken)

    def _disable(self, cookie: int) -> bool:
        pod = layout.POD_KEY.pack(cookie)
        self._note(changing=True)
        was_there = self._map("pods").remove(pod)
        was_linked = libbpf.detach(self._path("pods", str(cookie)))
        self._map("counts").remove(pod)
        self._map("listeners").remove_all(layout.listener_keys(cookie))
        self._sweep_facts()
        self._note(changing=False)
        return was_there or was_linked

    def _sweep(self) -> None:
        """Take away what somebody who died left half done."""
        if not self._state().changing:
            return
        pods = self._pods()
        for cookie in set(self._linked()) - pods:
            libbpf.detach(self._path("pods", str(cookie)))
            self._map("listeners").remove_all(layout.listener_keys(cookie))
        for cookie in pods - set(self._linked()):
            # Half a pod is none: its inbound connections would go past the proxy.
            self._map("pods").remove(layout.POD_KEY.pack(cookie))
        pods = self._pods()
        counted = self._map("counts")
        for key in counted.keys():  # noqa: SIM118 - it is no dict
            if layout.POD_KEY.unpack(key)[0] not in pods:
                counted.remove(key)
        self._sweep_facts()
        self._note(changing=False)

    def _sweep_facts(self) -> None:
        facts = self._map("facts")
        kept = set(map(layout.generation_of, self._policies().values()))
        facts.remove_all([key for key in facts.items() if layout.owner_of(key) not in kept])

    def _is_enforced(self, cookie: int, config: PodConfig) -> bool:
        policy = self._map("pods").get(layout.POD_KEY.pack(cookie))
        if policy is None or not self._inode(cookie):
            return False
        lowered = layout.lower(config, layout.generation_of(policy))
        if lowered.policy != policy:
            return False
        facts = {
            key: value
            for key, value in self._map("facts").items().items()
            if layout.owner_of(key) == layout.generation_of(policy)
        }
        return facts == lowered.facts

    def _policies(self) -> dict[int, bytes]:
        pods = self._map("pods")
        found = {layout.POD_KEY.unpack(key)[0]: pods.get(key) for key in pods.keys()}  # noqa: SIM118
        return {cookie: policy for cookie, policy in found.items() if policy is not None}

    def _pods(self) -> set[int]:
        return {layout.POD_KEY.unpack(key)[0] for key in self._map("pods").keys()}  # noqa: SIM118

    def _linked(self) -> list[int]:
        return [int(name) for name in self._names("pods")]

    def _inode(self, cookie: int) -> int | None:
        link = libbpf.open_pin(self._path("pods", str(cookie)))
        if link is None:
            return None
        try:
            return libbpf.netns_of(link)
        finally:
            os.close(link)

    def _object(self, path: str) -> Object:
        made = Object(_read(path), os.path.basename(path))
        made.share_maps(self._path("maps"), frozenset(_MAPS))
        return made

    def _open_maps(self) -> None:
        for name, (key, value) in _MAPS.items():
            if name in self._open:
                continue
            descriptor = libbpf.open_pin(self._path("maps", name))
            if descriptor is not None:
                size = value * _possible_cpus() if name == "counts" else value
                self._open[name] = Map(descriptor, name, key, size)
        if self._state().layout not in (0, layout.LAYOUT):
            raise HostError(
                f"what is at {self._root} was made by another version of this program",
                hint="remove it with that version's uninstall, then install again",
            )

    def _map(self, name: str) -> Map:
        if name not in self._open:
            raise HostError(
                f"{self._path('maps', name)} is missing",
                hint="somebody removed it; remove the rest with uninstall, then install again",
            )
        return self._open[name]

    def _state(self) -> State:
        data = self._map("states").get(_STATE_KEY)
        return State.unpack(data) if data is not None else State()

    def _note(self, **changes: int | bool | bytes) -> None:
        state = msgspec.structs.replace(self._state(), layout=layout.LAYOUT, **changes)
        self._map("states").put(_STATE_KEY, state.pack())

    @staticmethod
    def _digest() -> bytes:
        return hashlib.sha256(_read(_PROGRAMS) + _read(_INBOUND)).digest()

    def _path(self, *parts: str) -> str:
        return os.path.join(self._root, *parts)

    def _names(self, directory: str) -> list[str]:
        with suppress(FileNotFoundError):
            return sorted(os.listdir(self._path(directory)))
        return []


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise HostError(
            f"the compiled programs are missing: {path}: {error.strerror}",
            hint="install a wheel that has them, or run make bpf in a checkout",
        ) from None


def _possible_cpus() -> int:
    """Count the processors there may be: maps have a value for each."""
    with open(_POSSIBLE, encoding="ascii") as file:
        return int(file.read().strip().split("-")[-1]) + 1
