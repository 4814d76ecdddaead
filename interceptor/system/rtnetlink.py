"""Routing rules, local routes and addresses of ``lo``: what is there, and addresses changed.

To look costs a millisecond, which every run can bear. So is the address changed here that every
pod with IPv6 needs; ``routes`` has the changes that few pods need and that take a library.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from ipaddress import IPv4Address, IPv6Address
from itertools import takewhile
from typing import TYPE_CHECKING

from interceptor.errors import CommandError, HostError
from interceptor.model import OWN_PROTOCOL, LocalRoute, LoopbackAddress, MarkRule, Routing
from interceptor.names import LOOPBACK_INTERFACE, Family
from interceptor.system.netlink import Kernel, attribute, attributes, until_still
from interceptor.values import FULL_MASK

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# linux/netlink.h, linux/rtnetlink.h, linux/fib_rules.h, linux/if_addr.h
_NETLINK_ROUTE = 0
_NEWADDR, _DELADDR, _GETADDR, _GETROUTE, _GETRULE = 20, 21, 22, 26, 34
_CREATE, _REPLACE = 0x400, 0x100
_RULE = struct.Struct("=BBBBBBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_ADDRESS = struct.Struct("=BBBBI")
_PRIORITY, _FWMARK, _SUPPRESS_PREFIX, _TABLE, _FWMASK, _PROTOCOL = 6, 10, 14, 15, 16, 21
_PADDING = 18
_PLAIN = frozenset({_PRIORITY, _FWMARK, _SUPPRESS_PREFIX, _TABLE, _FWMASK, _PROTOCOL, _PADDING})
"""Attributes of a rule that asks for a mark and nothing else."""
_TO_TABLE, _INVERTED = 1, 2
_RTA_OIF, _RTA_TABLE = 4, 15
_LOCAL_TYPE = 2
_KERNELS_TABLES = frozenset({253, 254, 255})
_IFA_ADDRESS, _IFA_LOCAL, _IFA_RT_PRIORITY, _IFA_PROTO = 1, 2, 9, 11
_KEEPS_MAKERS = (5, 18)
"""The first Linux that keeps IFA_PROTO; older ones ignore it."""
_OWN_METRIC = 173173173
"""That of the route by an address of ours where makers are not kept (IFA_RT_PRIORITY, 4.18)."""
_NO_DAD = 0x02
_DISABLED = f"/proc/sys/net/ipv6/conf/{LOOPBACK_INTERFACE}/disable_ipv6"
_NUMBERS = {socket.AF_INET: Family.IP, socket.AF_INET6: Family.IP6}
_FAMILIES = {family: number for number, family in _NUMBERS.items()}
_LACKING = frozenset({errno.EAFNOSUPPORT, errno.EOPNOTSUPP, errno.ENOENT})
_OWN_ALWAYS = frozenset({IPv4Address("127.0.0.1"), IPv6Address("::1")})


def look() -> tuple[Routing, ...]:
    """Give what is there of the three kinds, whoever made it.

    Raises:
        HostError: the kernel does not say.
    """
    try:
        with Kernel(_NETLINK_ROUTE) as kernel:
            return until_still(lambda: (*_rules(kernel), *_routes(kernel), *_addresses(kernel)))
    except OSError as error:
        raise HostError(
            f"the kernel does not say how it routes: {error.strerror or error}",
            hint="let this process make sockets of the family AF_NETLINK",
        ) from None


def _rules(kernel: Kernel) -> Iterator[MarkRule]:
    """Give the rules that send a mark to a table and ask for nothing else."""
    for family, number in _FAMILIES.items():
        for body in _of(kernel, _GETRULE, _RULE.pack(number, *[0] * 8)):
            of, dst, src, tos, table, _, _, action, flags = _RULE.unpack_from(body)
            found = attributes(body[_RULE.size :])
            is_plain = found.keys() <= _PLAIN and not (dst or src or tos or flags & _INVERTED)
            suppressed = _number(found.get(_SUPPRESS_PREFIX), FULL_MASK) != FULL_MASK
            if of != number or action != _TO_TABLE or not is_plain or suppressed:
                continue
            mark = _number(found.get(_FWMARK))
            if mark:
                table = _number(found.get(_TABLE), table)
                made_by, at = _number(found.get(_PROTOCOL)), _number(found.get(_PRIORITY))
                mask = _number(found.get(_FWMASK), FULL_MASK)
                yield MarkRule(family, mark, table, made_by, at, mask)


def _routes(kernel: Kernel) -> Iterator[LocalRoute]:
    """Give the routes by which a table of its own makes every destination local."""
    lo = socket.if_nametoindex(LOOPBACK_INTERFACE)
    for family, number in _FAMILIES.items():
        for body in _of(kernel, _GETROUTE, _ROUTE.pack(number, *[0] * 8)):
            _, dst, src, tos, table, protocol, _, kind, _ = _ROUTE.unpack_from(body)
            if kind != _LOCAL_TYPE or dst or src or tos:
                continue
            found = attributes(body[_ROUTE.size :])
            table = _number(found.get(_RTA_TABLE), table)
            if table not in _KERNELS_TABLES and _number(found.get(_RTA_OIF)) == lo:
                yield LocalRoute(family, table, protocol)


def _addresses(kernel: Kernel) -> Iterator[LoopbackAddress]:
    lo = socket.if_nametoindex(LOOPBACK_INTERFACE)
    for number in _NUMBERS:
        for body in _of(kernel, _GETADDR, _ADDRESS.pack(number, 0, 0, 0, 0)):
            of, length, _, _, index = _ADDRESS.unpack_from(body)
            if index != lo or of != number:
                continue
            found = attributes(body[_ADDRESS.size :])
            packed = found.get(_IFA_LOCAL, found.get(_IFA_ADDRESS, b""))
            kind = IPv4Address if of == socket.AF_INET else IPv6Address
            address = kind(packed)
            if length == address.max_prefixlen and address not in _OWN_ALWAYS:
                yield LoopbackAddress(address, _maker(found))


def _maker(found: Mapping[int, bytes]) -> int:
    """Give whose an address is: ours may be known by its metric alone."""
    if _IFA_PROTO not in found and _number(found.get(_IFA_RT_PRIORITY)) == _OWN_METRIC:
        return OWN_PROTOCOL
    return _number(found.get(_IFA_PROTO))


def _mark_of(maker: int) -> bytes:
    """Give the attributes that tell whose an address is to this kernel, or a patched one."""
    mark = attribute(_IFA_PROTO, bytes([maker]))
    if maker == OWN_PROTOCOL and _release() < _KEEPS_MAKERS:
        mark += attribute(_IFA_RT_PRIORITY, struct.pack("=I", _OWN_METRIC))
    return mark


def _release() -> tuple[int, int]:
    """Give this kernel's version: 5.10.0-32-amd64 is 5, 10."""
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int("".join(takewhile(str.isdigit, minor)))


