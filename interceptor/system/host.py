"""Observe what ``HostFacts`` and the choice of a backend need; nothing is changed or loaded."""

from __future__ import annotations

import os
from ipaddress import IPv6Address
from typing import TYPE_CHECKING

from interceptor.config import BackendChoice, DnsCapture
from interceptor.errors import HostError
from interceptor.facts import HostFacts
from interceptor.names import LOOPBACK_INTERFACE
from interceptor.values import Networks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from interceptor.config import Config
    from interceptor.facts import PodFacts

_ALL_IDS = 2**32 - 1
"""Length of the initial user namespace's id map (user_namespaces(7))."""
_NET = "/proc/thread-self/net"

CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_ADMIN, CAP_SETUID, CAP_SETGID = 12, 13, 21, 7, 6
"""linux/capability.h."""


def observe(config: Config, *, resolvers: Networks | None = None) -> HostFacts:
    """Observe the namespace this thread is in, and look up the names a config mentions.

    ``resolvers`` are for whoever knows the name servers from elsewhere than resolv.conf.
    """
    return HostFacts(
        has_ipv6=has_ipv6(),
        users=_look_up(config.user_names, users=True),
        groups=_look_up(config.group_names, users=False),
        resolvers=_resolvers(config) if resolvers is None else resolvers,
        pod=pod(config) if config.backend is BackendChoice.EBPF else None,
    )


def pod(config: Config) -> PodFacts:
    """Give what programs at sockets have to know of the namespace this thread is in."""
    from interceptor.system.netns import CURRENT
    from interceptor.system.pod import pod_facts_here

    here = os.open(CURRENT, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return pod_facts_here(here, config)
    finally:
        os.close(here)


def _resolvers(config: Config) -> Networks:
    """Give the name servers, if they are to be captured; whoever does not ask needs no file."""
    if config.capture_dns is not DnsCapture.RESOLV_CONF:
        return Networks()
    from interceptor.system.resolv import resolvers

    return resolvers(config.netns)


def has_ipv6() -> bool:
    """Whether an interface other than ``lo`` has an IPv6 address that is not link-local."""
    try:
        with open(f"{_NET}/if_inet6", encoding="ascii") as file:
            rows = [line.split() for line in file]
    except OSError:
        return False
    return any(
        row[-1] != LOOPBACK_INTERFACE and not IPv6Address(int(row[0], 16)).is_link_local
        for row in rows
    )


def kernel_has_ipv6() -> bool:
    """Whether the kernel speaks IPv6 at all."""
    return os.path.exists(f"{_NET}/if_inet6")


def maps_all_ids() -> bool:
    """Whether every user id has a meaning here; in a user namespace of its own few have."""
    with open("/proc/thread-self/uid_map", encoding="ascii") as file:
        return any(int(line.split()[2]) == _ALL_IDS for line in file)


def legacy_tables(*, ipv6: bool) -> frozenset[str]:
    """Give the tables of iptables-legacy that this namespace has; asking makes none.

    Raises:
        HostError: there may be some, and this process may not read which.
    """
    name = "ip6_tables_names" if ipv6 else "ip_tables_names"
    try:
        with open(f"{_NET}/{name}", encoding="ascii") as file:
            return frozenset(file.read().split())
    except FileNotFoundError:
        return frozenset()
    except OSError as error:
        raise HostError(
            f"{_NET}/{name} cannot be read: {error.strerror}", hint="run as root, user 0"
        ) from None


def has_capability(number: int) -> bool:
    """Whether this thread has a capability in effect."""
    with open("/proc/thread-self/status", encoding="ascii") as file:
        effective = next(line for line in file if line.startswith("CapEff:"))
    return bool(int(effective.split()[1], 16) >> number & 1)


def _look_up(names: Iterable[str], *, users: bool) -> dict[str, int]:
    """Give the ids of those names this host knows."""
    import grp
    import pwd

    ids: dict[str, int] = {}
    for name in names:
        try:
            ids[name] = pwd.getpwnam(name).pw_uid if users else grp.getgrnam(name).gr_gid
        except KeyError:
            continue
    return ids
