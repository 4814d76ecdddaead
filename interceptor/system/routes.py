"""Changes of routing rules and local routes, by netlink (rtnetlink(7)).

They are asked for in mode tproxy alone. Looking is in ``rtnetlink``.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING

from interceptor.errors import CommandError, HostError
from interceptor.names import LOOPBACK_INTERFACE, Family
from interceptor.system.netlink import Kernel, attribute, attributes, until_still
from interceptor.values import FULL_MASK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.model import LocalRoute, MarkRule

# linux/netlink.h, linux/rtnetlink.h, linux/fib_rules.h, linux/if_link.h
_NETLINK_ROUTE = 0
_NEWLINK, _NEWROUTE, _DELROUTE, _NEWRULE, _DELRULE, _GETRULE = 16, 24, 25, 32, 33, 34
_REPLACE, _EXCLUSIVE, _CREATE = 0x100, 0x200, 0x400
_LINK = struct.Struct("=BxHiII")
_UP = 1
_RULE = _ROUTE = struct.Struct("=BBBBBBBBI")
_TO_TABLE = 1
_IN, _PRIORITY, _FWMARK, _TABLE, _FWMASK, _OUT, _PROTOCOL = 3, 6, 10, 15, 16, 17, 21
_LOCAL_TYPE = 2
_RTA_OIF, _RTA_TABLE = 4, 15
_NUMBERS = {Family.IP: socket.AF_INET, Family.IP6: socket.AF_INET6}
_ALL_BITS = struct.pack("=I", FULL_MASK)
_MAIN_PRIORITY = 32766
"""That of the kernel's rule for its main table (ip-rule(8))."""
_HOST_SCOPE = 254
_SMALL_TABLES = 1 << 8
"""Those whose number fits the header; of others an attribute has it."""


def switch_loopback_on() -> None:
    """Switch ``lo`` on, without which there are no IPv6 routes by it.

    Raises:
        OSError: why not.
    """
    index = socket.if_nametoindex(LOOPBACK_INTERFACE)
    with Kernel(_NETLINK_ROUTE) as kernel:
        code = kernel.do(_NEWLINK, 0, _LINK.pack(socket.AF_UNSPEC, 0, index, _UP, _UP))
    if code:
        raise OSError(code, os.strerror(code))


def add_rule(rule: MarkRule) -> None:
    """Add a rule where it is to be, or before all but the kernel's first; nothing if it is there.

    Where that is left open it is what the kernel would choose, said aloud: for a rule without a
    priority, the kernel takes an equal one of somebody else's for this one.

    Raises:
        HostError, CommandError: why not.
    """
    with _kernel(rule) as kernel:
        rules = _rules(kernel, rule.family)
        if not _held(rules, rule):
            priorities = [priority for found in rules if (priority := _number(found, _PRIORITY))]
            first = min(priorities, default=_MAIN_PRIORITY)
            body = _rule(rule, rule.priority or first - 1)
            _do(kernel, _NEWRULE, _CREATE | _EXCLUSIVE, body)


def remove_rule(rule: MarkRule) -> None:
    """Remove a rule and its doubles; one that is not there is no error.

    Raises:
        HostError, CommandError: why not.
    """
    with _kernel(rule) as kernel:
        for priority in _held(_rules(kernel, rule.family), rule):
            _do(kernel, _DELRULE, 0, _rule(rule, priority))


def _rules(kernel: Kernel, family: Family) -> tuple[dict[int, bytes], ...]:
    """Give the attributes of all rules of a family, with their tables among them."""

    def look() -> tuple[dict[int, bytes], ...]:
        asked = _RULE.pack(_NUMBERS[family], *[0] * 8)
        return tuple(
            {_TABLE: body[4:5], **attributes(body[_RULE.size :])}
            for body in kernel.dump(_GETRULE, asked)
        )

    return until_still(look)


def _held(rules: tuple[dict[int, bytes], ...], rule: MarkRule) -> list[int]:
    """Give the priorities at which a rule of just this mark, table and maker is."""
    return [
        _number(found, _PRIORITY)
        for found in rules
        if (_number(found, _FWMARK), _number(found, _TABLE)) == (rule.mark, rule.table)
        and int.from_bytes(found.get(_FWMASK, _ALL_BITS), "little") == rule.mask
        and _number(found, _PROTOCOL) == rule.protocol
        and not found.keys() & {_IN, _OUT}
    ]


def _rule(rule: MarkRule, priority: int) -> bytes:
    table = rule.table if rule.table < _SMALL_TABLES else 0
    head = _RULE.pack(_NUMBERS[rule.family], 0, 0, 0, table, 0, 0, _TO_TABLE, 0)
    return (
        head
        + attribute(_PRIORITY, struct.pack("=I", priority))
        + attribute(_FWMARK, struct.pack("=I", rule.mark))
        + attribute(_FWMASK, struct.pack("=I", rule.mask))
        + attribute(_TABLE, struct.pack("=I", rule.table))
        + attribute(_PROTOCOL, bytes([rule.protocol]))
    )


def add_route(route: LocalRoute) -> None:
    """Make all destinations of a table local, or make that ours if it is so.

    Raises:
        HostError, CommandError: why not.
    """
    with _kernel(route) as kernel:
        _do(kernel, _NEWROUTE, _CREATE | _REPLACE, _route(route))


def remove_route(route: LocalRoute) -> None:
    """Remove it; if it is not there, that is no error.

    Raises:
        HostError, CommandError: why not.
    """
    with _kernel(route) as kernel:
        _do(kernel, _DELROUTE, 0, _route(route))


def _route(route: LocalRoute) -> bytes:
    table = route.table if route.table < _SMALL_TABLES else 0
    scope = _HOST_SCOPE if route.family is Family.IP else 0
    number = _NUMBERS[route.family]
    head = _ROUTE.pack(number, 0, 0, 0, table, route.protocol, scope, _LOCAL_TYPE, 0)
    out = struct.pack("=I", socket.if_nametoindex(LOOPBACK_INTERFACE))
    return head + attribute(_RTA_TABLE, struct.pack("=I", route.table)) + attribute(_RTA_OIF, out)


def _number(found: dict[int, bytes], name: int) -> int:
    return int.from_bytes(found.get(name, b""), "little")


def _do(kernel: Kernel, kind: int, flags: int, body: bytes) -> None:
    code = kernel.do(kind, flags, body)
    # What is to be added is there, or what is to be removed is gone.
    if code not in (0, errno.EEXIST, errno.ESRCH, errno.ENOENT):
        raise OSError(code, os.strerror(code))


@contextmanager
def _kernel(what: MarkRule | LocalRoute) -> Iterator[Kernel]:
    """Talk to the kernel, and say of what it does not take why."""
    try:
        with Kernel(_NETLINK_ROUTE) as kernel:
            yield kernel
    except OSError as error:
        raise _refused(what, error.errno or errno.EIO) from None


def _refused(what: MarkRule | LocalRoute, code: int) -> HostError | CommandError:
    said = f"{what}: the kernel does not take it: {os.strerror(code)}"
    match code:
        case errno.EPERM | errno.EACCES:
            return HostError(said, hint="run as root, or give the container NET_ADMIN")
        case errno.EOPNOTSUPP | errno.EAFNOSUPPORT | errno.EINVAL | errno.ENETDOWN:
            return HostError(
                said,
                hint="mode tproxy needs policy routing in the kernel and lo up; "
                "--mode redirect does not",
            )
        case _:
            return CommandError(said, hint="nothing of ours was changed; see interceptor check")