def _of(kernel: Kernel, kind: int, body: bytes) -> Iterator[bytes]:
    """Dump one kind in one family; a family the kernel lacks has none."""
    try:
        yield from kernel.dump(kind, body)
    except OSError as error:
        if error.errno not in _LACKING:
            raise


def _number(value: bytes | None, otherwise: int = 0) -> int:
    return int.from_bytes(value, "little") if value is not None else otherwise


def lo_takes(family: Family) -> bool:
    """Whether ``lo`` can have addresses and routes; with IPv6 off there nobody needs any."""
    if family is Family.IP:
        return True
    try:
        with open(_DISABLED, encoding="ascii") as file:
            return file.read().strip() == "0"
    except OSError:
        return False


def add_address(address: LoopbackAddress) -> None:
    """Give ``lo`` an address, or make one it has ours.

    The kernel notes whose it is since 5.18; before, the metric of the route by it does.

    Raises:
        HostError: IPv6 is switched off there, or this process may not.
        CommandError: the kernel refuses for another reason.
    """
    # Usable at once: nobody else on lo could have it.
    refused = _send(_NEWADDR, _CREATE | _REPLACE, address, _mark_of(address.protocol))
    if refused:
        raise _refused(f"{address.address} cannot be added to lo", refused)


def remove_address(address: LoopbackAddress) -> None:
    """Take an address from ``lo``; one that is not there is no error.

    Raises:
        HostError: this process may not.
        CommandError: the kernel refuses for another reason.
    """
    refused = _send(_DELADDR, 0, address, b"")
    if refused not in (0, errno.EADDRNOTAVAIL, errno.ENODEV, errno.EAFNOSUPPORT):
        raise _refused(f"{address.address} cannot be taken from lo", refused)


def _send(kind: int, flags: int, address: LoopbackAddress, more: bytes) -> int:
    packed = address.address.packed
    head = _ADDRESS.pack(
        _FAMILIES[address.family],
        address.address.max_prefixlen,
        _NO_DAD if address.family is Family.IP6 else 0,
        0,
        socket.if_nametoindex(LOOPBACK_INTERFACE),
    )
    body = head + attribute(_IFA_LOCAL, packed) + attribute(_IFA_ADDRESS, packed) + more
    try:
        with Kernel(_NETLINK_ROUTE) as kernel:
            return kernel.do(kind, flags, body)
    except OSError as error:
        return error.errno or errno.EIO


def _refused(what: str, code: int) -> HostError | CommandError:
    said = f"{what}: {os.strerror(code)}"
    match code:
        case errno.EPERM:
            return HostError(said, hint="run as root, or give the container NET_ADMIN")
        case errno.EACCES | errno.EAFNOSUPPORT | errno.EOPNOTSUPP:
            return HostError(
                f"{said}: IPv6 is switched off there",
                hint="switch it on (sysctl net.ipv6.conf.lo.disable_ipv6=0), or say "
                "--ip-families ipv4",
            )
        case _:
            return CommandError(said, hint="nothing of ours was changed; see interceptor check")
