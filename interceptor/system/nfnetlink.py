"""Two things to ask nf_tables by netlink, because no command-line tool can.

Which tables and chains there are: cheaper than starting ``nft``, and known even on a host without
it. And to remove tables and chains only if they are empty: ``nft delete table`` takes everything
in a table with it, also what somebody added a moment ago. The kernel knows a flag against that,
NLM_F_NONREC (linux/netlink.h, nf_tables since 4.15): a chain that has rules or a table that has
chains is then "busy" and stays.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Self

import msgspec

from interceptor.errors import CommandError, HostError
from interceptor.names import Family

if TYPE_CHECKING:
    from collections.abc import Iterator

# linux/netlink.h, linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h
_NETLINK_NETFILTER = 12
_SUBSYSTEM = 10
_BATCH_BEGIN, _BATCH_END = 16, 17
_GETTABLE, _DELTABLE, _GETCHAIN, _DELCHAIN, _DELRULE = 1, 2, 4, 5, 8
_REQUEST, _ACK, _NONREC, _DUMP = 0x01, 0x04, 0x100, 0x300
_ERROR, _DONE = 2, 3
_TABLE_NAME, _TABLE_FLAGS, _CHAIN_TABLE, _CHAIN_NAME, _RULE_TABLE, _RULE_CHAIN = 1, 2, 1, 3, 1, 2
_DORMANT = 0x1
_FAMILIES = {Family.IP: socket.AF_INET, Family.IP6: socket.AF_INET6, Family.INET: 1}
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_GENERIC = struct.Struct("=BBH")
_DUMP_INTERRUPTED = 0x10
_ANSWER_TIMEOUT_S = 5.0
_MOST_AT_ONCE = 1 << 16
_MOST_LOOKS = 20


class HeldTable(msgspec.Struct, frozen=True):
    """A table: the names of its chains, and whether it is switched off as a whole."""

    chains: frozenset[str]
    dormant: bool = False


Held = dict[tuple[Family, str], HeldTable]
"""Tables by family and name."""


class Remains(msgspec.Struct, frozen=True):
    """What is left of ours in a table of somebody else, or in one that was made for us.

    Args:
        family: of the table.
        table: its name.
        own: chains of ours that nothing calls; they go with their rules.
        bases: base chains that are believed to be empty; ``whole`` is whether the table is too.
    """

    family: Family
    table: str
    own: tuple[str, ...]
    bases: tuple[str, ...]
    whole: bool


def look() -> Held:
    """Give the tables of this namespace that can hold IPv4 or IPv6 rules, and their chains.

    Raises:
        HostError: the kernel has no nf_tables, or does not let this process look.
    """
    try:
        with _Kernel() as kernel:
            return _look_until_still(kernel)
    except OSError as error:
        hint = "load the nf_tables module on the node, or choose --iptables-variant legacy"
        if error.errno in (errno.EPERM, errno.EACCES):
            hint = "run as root, or give the container the NET_ADMIN capability"
        raise HostError(
            f"nf_tables cannot be asked for its tables: {error.strerror or error}", hint=hint
        ) from None


def _look_until_still(kernel: _Kernel) -> Held:
    for _ in range(_MOST_LOOKS):
        with suppress(InterruptedError):
            return _look(kernel)
    raise OSError(errno.EAGAIN, "they change all the time")


def _look(kernel: _Kernel) -> Held:
    chains: dict[tuple[Family, str], set[str]] = {}
    dormant = set()
    for family, attributes in kernel.dump(_GETTABLE):
        table = family, _text(attributes[_TABLE_NAME])
        chains[table] = set()
        if int.from_bytes(attributes.get(_TABLE_FLAGS, b"")) & _DORMANT:
            dormant.add(table)
    for family, attributes in kernel.dump(_GETCHAIN):
        table = family, _text(attributes[_CHAIN_TABLE])
        chains.setdefault(table, set()).add(_text(attributes[_CHAIN_NAME]))
    return {
        table: HeldTable(frozenset(names), dormant=table in dormant)
        for table, names in chains.items()
    }


def remove(remains: Remains) -> None:
    """Remove it in one transaction; what somebody uses by now stays, and only ours goes.

    Raises:
        CommandError: the kernel refused for another reason.
    """
    own = msgspec.structs.replace(remains, bases=(), whole=False)
    code = _commit(remains)
    if code in (errno.EBUSY, errno.EAGAIN, errno.ENOENT):
        code = _commit(own)
    if code not in (0, errno.ENOENT):
        raise CommandError(
            f"table {remains.family} {remains.table} cannot be tidied up: {os.strerror(code)}",
            hint="what is left in it decides nothing; run the same command again",
        )


class _Kernel:
    """A socket to the kernel's nf_tables; ``with`` it, it is open.

    Whoever is root in the namespace can send to it too, so an answer counts only if it comes from
    the kernel and to our question.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        self._socket.settimeout(_ANSWER_TIMEOUT_S)
        self._socket.bind((0, 0))
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, *messages: tuple[int, int, bytes]) -> Iterator[tuple[int, int, bytes]]:
        """Send messages of type, flags and body, and give answers for ever: the same of each."""
        self._sequence += 1
        parts = [
            _HEADER.pack(_HEADER.size + len(body), kind, flags, self._sequence, 0) + body
            for kind, flags, body in messages
        ]
        self._socket.send(b"".join(parts))
        while True:
            data, _, flags, sender = self._socket.recvmsg(_MOST_AT_ONCE)
            if flags & socket.MSG_TRUNC:
                raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
            if sender[0] == 0:
                yield from self._messages(data)

    def _messages(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        while len(data) >= _HEADER.size:
            length, kind, flags, sequence, _ = _HEADER.unpack_from(data)
            if not _HEADER.size <= length <= len(data):
                raise OSError(errno.EBADMSG, os.strerror(errno.EBADMSG))
            if sequence == self._sequence:
                yield kind, flags, data[_HEADER.size : length]
            data = data[(length + 3) & ~3 :]

    def dump(self, kind: int) -> Iterator[tuple[Family, dict[int, bytes]]]:
        """Ask for all of a kind; give each one's family and its attributes by number.

        Raises:
            InterruptedError: something changed meanwhile, so some may be missing: ask again.
            OSError: the kernel refuses, or does not answer.
        """
        families = {number: family for family, number in _FAMILIES.items()}
        changed = False
        question = (_SUBSYSTEM << 8 | kind, _REQUEST | _DUMP, _generic(socket.AF_UNSPEC))
        for answer, flags, body in self.ask(question):
            changed = changed or bool(flags & _DUMP_INTERRUPTED)
            if answer in (_DONE, _ERROR):
                if code := _code(body):
                    raise OSError(code, os.strerror(code))
                break
            family, _, _ = _GENERIC.unpack_from(body)
            if family in families:
                yield families[family], _attributes(body[_GENERIC.size :])
        if changed:
            raise InterruptedError


def _attributes(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if not _ATTRIBUTE.size <= length <= len(data):
            raise OSError(errno.EBADMSG, os.strerror(errno.EBADMSG))
        found[kind] = data[_ATTRIBUTE.size : length]
        data = data[(length + 3) & ~3 :]
    return found


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")


def _commit(remains: Remains) -> int:
    """Send one batch and give the error of the first message that failed, or 0."""
    try:
        return _send_batch(remains)
    except OSError as error:
        # The socket itself failed; whether the kernel took the batch is not known.
        return error.errno or errno.ETIMEDOUT


def _send_batch(remains: Remains) -> int:
    name = remains.table
    batch = [
        *(_delete(remains, _DELRULE, {_RULE_TABLE: name, _RULE_CHAIN: c}) for c in remains.own),
        *(
            _delete(remains, _DELCHAIN, {_CHAIN_TABLE: name, _CHAIN_NAME: c})
            for c in (*remains.own, *remains.bases)
        ),
    ]
    if remains.whole:
        batch.append(_delete(remains, _DELTABLE, {_TABLE_NAME: name}))
    if not batch:
        return 0
    begin = (_BATCH_BEGIN, _REQUEST, _generic(socket.AF_UNSPEC, _SUBSYSTEM))
    end = (_BATCH_END, _REQUEST, _generic(socket.AF_UNSPEC, _SUBSYSTEM))
    left = len(batch)
    with _Kernel() as kernel:
        for kind, _, body in kernel.ask(begin, *batch, end):
            if kind == _ERROR:
                left -= 1
                # A refused batch may give fewer answers than it had messages.
                if (code := _code(body)) or not left:
                    return code
    return 0


def _delete(remains: Remains, kind: int, names: dict[int, str]) -> tuple[int, int, bytes]:
    attributes = b"".join(_attribute(number, name) for number, name in names.items())
    head = _generic(_FAMILIES[remains.family])
    return _SUBSYSTEM << 8 | kind, _REQUEST | _ACK | _NONREC, head + attributes


def _generic(family: int, resource: int = 0) -> bytes:
    """Write a struct nfgenmsg."""
    return struct.pack("=BB", family, 0) + struct.pack("!H", resource)


def _attribute(kind: int, text: str) -> bytes:
    value = text.encode() + b"\0"
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + b"\0" * (-len(value) % 4)


def _code(body: bytes) -> int:
    (code,) = struct.unpack_from("=i", body)
    return -int(code)
