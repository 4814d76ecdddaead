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
from typing import TYPE_CHECKING

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
_FAMILIES = {Family.IP: socket.AF_INET, Family.IP6: socket.AF_INET6, Family.INET: 1}
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_GENERIC = struct.Struct("=BBH")
_ANSWER_TIMEOUT_S = 5.0

Held = dict[tuple[Family, str], frozenset[str]]
"""Names of chains by family and table."""


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
    held: dict[tuple[Family, str], set[str]] = {}
    try:
        with _kernel() as kernel:
            # NFTA_TABLE_NAME is the first attribute of a table, NFTA_CHAIN_TABLE of a chain.
            for family, names in _dump(kernel, _GETTABLE):
                held[family, names[1]] = set()
            for family, names in _dump(kernel, _GETCHAIN):
                held.setdefault((family, names[1]), set()).add(names[3])
    except OSError as error:
        raise HostError(
            f"nf_tables cannot be asked for its tables: {error.strerror}",
            hint="load the nf_tables module on the node, or choose --iptables-variant legacy",
        ) from None
    return {table: frozenset(chains) for table, chains in held.items()}


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


def _kernel() -> socket.socket:
    kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
    kernel.settimeout(_ANSWER_TIMEOUT_S)
    kernel.bind((0, 0))
    return kernel


def _dump(kernel: socket.socket, kind: int) -> Iterator[tuple[Family, dict[int, str]]]:
    """Ask for all of a kind; give each one's family and its texts by attribute number."""
    families = {number: family for family, number in _FAMILIES.items()}
    kernel.send(_message(_SUBSYSTEM << 8 | kind, _REQUEST | _DUMP, socket.AF_UNSPEC))
    while True:
        for answer, body in _messages(kernel.recv(1 << 16)):
            if answer == _DONE:
                return
            if answer == _ERROR:
                code = _code(body)
                raise OSError(code, os.strerror(code))
            family, _, _ = _GENERIC.unpack_from(body)
            if family in families:
                yield families[family], _texts(body[_GENERIC.size :])


def _texts(attributes: bytes) -> dict[int, str]:
    """Read attributes as texts, numbers and nested ones as whatever they give."""
    texts: dict[int, str] = {}
    while len(attributes) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(attributes)
        value = attributes[_ATTRIBUTE.size : length]
        texts[kind] = value.rstrip(b"\0").decode(errors="replace")
        attributes = attributes[(length + 3) & ~3 :]
    return texts


def _commit(remains: Remains) -> int:
    """Send one batch and give the error of the first message that failed, or 0."""
    try:
        return _send_batch(remains)
    except OSError as error:
        # The socket itself failed; whether the kernel took the batch is not known.
        return error.errno or errno.ETIMEDOUT


def _send_batch(remains: Remains) -> int:
    batch = [
        *(_delete(remains, _DELRULE, remains.table, chain) for chain in remains.own),
        *(_delete(remains, _DELCHAIN, remains.table, chain) for chain in remains.own),
        *(_delete(remains, _DELCHAIN, remains.table, chain) for chain in remains.bases),
    ]
    if remains.whole:
        batch.append(_delete(remains, _DELTABLE, remains.table))
    if not batch:
        return 0
    begin = _message(_BATCH_BEGIN, _REQUEST, socket.AF_UNSPEC, _SUBSYSTEM)
    end = _message(_BATCH_END, _REQUEST, socket.AF_UNSPEC, _SUBSYSTEM)
    with _kernel() as kernel:
        kernel.send(b"".join([begin, *batch, end]))
        left = len(batch)
        while left > 0:
            for kind, body in _messages(kernel.recv(1 << 16)):
                if kind == _ERROR:
                    left -= 1
                    # A refused batch may give fewer answers than it had messages.
                    if code := _code(body):
                        return code
    return 0


def _delete(remains: Remains, kind: int, *names: str) -> bytes:
    # NFTA_TABLE_NAME; NFTA_CHAIN_TABLE, NFTA_CHAIN_NAME; NFTA_RULE_TABLE, NFTA_RULE_CHAIN.
    numbers = (1, 3) if kind == _DELCHAIN else (1, 2)
    attributes = b"".join(_attribute(n, name) for n, name in zip(numbers, names, strict=False))
    flags = _REQUEST | _ACK | _NONREC
    return _message(_SUBSYSTEM << 8 | kind, flags, _FAMILIES[remains.family], 0, attributes)


def _message(kind: int, flags: int, family: int, resource: int = 0, rest: bytes = b"") -> bytes:
    body = struct.pack("=BB", family, 0) + struct.pack("!H", resource) + rest
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, 0, 0) + body


def _attribute(kind: int, text: str) -> bytes:
    value = text.encode() + b"\0"
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + b"\0" * (-len(value) % 4)


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Split what came into messages: type and body."""
    while len(data) >= _HEADER.size:
        length, kind, *_ = _HEADER.unpack_from(data)
        yield kind, data[_HEADER.size : length]
        data = data[(length + 3) & ~3 :]


def _code(body: bytes) -> int:
    (code,) = struct.unpack_from("=i", body)
    return -int(code)
