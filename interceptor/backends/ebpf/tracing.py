"""Decisions as they are made, for whoever asks; nobody pays for them otherwise.

Each tracer has one of a few places: a line in the map ``traces`` that says what it wants to see
and until when, a ring buffer, and a count of what that had no room for. It pushes the time
forward; if it dies, that ends of itself. Its place is its own by the lock of a directory, which
dies with it too; the next who looks, or changes anything, takes its ring buffer away.
"""

from __future__ import annotations

import os
import struct
import time
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

import msgspec

from interceptor.backends.ebpf.layout import POD_KEY, TRACERS
from interceptor.backends.ebpf.reasons import REASONS, VERDICTS
from interceptor.errors import HostError
from interceptor.system import bpffs
from interceptor.system.ring import Ring

if TYPE_CHECKING:
    from interceptor.backends.ebpf.store import Store

_EVENT = struct.Struct("=QQ16s16sIIIHHBBBB16sHH")
_TRACE = struct.Struct("=QQ")
_SLOT = struct.Struct("=I")
_LOST = struct.Struct("=Q")
_LEASE_NS = 2_000_000_000
_RING_BYTES = 1 << 18
_PROTOCOLS = {6: "tcp", 17: "udp"}


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One connection or query, and what became of it.

    Args:
        at: seconds since the epoch.
        pod: the cookie of its namespace.
        inbound: whether it arrived; then nothing is known of who made it.
        source: its address, ``None`` where none is chosen yet.
        source_port: 0 where none is chosen yet.
        listener: the port of the proxy's that it goes to; 0 if to none.
        pid: of the machine, as the ids are.
    """

    at: float
    pod: int
    inbound: bool
    protocol: str
    source: IPv4Address | IPv6Address | None
    source_port: int
    address: IPv4Address | IPv6Address
    port: int
    verdict: str
    reason: str
    listener: int
    pid: int
    uid: int
    gid: int
    command: str


def read(data: bytes, boot_ns: int) -> Decision:
    """Read an event as rules/bpf/policy.h has it.

    ``boot_ns`` is when, since the epoch, the kernel's monotonic clock would have begun.
    """
    at, pod, source, address, pid, uid, gid, source_port, port, *rest = _EVENT.unpack_from(data)
    protocol, inbound, verdict, reason, command, listener, _ = rest
    return Decision(
        at=(at + boot_ns) / 1e9,
        pod=pod,
        inbound=bool(inbound),
        protocol=_PROTOCOLS.get(protocol, str(protocol)),
        source=_source(source),
        source_port=source_port,
        address=_address(address),
        port=port,
        verdict=VERDICTS[verdict],
        reason=REASONS[reason],
        listener=listener,
        pid=pid,
        uid=uid,
        gid=gid,
        command=command.partition(b"\0")[0].decode(errors="replace"),
    )


def _address(packed: bytes) -> IPv4Address | IPv6Address:
    address = IPv6Address(packed)
    return address.ipv4_mapped or address


def _source(packed: bytes) -> IPv4Address | IPv6Address | None:
    address = _address(packed)
    return None if address.is_unspecified else address


class Tracing:
    """A tracer's place; made, decisions are told. It is to be made under the machine's lock.

    Args:
        store: the machine's, with its maps open.
        pod: whose decisions, by cookie; 0 for all.

    Raises:
        HostError: all places are taken.
    """

    def __init__(self, store: Store, pod: int) -> None:
        self._store, self._pod = store, pod
        sweep(store)
        self._slot, self._lock = _place(store)
        try:
            self._ring = Ring(_RING_BYTES)
            try:
                store.map("rings").put(self._key, _SLOT.pack(self._ring.descriptor))
                self._before = self._count()
                self._ask()
            except BaseException:
                self._ring.close()
                raise
        except BaseException:
            _clear(store, self._slot, self._lock)
            raise

    @property
    def _key(self) -> bytes:
        return _SLOT.pack(self._slot)

    def wait(self, seconds: float) -> list[Decision]:
        """Wait so many seconds for decisions; give what there is, at once if there is something.

        What is decided two seconds after the last call or later is not told but counted as lost.
        """
        self._ask()
        found = self._ring.wait(seconds)
        # Anew each time: the clock may be set, and the machine sleep.
        boot_ns = time.time_ns() - time.monotonic_ns()
        return [read(data, boot_ns) for data in found]

    def lost(self) -> int:
        """Give how many decisions were not told: there was no room, or nobody came for them."""
        return self._count() - self._before

    def is_enforced(self) -> bool:
        """Whether there is still a policy that decides."""
        pods = self._store.map("pods")
        return pods.get(POD_KEY.pack(self._pod)) is not None if self._pod else bool(pods.keys())

    def close(self) -> None:
        """Give the place up."""
        self._ring.close()
        _clear(self._store, self._slot, self._lock)

    def _ask(self) -> None:
        until = time.monotonic_ns() + _LEASE_NS
        self._store.map("traces").put(self._key, _TRACE.pack(until, self._pod))

    def _count(self) -> int:
        counted = self._store.map("losses").get(self._key) or b""
        return sum(count for (count,) in _LOST.iter_unpack(counted))


def sweep(store: Store) -> None:
    """Take away what tracers left that were killed."""
    for name in store.names("tracers"):
        lock = bpffs.try_lock(store.path("tracers", name))
        if lock is not None:
            _clear(store, int(name), lock)


def _place(store: Store) -> tuple[int, int]:
    """Find a free place, and give the descriptor that has its lock."""
    os.makedirs(store.path("tracers"), mode=0o700, exist_ok=True)
    for slot in range(TRACERS):
        lock = bpffs.try_lock(store.path("tracers", str(slot)))
        if lock is not None:
            return slot, lock
    raise HostError(
        f"{TRACERS} others trace pods of this node already, and more cannot",
        hint="end one of them, as ps -C interceptor shows them, and trace again",
    )


def _clear(store: Store, slot: int, lock: int) -> None:
    """Empty a place and give it back."""
    key = _SLOT.pack(slot)
    try:
        store.map("traces").put(key, _TRACE.pack(0, 0))
        store.map("rings").remove(key)
    finally:
        bpffs.remove_directory(store.path("tracers", str(slot)))
        bpffs.remove_directory(store.path("tracers"))
        os.close(lock)
