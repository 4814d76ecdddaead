"""The machine's programs and maps, and what they hold for each pod.

Everything is found again by its pin, whoever made it. A change is made in such an order that what
is there at any moment is an old policy, a new one, or none; whoever dies in the middle leaves a
note, and the next one sweeps. Only one changes things at a time: the lock is that of the pins'
directory.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

import msgspec

from interceptor.backends.ebpf import PIN_ROOT, layout, loading
from interceptor.backends.ebpf.listeners import Listener, listening, take
from interceptor.backends.ebpf.programs import Loader, programs
from interceptor.backends.ebpf.store import MAPS, Store, possible_cpus
from interceptor.system import bpffs
from interceptor.system.cookie import cookie as cookie_of
from interceptor.system.libbpf import NOEXIST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.backends.ebpf.tracing import Tracing
    from interceptor.model.pod_config import PodConfig
    from interceptor.system.deadline import Deadline


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
        loader: where the programs come from. Whoever changes something next with another loader
            puts that one's in their place; what is enforced does not depend on it.
    """

    def __init__(
        self, deadline: Deadline, pin_root: str = PIN_ROOT, loader: Loader = "libbpf"
    ) -> None:
        self._deadline = deadline
        self._programs = programs(loader)
        self._store = Store(os.path.join(pin_root, str(layout.LAYOUT)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the maps; all that is enforced stays."""
        self._store.close()

    @property
    def is_loaded(self) -> bool:
        """Whether any of it is there."""
        return os.path.isdir(self._store.root)

    def load(self) -> None:
        """Have the programs attached, those of this version, for no pod yet.

        Raises:
            HostError: this machine cannot.
        """
        with self._changing():
            loading.load(self._store, self._programs)

    def enable(self, netns: int, config: PodConfig) -> Enabled:
        """Have a policy enforced in an open network namespace, in the place of any before.

        Raises:
            HostError: this machine cannot; what was enforced is enforced still.
        """
        cookie = cookie_of(netns)
        with self._changing():
            loading.load(self._store, self._programs)
            if self._is_enforced(cookie, config):
                return Enabled(changed=False)
            return Enabled(changed=True, unreachable=self._enable(cookie, netns, config))

    def disable(self, cookie: int) -> bool:
        """Enforce nothing in a pod any more; false if nothing was."""
        if not self.is_loaded:
            return False
        with self._changing():
            if self._is_whole():
                return self._disable(cookie)
            # With maps missing it is the link and what is left that are to go.
            self._store.open()
            return self._store.forget(cookie)

    def collect(self) -> tuple[int, ...]:
        """Take away what is left of namespaces that are no more; give their cookies."""
        if not self.is_loaded:
            return ()
        with self._changing():
            store = self._store
            if not self._is_whole():
                return ()
            dead = tuple(cookie for cookie in store.linked() if store.inode(cookie) == 0)
            for cookie in dead:
                self._disable(cookie)
            return dead

    def unload(self, *, even_if_used: bool = False) -> bool:
        """Take all of it away, unless it is enforced for some pod; false if it is."""
        if not self.is_loaded:
            return True
        with self._changing():
            store = self._store
            is_whole = self._is_whole()
            # Where maps are missing, programs go on with what they hold.
            pods = {*store.linked(), *(store.policies() if is_whole else ())}
            if pods and not even_if_used:
                return False
            for cookie in pods if is_whole else ():
                self._disable(cookie)
            store.remove()
        return True

    def held(self) -> dict[int, Held]:
        """Give what is enforced now, by cookie, read from the kernel."""
        if not self.is_loaded:
            return {}
        with self._locked():
            store = self._store
            store.open()
            if store.names("maps") != sorted(MAPS):
                return {}
            facts = store.map("facts").items()
            return {
                cookie: Held(cookie, layout.raised(policy, facts), store.inode(cookie))
                for cookie, policy in store.policies().items()
            }

    def lost(self, cookie: int) -> tuple[str, ...]:
        """Name the maps that are not pinned any more, although a pod is enrolled by its link.

        Programs go on with what they hold, which nobody can read then.
        """
        lost = sorted({*MAPS} - {*self._store.names("maps")})
        return tuple(lost) if cookie in self._store.linked() else ()

    def counts(self) -> dict[int, dict[str, int]]:
        """Give how often each reason decided, by cookie; see ``reasons``."""
        if not self.is_loaded:
            return {}
        self._store.open()
        if self._store.names("maps") != sorted(MAPS):
            return {}
        counted = self._store.map("counts")
        found = {}
        for key in counted.keys():  # noqa: SIM118 - it is no dict
            if (values := counted.get(key)) is not None:
                found[layout.POD_KEY.unpack(key)[0]] = layout.counters(values)
        return found

    def attached(self) -> tuple[str, ...]:
        """Name the programs that are attached at the root of the cgroup tree."""
        return tuple(self._store.attached())

    def loaded(self) -> bytes:
        """Give the digest of the programs that are attached, see ``Programs.digest``."""
        self._store.open()
        return self._store.state().digest

    def namespaces(self) -> dict[int, int]:
        """Give the inode of each namespace by its cookie, 0 if it is gone; no lock needed."""
        store = self._store
        found = {cookie: store.inode(cookie) for cookie in store.linked()}
        return {cookie: inode for cookie, inode in found.items() if inode is not None}

    @contextmanager
    def traced(self, pod: int = 0) -> Iterator[Tracing]:
        """Have decisions told as they are made, of one pod or of all.

        Raises:
            HostError: nothing is loaded, or too many are told already.
        """
        from interceptor.backends.ebpf.tracing import Tracing

        with self._locked():
            self._store.open()
            tracing = Tracing(self._store, pod)
        try:
            yield tracing
        finally:
            tracing.close()

    # What follows needs the lock.

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with bpffs.locked(self._store.root, self._deadline):
            yield

    @contextmanager
    def _changing(self) -> Iterator[None]:
        from interceptor.system.command import held_interrupts

        with self._locked(), held_interrupts():
            yield

    def _is_whole(self) -> bool:
        """Open and sweep what there is; false if somebody died before there were all maps.

        Nothing can be enforced without them.
        """
        # First of all: what another version made is nothing to take for a rest.
        self._store.open()
        if self._store.names("maps") != sorted(MAPS):
            return False
        self._store.sweep()
        if self._store.names("tracers"):
            from interceptor.backends.ebpf import tracing

            tracing.sweep(self._store)
        return True

    def _enable(self, cookie: int, netns: int, config: PodConfig) -> int:
        store, pod = self._store, layout.POD_KEY.pack(cookie)
        pods = store.map("pods")
        before = pods.get(pod)
        generation = store.state().last_generation + 1
        store.note(last_generation=generation, changing=True)
        lowered = layout.lower(config, generation)
        try:
            store.map("facts").put_all(lowered.facts)
            nothing = bytes(layout.COUNTERS_SIZE * possible_cpus())
            store.map("counts").put(pod, nothing, NOEXIST)
            # Without a policy it lets everything pass. So what begins with the policy begins for
            # both directions at once, and the proxy that is there already gets what arrives.
            loading.link_pod(store, self._programs, cookie, netns)
            known = listening(netns, config.inbound_port) if before is None else None
            unreachable = self._register(cookie, netns, known) if known else 0
            # From here on the new one decides, about whatever is asked next.
            pods.put(pod, lowered.policy)
            if before is None or layout.inbound_port_of(before) != config.inbound_port:
                # What begins to listen from now on is named by the programs, or is in this list.
                there = listening(netns, config.inbound_port)
                if there != known:
                    unreachable = self._register(cookie, netns, there)
        except BaseException:
            if before is None:
                store.forget(cookie)
            else:
                pods.put(pod, before)
            store.sweep_facts()
            store.note(changing=False)
            raise
        if before is not None:
            store.sweep_facts()
        store.note(changing=False)
        return unreachable

    def _register(self, cookie: int, netns: int, wanted: list[Listener]) -> int:
        """Name listeners that are there already; give how many could not be had."""
        listeners = self._store.map("listeners")
        slots = layout.listener_keys(cookie)
        # What listened on another port is not the proxy any more.
        listeners.remove_all(slots)
        taken = take(wanted, netns) if wanted else {}
        for one, descriptor in taken.items():
            for slot in slots:
                if layout.family_of(slot) == one.family and listeners.put(
                    slot, descriptor.to_bytes(8, sys.byteorder), NOEXIST
                ):
                    break
            os.close(descriptor)
        return len(wanted) - len(taken)

    def _disable(self, cookie: int) -> bool:
        store = self._store
        store.note(changing=True)
        was_there = store.forget(cookie)
        store.sweep_facts()
        store.note(changing=False)
        return was_there

    def _is_enforced(self, cookie: int, config: PodConfig) -> bool:
        store = self._store
        policy = store.map("pods").get(layout.POD_KEY.pack(cookie))
        if policy is None or not store.inode(cookie):
            return False
        generation = layout.generation_of(policy)
        lowered = layout.lower(config, generation)
        if lowered.policy != policy:
            return False
        facts = store.map("facts").items()
        mine = {key: held for key, held in facts.items() if layout.owner_of(key) == generation}
        return mine == lowered.facts
