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

from interceptor.dialect import is_tracers
from interceptor.errors import CommandError, HostError
from interceptor.names import Family
from interceptor.system.netlink import (
    ACK,
    ERROR,
    REQUEST,
    Kernel,
    attribute,
    attributes,
    code,
    until_still,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from interceptor.system.netlink import Message

# linux/netlink.h, linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h
NETFILTER = 12
SUBSYSTEM = 10
_BATCH_BEGIN, _BATCH_END = 16, 17
_GETTABLE, _DELTABLE, _GETCHAIN, _DELCHAIN, _GETRULE, _DELRULE = 1, 2, 4, 5, 7, 8
_NONREC = 0x100
_TABLE_NAME, _TABLE_FLAGS, _CHAIN_TABLE, _CHAIN_NAME, _RULE_TABLE, _RULE_CHAIN = 1, 2, 1, 3, 1, 2
_RULE_HANDLE = 3
_DORMANT, OWNED = 0x1, 0x2
FAMILIES = {Family.IP: socket.AF_INET, Family.IP6: socket.AF_INET6, Family.INET: 1}
GENERIC = struct.Struct("=BBH")


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

    Those that somebody traces by are left out: they decide nothing, and go with him. One that was
    left, as by a kernel that does not know tables with an owner, is there.

    Raises:
        HostError: the kernel has no nf_tables, or does not let this process look.
    """
    try:
        with Kernel(NETFILTER) as kernel:
            return until_still(lambda: _look(kernel))
    except OSError as error:
        hint = "load the nf_tables module on the node, or choose --iptables-variant legacy"
        if error.errno in (errno.EPERM, errno.EACCES):
            hint = "run as root, or give the container the NET_ADMIN capability"
        raise HostError(
            f"nf_tables cannot be asked for its tables: {error.strerror or error}", hint=hint
        ) from None


def _look(kernel: Kernel) -> Held:
    chains: dict[tuple[Family, str], set[str]] = {}
    dormant, tracers = set(), set()
    for family, found in _dump(kernel, _GETTABLE):
        table = family, _text(found[_TABLE_NAME])
        flags = int.from_bytes(found.get(_TABLE_FLAGS, b""))
        chains[table] = set()
        if flags & _DORMANT:
            dormant.add(table)
        if flags & OWNED and is_tracers(*table):
            tracers.add(table)
    for family, found in _dump(kernel, _GETCHAIN):
        table = family, _text(found[_CHAIN_TABLE])
        chains.setdefault(table, set()).add(_text(found[_CHAIN_NAME]))
    return {
        table: HeldTable(frozenset(names), dormant=table in dormant)
        for table, names in chains.items()
        if table not in tracers
    }


def rule_handles() -> dict[tuple[Family, str, str], list[int]]:
    """Give the numbers by which the kernel knows the rules of each chain, in their order.

    Chains are named by family, table and name.

    Raises:
        OSError: the kernel does not tell.
    """
    with Kernel(NETFILTER) as kernel:
        return until_still(lambda: _rule_handles(kernel))


def _rule_handles(kernel: Kernel) -> dict[tuple[Family, str, str], list[int]]:
    handles: dict[tuple[Family, str, str], list[int]] = {}
    for family, found in _dump(kernel, _GETRULE):
        chain = family, _text(found[_RULE_TABLE]), _text(found[_RULE_CHAIN])
        handles.setdefault(chain, []).append(int.from_bytes(found[_RULE_HANDLE]))
    return handles


def remove(remains: Remains) -> None:
    """Remove it in one transaction; what somebody uses by now stays, and only ours goes.

    Raises:
        CommandError: the kernel refused for another reason.
    """
    own = msgspec.structs.replace(remains, bases=(), whole=False)
    refused = _commit(remains)
    if refused in (errno.EBUSY, errno.EAGAIN, errno.ENOENT):
        refused = _commit(own)
    if refused not in (0, errno.ENOENT):
        raise CommandError(
            f"table {remains.family} {remains.table} cannot be tidied up: {os.strerror(refused)}",
            hint="what is left in it decides nothing; run the same command again",
        )


def _dump(kernel: Kernel, kind: int) -> Iterator[tuple[Family, dict[int, bytes]]]:
    """Ask for all of a kind; give each one's family and its attributes by number."""
    families = {number: family for family, number in FAMILIES.items()}
    for body in kernel.dump(SUBSYSTEM << 8 | kind, generic(socket.AF_UNSPEC)):
        family, _, _ = GENERIC.unpack_from(body)
        if family in families:
            yield families[family], attributes(body[GENERIC.size :])


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
    with Kernel(NETFILTER) as kernel:
        return commit(kernel, batch)


def commit(kernel: Kernel, batch: Sequence[Message]) -> int:
    """Send one batch, of which all is done or nothing; give the errno of why not, or 0.

    Args:
        kernel: a socket to netfilter.
        batch: messages, each of which asks for an answer.

    Raises:
        OSError: the socket itself failed.
    """
    begin = (_BATCH_BEGIN, REQUEST, generic(socket.AF_UNSPEC, SUBSYSTEM))
    end = (_BATCH_END, REQUEST, generic(socket.AF_UNSPEC, SUBSYSTEM))
    left = len(batch)
    for kind, _, body in kernel.ask(begin, *batch, end) if batch else ():
        if kind == ERROR:
            left -= 1
            # A refused batch may give fewer answers than it had messages.
            if (refused := code(body)) or not left:
                return refused
    return 0


def _delete(remains: Remains, kind: int, names: dict[int, str]) -> Message:
    written = b"".join(attribute(number, name.encode() + b"\0") for number, name in names.items())
    head = generic(FAMILIES[remains.family])
    return SUBSYSTEM << 8 | kind, REQUEST | ACK | _NONREC, head + written


def generic(family: int, resource: int = 0) -> bytes:
    """Write a struct nfgenmsg."""
    return struct.pack("=BB", family, 0) + struct.pack("!H", resource)
