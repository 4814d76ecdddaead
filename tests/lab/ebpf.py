"""A set of BPF programs and maps of a test's own, and pods enabled in it."""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Self

from interceptor.backends.ebpf.machine import Enabled, Machine
from interceptor.layers import DEFAULTS, Layer, resolve
from interceptor.sheets.sockets import pod_config
from interceptor.system import host
from interceptor.system.bpffs import USUAL
from interceptor.system.cookie import cookie
from interceptor.system.deadline import Deadline
from interceptor.system.pod import pod_facts
from interceptor.values import Ports

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.backends.ebpf.layout import State
    from interceptor.backends.ebpf.programs import Loader
    from interceptor.model.pod_config import PodConfig
    from interceptor.system.bpf_map import Map
    from tests.lab.netns import Namespace


def settings(flags: tuple[str, ...]) -> dict[str, str]:
    """Read flags as the command line would: ``--a-b c`` is ``{"a_b": "c"}``."""
    names = [flag.removeprefix("--").replace("-", "_") for flag in flags[::2]]
    return dict(zip(names, flags[1::2], strict=True))


def config_for(namespace: Namespace, flags: tuple[str, ...] = ()) -> PodConfig:
    """Give what settings mean in a namespace."""
    given = settings(flags) | {"netns": namespace.path}
    config = resolve([DEFAULTS, Layer(given, lambda key: key)]).config
    kept = Ports.of(22, config.tunnel_port, 15020, 15021, 15090)
    with namespace:
        facts = host.observe(config)
    return pod_config(config, facts, pod_facts(namespace._descriptor, config), kept=kept)


class Lab(Machine):
    """Machine, with namespaces by their tests' names, and what is inside."""

    @classmethod
    def at(cls, root: str, loader: Loader = "libbpf") -> Self:
        return cls(Deadline(110), root, loader)

    @property
    def root(self) -> str:
        return self._store.root

    @property
    def pin_root(self) -> str:
        """Where the sets of all versions are."""
        return os.path.dirname(self.root)

    def map(self, name: str) -> Map:
        return self._store.map(name)

    def state(self) -> State:
        return self._store.state()

    def put(self, namespace: Namespace, *flags: str) -> Enabled:
        """Enforce settings in a namespace."""
        return self.enable(namespace._descriptor, config_for(namespace, flags))

    def drop(self, namespace: Namespace) -> bool:
        """Enforce nothing there any more."""
        return self.disable(cookie(namespace._descriptor))

    def counted(self, namespace: Namespace) -> dict[str, int]:
        """Give a namespace's counters."""
        return self.counts().get(cookie(namespace._descriptor), {})


def new_root() -> str:
    """Give a place for pins that nobody else has."""
    return f"/sys/fs/bpf/iv-{os.getpid()}-{secrets.token_hex(3)}"


def _remove_orphans() -> None:
    """Take away what tests left that were killed: programs at the root see everybody."""
    with suppress(FileNotFoundError):
        for name in os.listdir(USUAL):
            begin, _, rest = name.partition("-")
            process = rest.partition("-")[0]
            if begin == "iv" and process.isdigit() and not os.path.exists(f"/proc/{process}"):
                with Lab.at(f"{USUAL}/{name}") as left:
                    left.unload(even_if_used=True)


@contextmanager
def lab_machine(loader: Loader = "libbpf") -> Iterator[Lab]:
    """Have programs and maps for a while; nothing of them is left, whatever happened."""
    _remove_orphans()
    with Lab.at(new_root(), loader) as made:
        try:
            yield made
        finally:
            made.unload(even_if_used=True)
            assert not os.path.exists(made.root)
