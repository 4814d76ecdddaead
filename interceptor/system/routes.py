"""Changes of routing rules and local routes, through pyroute2.

Its import takes three times as long as all the rest of an installation, so it is imported when
something has to be changed, which is in mode tproxy alone.
"""

from __future__ import annotations

import errno
import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from interceptor.errors import CommandError, HostError
from interceptor.names import LOOPBACK_INTERFACE, Family
from interceptor.values import FULL_MASK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.model import LocalRoute, MarkRule

_NUMBERS = {Family.IP: socket.AF_INET, Family.IP6: socket.AF_INET6}
_MAIN_PRIORITY = 32766
"""That of the kernel's rule for its main table (ip-rule(8))."""
_HOST_SCOPE = 254
_ANYWHERE = {Family.IP: "0.0.0.0/0", Family.IP6: "::/0"}


def switch_loopback_on() -> None:
    """Switch ``lo`` on, without which there are no IPv6 routes by it."""
    from pyroute2 import IPRoute

    with IPRoute() as kernel:
        kernel.link("set", index=socket.if_nametoindex(LOOPBACK_INTERFACE), state="up")


def add_rule(rule: MarkRule) -> None:
    """Add a rule where it is to be, or before all but the kernel's first; nothing if it is there.

    Where that is left open it is what the kernel would choose, said aloud: for a rule without a
    priority, the kernel takes an equal one of somebody else's for this one.

    Raises:
        HostError, CommandError: why not.
    """
    with _kernel(rule) as kernel:
        priorities = [r.get("priority", 0) for r in kernel.get_rules(family=_NUMBERS[rule.family])]
        first = min((p for p in priorities if p), default=_MAIN_PRIORITY)
        if not _held(kernel, rule):
            kernel.rule("add", **_spec(rule), priority=rule.priority or first - 1)


def remove_rule(rule: MarkRule) -> None:
    """Remove a rule and its doubles; one that is not there is no error.

    Raises:
        HostError, CommandError: why not.
    """
    with _kernel(rule) as kernel:
        for priority in _held(kernel, rule):
            kernel.rule("del", **_spec(rule), priority=priority)


def _held(kernel: Any, rule: MarkRule) -> list[int]:
    """Give the priorities at which a rule of just this mark, table and maker is."""
    return [
        found.get("priority", 0)
        for found in kernel.get_rules(family=_NUMBERS[rule.family])
        if (found.get("fwmark"), found.get("table")) == (rule.mark, rule.table)
        and found.get("protocol", 0) == rule.protocol
        and not found.get("iifname")
        and not found.get("oifname")
    ]


def _spec(rule: MarkRule) -> dict[str, Any]:
    return {
        "family": _NUMBERS[rule.family],
        "fwmark": rule.mark,
        "fwmask": FULL_MASK,
        "table": rule.table,
        "protocol": rule.protocol,
    }


def add_route(route: LocalRoute) -> None:
    """Make all destinations of a table local, or make that ours if it is so.

    Raises:
        HostError, CommandError: why not.
    """
    with _kernel(route) as kernel:
        kernel.route("replace", **_route(route), proto=route.protocol)


def remove_route(route: LocalRoute) -> None:
    """Remove it; if it is not there, that is no error.

    Raises:
        HostError, CommandError: why not.
    """
    with _kernel(route) as kernel:
        kernel.route("del", **_route(route), proto=route.protocol)


def _route(route: LocalRoute) -> dict[str, Any]:
    return {
        "family": _NUMBERS[route.family],
        "type": "local",
        "dst": _ANYWHERE[route.family],
        "scope": _HOST_SCOPE if route.family is Family.IP else 0,
        "oif": socket.if_nametoindex(LOOPBACK_INTERFACE),
        "table": route.table,
    }


@contextmanager
def _kernel(what: MarkRule | LocalRoute) -> Iterator[Any]:
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        with IPRoute() as kernel:
            yield kernel
    except NetlinkError as error:
        # What is to be added is there, or what is to be removed is gone.
        if error.code not in (errno.EEXIST, errno.ESRCH, errno.ENOENT):
            raise _refused(what, error.code) from None


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
