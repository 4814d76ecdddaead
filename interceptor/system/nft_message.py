"""Messages that make tables, chains and rules in nf_tables, and the expressions of rules."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from interceptor.names import Family
from interceptor.system.netlink import ACK, REQUEST, attribute
from interceptor.system.nfnetlink import FAMILIES, SUBSYSTEM, generic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interceptor.system.netlink import Message

# linux/netfilter/nf_tables.h
_INET = FAMILIES[Family.INET]
_CREATE, _APPEND = 0x400, 0x800
_NEWTABLE, _DELTABLE, _NEWCHAIN, _NEWRULE = 0, 2, 3, 6
_TABLE_NAME, _TABLE_FLAGS = 1, 2
_CHAIN_TABLE, _CHAIN_NAME, _CHAIN_HOOK, _CHAIN_TYPE = 1, 3, 4, 7
_HOOK_NUMBER, _HOOK_PRIORITY = 1, 2
_RULE_TABLE, _RULE_CHAIN, _RULE_EXPRESSIONS = 1, 2, 4
_LIST_ELEMENT, _EXPRESSION_NAME, _EXPRESSION_DATA, _DATA_VALUE = 1, 1, 2, 1
_REGISTER = 1
"""NFT_REG_1: expressions hand values to one another in it."""
_EQUAL, _UNEQUAL = 0, 1
_NFTRACE = 12
META_IIF, META_L4PROTO = 4, 16
CT_STATUS = 2


def new_table(name: str, flags: int) -> Message:
    """Make a table of family inet."""
    return _new(_NEWTABLE, 0, [(_TABLE_NAME, _text(name)), (_TABLE_FLAGS, _be32(flags))])


def delete_table(name: str) -> Message:
    """Remove a table of family inet with all in it."""
    body = generic(_INET) + attribute(_TABLE_NAME, _text(name))
    return SUBSYSTEM << 8 | _DELTABLE, REQUEST | ACK, body


def new_chain(table: str, name: str, hook: int, priority: int) -> Message:
    """Make a base chain of type filter that lets everything pass.

    Args:
        table: of family inet.
        name: of the chain.
        hook: its number, see enum nf_inet_hooks in linux/netfilter.h.
        priority: at that hook.
    """
    place = _list((_HOOK_NUMBER, _be32(hook)), (_HOOK_PRIORITY, struct.pack("!i", priority)))
    return _new(
        _NEWCHAIN,
        0,
        [
            (_CHAIN_TABLE, _text(table)),
            (_CHAIN_NAME, _text(name)),
            (_CHAIN_HOOK, place),
            (_CHAIN_TYPE, _text("filter")),
        ],
    )


def new_rule(table: str, chain: str, *expressions: bytes) -> Message:
    """Add a rule at the end of a chain."""
    return _new(
        _NEWRULE,
        _APPEND,
        [
            (_RULE_TABLE, _text(table)),
            (_RULE_CHAIN, _text(chain)),
            (_RULE_EXPRESSIONS, b"".join(attribute(_LIST_ELEMENT, one) for one in expressions)),
        ],
    )


def meta(key: int) -> bytes:
    """Load something that is known beside a packet."""
    return _expression("meta", (1, _be32(_REGISTER)), (2, _be32(key)))


def conntrack(key: int) -> bytes:
    """Load something of a packet's connection; without one the rule does not match."""
    return _expression("ct", (1, _be32(_REGISTER)), (2, _be32(key)))


def transport(offset: int, length: int) -> bytes:
    """Load bytes of the header of TCP or UDP."""
    which = [(1, _be32(_REGISTER)), (2, _be32(2)), (3, _be32(offset)), (4, _be32(length))]
    return _expression("payload", *which)


def masked(mask: bytes) -> bytes:
    """Keep some bits of what is loaded."""
    kept = [(1, _be32(_REGISTER)), (2, _be32(_REGISTER)), (3, _be32(len(mask)))]
    return _expression("bitwise", *kept, (4, _data(mask)), (5, _data(bytes(len(mask)))))


def equal(value: bytes) -> bytes:
    """Go on if it is this."""
    return _expression("cmp", (1, _be32(_REGISTER)), (2, _be32(_EQUAL)), (3, _data(value)))


def unequal(value: bytes) -> bytes:
    """Go on if it is not this."""
    return _expression("cmp", (1, _be32(_REGISTER)), (2, _be32(_UNEQUAL)), (3, _data(value)))


def set_trace(*, on: bool) -> tuple[bytes, bytes]:
    """Have the kernel tell of each rule the packet meets from here, or no longer."""
    value = _expression("immediate", (1, _be32(_REGISTER)), (2, _data(bytes([on]))))
    return value, _expression("meta", (2, _be32(_NFTRACE)), (3, _be32(_REGISTER)))


def log(group: int, length: int) -> bytes:
    """Log the first bytes of the packet to a group of NFLOG, at once."""
    once = [(1, struct.pack("!H", group)), (3, _be32(length)), (4, struct.pack("!H", 1))]
    return _expression("log", *once)


def _new(kind: int, flags: int, fields: Sequence[tuple[int, bytes]]) -> Message:
    body = generic(_INET) + _list(*fields)
    return SUBSYSTEM << 8 | kind, REQUEST | ACK | _CREATE | flags, body


def _expression(name: str, *fields: tuple[int, bytes]) -> bytes:
    return _list((_EXPRESSION_NAME, _text(name)), (_EXPRESSION_DATA, _list(*fields)))


def _data(value: bytes) -> bytes:
    return _list((_DATA_VALUE, value))


def _list(*fields: tuple[int, bytes]) -> bytes:
    return b"".join(attribute(number, value) for number, value in fields)


def _text(value: str) -> bytes:
    return value.encode() + b"\0"


def _be32(number: int) -> bytes:
    return struct.pack("!I", number)
