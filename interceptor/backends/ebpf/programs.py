"""Where the programs come from: compiled when the package was built, or now by bcc.

Both are the same source, share the same pinned maps and are attached by the same links, so one
can take the place of the other at any time.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, Protocol

from interceptor.backends.ebpf import layout
from interceptor.backends.ebpf.store import MAPS
from interceptor.config import LoaderChoice
from interceptor.errors import HostError
from interceptor.system.bpf_object import Object
from interceptor.system.libbpf import CGROUP_KINDS, SK_LOOKUP

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from interceptor.backends.ebpf.store import Store
    from interceptor.system.bcc import Module

Loader = Literal["libbpf", "bcc"] | LoaderChoice

_BUILT = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(__file__))), "_bpf")
_PROGRAMS = os.path.join(_BUILT, "interceptor.bpf.o")
_INBOUND = os.path.join(_BUILT, "inbound.bpf.o")

# linux/bpf.h, enum bpf_prog_type. libbpf reads them off the names of sections; bcc is told.
_SOCK_OPS, _CGROUP_SOCK_ADDR, _CGROUP_SOCKOPT, _SK_LOOKUP_KIND = 13, 18, 25, 30
_KINDS = {"tcp_events": _SOCK_OPS, "getsockopt": _CGROUP_SOCKOPT}
_NO_ATTACHMENT = -1


class Programs(Protocol):
    """One origin of programs."""

    def digest(self) -> bytes:
        """Give 32 bytes that are another's for every other version of the programs."""

    def of_machine(self, store: Store) -> AbstractContextManager[dict[str, int]]:
        """Have maps, pinned, and the programs of the machine loaded, by name, for a while.

        Raises:
            HostError: this machine cannot.
        """

    def of_pod(self, store: Store, cookie: int) -> AbstractContextManager[int]:
        """Have the copy of the inbound program for one pod loaded for a while.

        Raises:
            HostError: this machine cannot.
        """


def programs(loader: Loader) -> Programs:
    """Give the programs of a loader."""
    return Compiled() if loader == LoaderChoice.BCC else Built()


class Built:
    """Those that the package brings, loaded by libbpf."""

    def digest(self) -> bytes:
        """See Programs."""
        return hashlib.sha256(_read(_PROGRAMS) + _read(_INBOUND)).digest()

    @contextmanager
    def of_machine(self, store: Store) -> Iterator[dict[str, int]]:
        """See Programs."""
        with _object(_PROGRAMS, store) as loaded:
            loaded.load()
            yield loaded.programs()

    @contextmanager
    def of_pod(self, store: Store, cookie: int) -> Iterator[int]:
        """See Programs."""
        with _object(_INBOUND, store) as loaded:
            loaded.set_constant(layout.POD_KEY.pack(cookie))
            loaded.load()
            [program] = loaded.programs().values()
            yield program


class Compiled:
    """Those that bcc makes of the source as it is now.

    Maps are those that the package brings: who changes what is in them changes
    ``layout.py`` as well, and runs ``make bpf``.
    """

    def digest(self) -> bytes:
        """See Programs."""
        directory = source()
        found = hashlib.sha256(b"bcc")
        for name in sorted(os.listdir(directory)):
            if name.endswith((".c", ".h")):
                found.update(name.encode() + b"\0" + _read(os.path.join(directory, name)))
        return found.digest()

    @contextmanager
    def of_machine(self, store: Store) -> Iterator[dict[str, int]]:
        """See Programs."""
        with _object(_PROGRAMS, store) as maps:
            maps.leave_programs_out()
            maps.load()
        store.open()
        with _compiled("interceptor.bpf.c", store, 0) as module:
            found = {}
            for name, attached in CGROUP_KINDS.items():
                kind = _KINDS.get(name, _CGROUP_SOCK_ADDR)
                wanted = _NO_ATTACHMENT if kind == _SOCK_OPS else attached
                found[name] = module.load(name, kind, wanted)
            yield found

    @contextmanager
    def of_pod(self, store: Store, cookie: int) -> Iterator[int]:
        """See Programs."""
        store.open()
        with _compiled("inbound.bpf.c", store, cookie) as module:
            yield module.load("inbound", _SK_LOOKUP_KIND, SK_LOOKUP)


def source() -> str:
    """Give the directory of the programs' source."""
    from interceptor.sheets.loader import rules_directory

    return os.path.join(rules_directory(), "bpf")


@contextmanager
def _compiled(name: str, store: Store, cookie: int) -> Iterator[Module]:
    from interceptor.system.bcc import Module

    defined = {f"INTERCEPTOR_MAP_{one}": str(store.map(one).descriptor) for one in MAPS}
    defined |= {"INTERCEPTOR_BCC": "1", "INTERCEPTOR_POD": f"{cookie}ULL"}
    module = Module(f'#include "{name}"\n', source(), defined)
    try:
        yield module
    finally:
        module.close()


@contextmanager
def _object(path: str, store: Store) -> Iterator[Object]:
    made = Object(_read(path), os.path.basename(path))
    try:
        made.share_maps(store.path("maps"), frozenset(MAPS))
        yield made
    finally:
        made.close()


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise HostError(
            f"the compiled programs are missing: {path}: {error.strerror}",
            hint="install a wheel that has them, or run make bpf in a checkout",
        ) from None
