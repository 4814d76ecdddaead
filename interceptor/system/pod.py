"""What there is of a pod: its addresses, and whose ids its settings mean."""

from __future__ import annotations

import fcntl
import os
import socket
from typing import TYPE_CHECKING

from interceptor.errors import HostError
from interceptor.facts import ALL_IDS, IdMap, PodFacts
from interceptor.system.addresses import addresses
from interceptor.system.libc import library
from interceptor.system.netns import inside
from interceptor.values import Networks, parse_network

if TYPE_CHECKING:
    from interceptor.config import Config

_NS_GET_USERNS = 0xB701
"""linux/nsfs.h"""
_CLONE_NEWUSER = 0x10000000
_SOMEWHERE = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
"""Addresses that belong to nobody: nothing is sent, only the route to them is asked for."""


def pod_facts(netns: int, config: Config) -> PodFacts:
    """Observe a pod, by its open network namespace."""
    with inside(netns):
        return pod_facts_here(netns, config)


def pod_facts_here(netns: int, config: Config) -> PodFacts:
    """Observe the pod this thread is in, without entering it once more."""
    own = tuple(map(str, addresses()))
    source4, source6 = map(_source, _SOMEWHERE)
    users, groups = ALL_IDS, ALL_IDS
    # Only where it can matter: to ask takes a process.
    if any(getattr(config, key).ids for key in _IDS):
        users, groups = id_maps(netns)
    return PodFacts(
        # The zone says by which interface; it is no part of the address.
        own=Networks.of(parse_network(text.partition("%")[0]) for text in own),
        source4=source4,
        source6=source6,
        users=users,
        groups=groups,
    )


_IDS = ("proxy_uid", "proxy_gid", "exclude_outbound_uids", "exclude_outbound_owner_groups")


def _source(family: socket.AddressFamily) -> str:
    """Give the address that connections to the world come from; ``""`` if there is no way."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as asked:
            asked.connect((_SOMEWHERE[family], 9))
            return str(asked.getsockname()[0])
    except OSError:
        return ""


def id_maps(netns: int) -> tuple[IdMap, IdMap]:
    """Give the ids of the user namespace that owns a network namespace, as the machine has them.

    Raises:
        HostError: they cannot be found out.
    """
    owner = fcntl.ioctl(netns, _NS_GET_USERNS)
    try:
        mine = os.stat("/proc/self/ns/user").st_ino
        if os.fstat(owner).st_ino == mine:
            return _read_map("self", "uid_map"), _read_map("self", "gid_map")
        return _maps_of_another(owner)
    finally:
        os.close(owner)


def _maps_of_another(owner: int) -> tuple[IdMap, IdMap]:
    """Read the maps of a process that goes there: read from here they tell our ids."""
    libc = library()
    ready, is_there = os.pipe()
    wait, leave = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(leave)
        entered = libc.setns(owner, _CLONE_NEWUSER) == 0
        os.write(is_there, b"1" if entered else b"0")
        os.read(wait, 1)
        os._exit(0)
    os.close(is_there)
    try:
        if os.read(ready, 1) != b"1":
            raise HostError(
                "the user namespace of the pod may not be entered, so its ids are not known",
                hint="run as root with CAP_SYS_ADMIN",
            )
        return _read_map(str(child), "uid_map"), _read_map(str(child), "gid_map")
    finally:
        os.close(leave)
        os.close(ready)
        os.close(wait)
        os.waitpid(child, 0)


def _read_map(process: str, name: str) -> IdMap:
    with open(f"/proc/{process}/{name}", encoding="ascii") as file:
        rows = [tuple(map(int, line.split())) for line in file]
    return tuple((inside_id, outside_id, length) for inside_id, outside_id, length in rows)
