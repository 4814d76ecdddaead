"""The machine's programs and maps, and what they hold for each pod.

Everything is found again by its pin, whoever made it. Only one changes things at a time: the lock
is that of the pins' directory.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

import msgspec

from interceptor.backends.ebpf import PIN_ROOT, enabling, layout, loading
from interceptor.backends.ebpf.programs import Loader, programs
from interceptor.backends.ebpf.store import MAPS, Store
from interceptor.system import bpffs
from interceptor.system.cookie import cookie as cookie_of

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
            if enabling.is_enforced(self._store, cookie, config):
                return Enabled(changed=False)
            unreachable = enabling.enable(self._store, self._programs, cookie, netns, config)
            return Enabled(changed=True, unreachable=unreachable)

    def disable(self, cookie: int) -> bool:
        """Enforce nothing in a pod any more; false if nothing was."""
        if not self.is_loaded:
            return False
        with self._changing():
            if self._is_whole():
                return enabling.disable(self._store, cookie)
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
                enabling.disable(store, cookie)
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
                enabling.disable(store, cookie)
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
