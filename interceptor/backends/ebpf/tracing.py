"""Decisions as they are made, for whoever asks; nobody pays for them otherwise.

The programs write an event only while a time that stands in a map is not over. Whoever looks
pushes it forward; if he dies, it ends of itself.
"""

from __future__ import annotations

import struct
import time
from contextlib import contextmanager
from ipaddress import IPv6Address
from typing import TYPE_CHECKING

import msgspec

from interceptor.backends.ebpf.reasons import REASONS, VERDICTS
from interceptor.system.libbpf import Ring

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from interceptor.backends.ebpf.store import Store

_EVENT = struct.Struct("=QQ16s16sIIIHHBBBB16sI")
_TRACE = struct.Struct("=QQ")
_KEY = bytes(4)
_LEASE_NS = 2_000_000_000
_PROTOCOLS = {6: "tcp", 17: "udp"}


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One connection or query, and what became of it.

    Args:
        at: seconds of the kernel's monotonic clock.
        pod: the cookie of its namespace.
        inbound: whether it arrived; then nothing is known of who made it.
        source: its address; the port is 0 where none was chosen yet.
    """

    at: float
    pod: int
    inbound: bool
    protocol: str
    source: str
    source_port: int
    address: str
    port: int
    verdict: str
    reason: str
    pid: int
    uid: int
    gid: int
    command: str


def read(data: bytes) -> Decision:
    """Read an event as rules/bpf/policy.h has it."""
    at, pod, source, address, pid, uid, gid, source_port, port, *rest = _EVENT.unpack_from(data)
    protocol, inbound, verdict, reason, command, _ = rest
    return Decision(
        at=at / 1e9,
        pod=pod,
        inbound=bool(inbound),
        protocol=_PROTOCOLS.get(protocol, str(protocol)),
        source=_text(source),
        source_port=source_port,
        address=_text(address),
        port=port,
        verdict=VERDICTS[verdict],
        reason=REASONS[reason],
        pid=pid,
        uid=uid,
        gid=gid,
        command=command.partition(b"\0")[0].decode(errors="replace"),
    )


def _text(packed: bytes) -> str:
    address = IPv6Address(packed)
    return str(address.ipv4_mapped or address)


@contextmanager
def traced(store: Store, pod: int = 0) -> Iterator[Callable[[float], list[Decision]]]:
    """Have decisions written, of one pod or of all; give a function that waits for some.

    It takes the seconds to wait and gives what there is, at once if there is something. It has to
    be called at least every two seconds. One at a time may look: two would share what there is.
    """
    traces = store.map("traces")

    def ask() -> None:
        traces.put(_KEY, _TRACE.pack(time.monotonic_ns() + _LEASE_NS, pod))

    ring = Ring(store.map("events").descriptor)
    try:
        # What is left from somebody before is not of now.
        ring.wait(0)
        ask()

        def wait(seconds: float) -> list[Decision]:
            ask()
            return [read(data) for data in ring.wait(seconds)]

        yield wait
    finally:
        traces.put(_KEY, _TRACE.pack(0, 0))
        ring.close()
