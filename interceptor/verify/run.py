"""Set the stage, make every connection, say what became of each."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import msgspec

from interceptor.errors import HostError
from interceptor.system import facts
from interceptor.verify.named import Identity, Named
from interceptor.verify.probe import Places, Planner
from interceptor.verify.prober import Result, prober
from interceptor.verify.sockets import ADDRESS_FAMILIES, endpoint
from interceptor.verify.stage import Ends, addresses, stage

if TYPE_CHECKING:
    from interceptor.analysis.packet import Address
    from interceptor.model import Ruleset
    from interceptor.names import Family
    from interceptor.system.deadline import Deadline


class Verified(msgspec.Struct, frozen=True):
    """All results, what could not be tried and why, and the ports a running proxy holds."""

    results: tuple[Result, ...]
    not_tried: tuple[str, ...]
    proxy_ports: tuple[int, ...]

    @property
    def ok(self) -> bool:
        """Whether every connection went where it should, and there was one."""
        return bool(self.results) and all(result.ok for result in self.results)


def verify(
    ruleset: Ruleset,
    families: tuple[Family, ...],
    deadline: Deadline,
    held: tuple[Ruleset, ...] = (),
) -> Verified:
    """Probe the namespace this thread is in.

    Where the proxy's ports are free, listeners of our own take its place and ask for the
    original destination as it would; where somebody listens there, that is the proxy, and it is
    the kernel's list of sockets that tells who took a connection.

    Args:
        ruleset: the policy's rules: they say what should become of each connection.
        families: those to probe, one by one.
        deadline: for all of it.
        held: what the kernel holds; what its rules name is tried too.

    Raises:
        DeadlineError: it took longer than ``--timeout``; nothing is left behind.
    """
    named = Named.of(ruleset, *held)
    me, may_act = _identity(named)
    not_tried = []
    if not may_act:
        not_tried.append("connections as the proxy: other users and groups need SETUID and SETGID")
    results: list[Result] = []
    taken: list[int] = []
    with ExitStack() as stack:
        outside: int | None = None
        interface = ""
        try:
            made = stack.enter_context(stage(named, families))
            outside, interface, ends = made.outside, made.interface, made.ends
        except HostError as error:
            not_tried.append(f"connections from and to outside: {error.message}")
            ends = _alone(named, families)
        not_tried += [f"{f}: the namespace has it switched off" for f in families if f not in ends]
        for family, end in ends.items():
            probes = stack.enter_context(prober(named, family, outside))
            places = Places(
                pod=end.pod,
                outside=end.outside,
                interface=interface,
                borrowed=end.borrowed,
                free_port=probes.free_port,
                beyond=outside is not None,
            )
            for probe in Planner(ruleset, named, places, me, may_act=may_act).probes():
                deadline.remaining(f"verifying {probe.what}")
                results.append(probes.run(probe))
            taken += probes.taken
    return Verified(tuple(results), tuple(not_tried), tuple(dict.fromkeys(taken)))


def _identity(named: Named) -> tuple[Identity, bool]:
    """Give who the app is to be, and whether this process can act as others at all."""
    me = named.stranger()
    if facts.has_capability(facts.CAP_SETUID) and facts.has_capability(facts.CAP_SETGID):
        return me, True
    return msgspec.structs.replace(me, uid=os.geteuid(), gid=os.getegid()), False


def _alone(named: Named, families: tuple[Family, ...]) -> dict[Family, Ends]:
    """Give addresses to use without a neighbour: the pod's own, and one that is nobody's."""
    alone = {}
    for family, ends in addresses(named, families).items():
        own = _own_address(family, ends.outside)
        if own is not None:
            alone[family] = msgspec.structs.replace(ends, pod=own)
    return alone


def _own_address(family: Family, towards: Address) -> Address | None:
    """Give the address this namespace would send from; asking sends nothing."""
    with socket.socket(ADDRESS_FAMILIES[family], socket.SOCK_DGRAM) as asking:
        try:
            asking.connect((str(towards), 9))
        except OSError:
            return None
        return endpoint(asking.getsockname())[0]
