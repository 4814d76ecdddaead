"""Have nf_tables tell what becomes of each connection's first packet, while a socket is open.

Rules are not touched. A table of our own, which belongs to the socket, asks the kernel to tell;
the kernel takes it away when the socket is closed, also by our death. What it tells comes by
multicast (NFNLGRP_NFTRACE), in one order with the news that rules have changed (NFNLGRP_NFTABLES).
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from interceptor.analysis.traced import BEGIN, END, KNOWN, Event, Kind
from interceptor.dialect import TRACE_PREFIX
from interceptor.errors import HostError
from interceptor.system import nft_message as message
from interceptor.system.netlink import Kernel, attributes, messages
from interceptor.system.nf_log import Logged
from interceptor.system.nfnetlink import FAMILIES, GENERIC, NETFILTER, OWNED, SUBSYSTEM, commit
from interceptor.system.nft_header import LONGEST, read_header

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.system.netlink import Message

# linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h, linux/netfilter.h
_GROUP_TABLES, _GROUP_TRACE = 7, 9
_NEWGEN, _TRACE = SUBSYSTEM << 8 | 15, SUBSYSTEM << 8 | 17
_TABLE, _CHAIN, _HANDLE, _TYPE, _VERDICT, _ID, _NETWORK, _TRANSPORT = 1, 2, 3, 4, 5, 6, 8, 9
_IIF, _OIF, _POLICY = 10, 12, 16
_VERDICT_CODE = 1
_KINDS = {1: Kind.POLICY, 2: Kind.RETURN, 3: Kind.RULE}
_VERDICTS = {
    0: "drop",
    1: "accept",
    2: "stolen",
    3: "queue",
    -1: "continue",
    -2: "break",
    -3: "jump",
    -4: "goto",
    -5: "return",
}
_PREROUTING, _INPUT, _OUTPUT, _POSTROUTING = 0, 1, 3, 4
_BEFORE_RAW, _AFTER_CONNTRACK, _LAST = -301, -199, 2**31 - 2
_TCP_FLAGS, _SYN, _SYN_AND_ACK = 13, b"\x02", b"\x12"
_DESTINATION_PORT, _DNS = 2, b"\0\x35"
_CONFIRMED = struct.pack("=I", 1 << 3)
"""IPS_CONFIRMED of linux/netfilter/nf_conntrack_common.h."""
_LOOPBACK = struct.pack("=I", 1)
"""LOOPBACK_IFINDEX of net/flow.h: that of ``lo`` in every namespace."""
_SOCKETS = "/proc/thread-self/net/netlink"
_BUFFER = 1 << 23
_MOST_AT_ONCE = 1 << 16
_MOST_EVENTS = 2048
_RCVBUFFORCE = 33


class Told:
    """What the kernel tells; :func:`told` makes it.

    ``table`` is the name of the table that has it tell. ``losses`` is how often it had more to
    tell than was fetched in time. ``logged`` knows who sent packets, if this kernel can tell.
    """

    def __init__(self, table: str, listening: socket.socket, logged: Logged | None) -> None:
        self.table = table
        self.logged = logged
        self.losses = 0
        self.generation = 0
        self._listening = listening
        self._interfaces: dict[int, str] = {}

    def wait(self, seconds: float) -> list[Event]:
        """Give what was told, as soon as there is something; nothing after so many seconds."""
        found: list[Event] = []
        if select.select([self._listening], [], [], max(seconds, 0))[0]:
            while len(found) < _MOST_EVENTS:
                try:
                    data, _, flags, sender = self._listening.recvmsg(_MOST_AT_ONCE)
                except BlockingIOError:
                    break
                except OSError as error:
                    if error.errno != errno.ENOBUFS:
                        raise
                    self.losses += 1
                    continue
                if sender[0] == 0 and not flags & socket.MSG_TRUNC:
                    found += self._events(data)
        return found

    def lost(self) -> int:
        """Give how many events there were that could not be kept until they were fetched."""
        inode = str(os.fstat(self._listening.fileno()).st_ino)
        with suppress(OSError), open(_SOCKETS, encoding="ascii") as file:
            for line in file:
                *_, drops, number = line.split()
                if number == inode:
                    return int(drops)
        # Nobody says how many; that there were some is known.
        return self.losses

    def _events(self, data: bytes) -> Iterator[Event]:
        now = time.time()
        for kind, _, _, body in messages(data):
            if kind == _NEWGEN:
                self.generation += 1
            elif kind == _TRACE:
                event = self._event(now, body)
                if event:
                    yield event

    def _event(self, now: float, body: bytes) -> Event | None:
        number, _, _ = GENERIC.unpack_from(body)
        told = attributes(body[GENERIC.size :])
        kind = _KINDS.get(int.from_bytes(told.get(_TYPE, b"")))
        if kind is Kind.RULE and _HANDLE not in told:
            kind = Kind.LAST
        if kind is None or number not in _FAMILIES or not {_TABLE, _CHAIN, _ID} <= told.keys():
            return None
        return Event(
            at=now,
            generation=self.generation,
            packet=int.from_bytes(told[_ID]),
            family=_FAMILIES[number],
            table=_text(told[_TABLE]),
            chain=_text(told[_CHAIN]),
            kind=kind,
            handle=int.from_bytes(told.get(_HANDLE, b"")),
            verdict=_verdict(told),
            header=read_header(told.get(_NETWORK, b""), told.get(_TRANSPORT, b"")),
            in_interface=self._interface(told.get(_IIF)),
            out_interface=self._interface(told.get(_OIF)),
        )

    def _interface(self, value: bytes | None) -> str:
        """Give the name of an interface; one that is gone has its number."""
        if value is None:
            return ""
        number = int.from_bytes(value)
        if number not in self._interfaces:
            try:
                self._interfaces[number] = socket.if_indextoname(number)
            except OSError:
                self._interfaces[number] = f"#{number}"
        return self._interfaces[number]


_FAMILIES = {number: family for family, number in FAMILIES.items()}


def _verdict(told: dict[int, bytes]) -> str:
    if _POLICY in told:
        code = int.from_bytes(told[_POLICY], signed=True)
    else:
        inner = attributes(told.get(_VERDICT, b""))
        code = int.from_bytes(inner.get(_VERDICT_CODE, b"\xff\xff\xff\xff"), signed=True)
    # Above the lowest byte, what drops or queues has numbers of its own.
    return _VERDICTS.get(code if code < 0 else code & 0xFF, "continue")


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")


@contextmanager
def told() -> Iterator[Told]:
    """Have the kernel tell of this thread's namespace meanwhile.

    Raises:
        HostError: it does not, or this process may not ask.
    """
    with ExitStack() as stack:
        try:
            kernel = stack.enter_context(Kernel(NETFILTER))
            listening = stack.enter_context(_listening())
            logged = _logged(stack)
            # The number of the socket is its own in this namespace: two tracers, two tables.
            table = f"{TRACE_PREFIX}{kernel.port}"
            refused = commit(kernel, script(table, OWNED, logged.group if logged else None))
            if refused and logged:
                logged = None
                refused = commit(kernel, script(table, OWNED, None))
            if refused in (errno.EINVAL, errno.EOPNOTSUPP):
                # Before Linux 5.12 tables have no owners.
                refused = commit(kernel, script(table, 0, None))
        except OSError as error:
            raise _cannot(error.errno or 0) from None
        if refused:
            raise _cannot(refused)
        # With its owner's socket it would go too; without an owner only so.
        stack.callback(commit, kernel, [message.delete_table(table)])
        yield Told(table, listening, logged)


def _listening() -> socket.socket:
    """Open a socket that hears what is told and that rules have changed."""
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETFILTER)
    made.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, _BUFFER)
    made.bind((0, 1 << (_GROUP_TABLES - 1) | 1 << (_GROUP_TRACE - 1)))
    made.settimeout(0)
    return made


def _logged(stack: ExitStack) -> Logged | None:
    try:
        logged = Logged()
    except OSError:
        return None
    stack.callback(logged.close)
    return logged


def script(table: str, flags: int, log_group: int | None) -> list[Message]:
    """Write what makes the kernel tell.

    A connection's first packet is looked at, and none that conntrack has confirmed already: that
    one comes again, and nothing is decided about it. What comes in by ``lo`` has left by it, and
    is told of since then. With a ``log_group``, what is sent is logged to it.
    """
    batch = [message.new_table(table, flags)]
    for hook, way in ((_PREROUTING, "in"), (_OUTPUT, "out")):
        from_outside = (message.meta(message.META_IIF), message.unequal(_LOOPBACK))
        outside = from_outside if hook == _PREROUTING else ()
        does = [*message.set_trace(on=True)]
        if log_group is not None and hook == _OUTPUT:
            does.insert(0, message.log(log_group, LONGEST))
        firsts = {
            "tcp": (
                *_of(socket.IPPROTO_TCP),
                message.transport(_TCP_FLAGS, 1),
                message.masked(_SYN_AND_ACK),
                message.equal(_SYN),
            ),
            "udp": (
                *_of(socket.IPPROTO_UDP),
                message.transport(_DESTINATION_PORT, 2),
                message.equal(_DNS),
            ),
        }
        for protocol, first in firsts.items():
            chain = f"{BEGIN}-{protocol}-{way}"
            batch += [
                message.new_chain(table, chain, hook, _BEFORE_RAW),
                message.new_rule(table, chain, *outside, *first, *does),
            ]
        chain = f"{KNOWN}-{way}"
        known = (
            message.conntrack(message.CT_STATUS),
            message.masked(_CONFIRMED),
            message.unequal(bytes(4)),
        )
        batch += [
            message.new_chain(table, chain, hook, _AFTER_CONNTRACK),
            message.new_rule(table, chain, *outside, *known, *message.set_trace(on=False)),
        ]
    for hook, way in ((_INPUT, "in"), (_POSTROUTING, "out")):
        batch.append(message.new_chain(table, f"{END}-{way}", hook, _LAST))
    return batch


def _of(protocol: int) -> tuple[bytes, bytes]:
    return message.meta(message.META_L4PROTO), message.equal(bytes([protocol]))


def _cannot(number: int) -> HostError:
    if number in (errno.EPERM, errno.EACCES):
        hint = "run as root, or give the container the NET_ADMIN capability"
    else:
        hint = "its kernel has to have nf_tables with conntrack and tracing (nft_ct, nft_meta)"
    return HostError(
        f"nf_tables does not tell here what it decides: {os.strerror(number)}", hint=hint
    )
