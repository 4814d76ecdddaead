"""Set the stage, make every connection, say what became of each."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import msgspec

from interceptor.analysis.packet import Packet
from interceptor.errors import DeadlineError, HostError
from interceptor.names import FAMILY_NAMES
from interceptor.verify.answerer import answerers
from interceptor.verify.at_sockets import at_sockets
from interceptor.verify.hosts import Host, reachable_hosts
from interceptor.verify.loopback import loopback
from interceptor.verify.named import Identity, Named
from interceptor.verify.probe import Places, Planner
from interceptor.verify.prober import Prober
from interceptor.verify.sockets import acting_as, own_address, set_mark
from interceptor.verify.stage import Stage, addresses, stage
from interceptor.verify.stand_ins import stand_ins

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from interceptor.analysis.packet import Address
    from interceptor.model import Ruleset
    from interceptor.model.pod_config import PodConfig
    from interceptor.names import Family
    from interceptor.system.deadline import Deadline
    from interceptor.verify.at_sockets import AtSockets
    from interceptor.verify.cable import Ends
    from interceptor.verify.judge import Result


class Verified(msgspec.Struct, frozen=True):
    """All results, what could not be tried and why, and the ports a running proxy holds.

    ``remarks`` are what else explains the results; ``in_time`` is whether the time was enough
    for all that was to be tried.
    """

    results: tuple[Result, ...]
    not_tried: tuple[str, ...]
    proxy_ports: tuple[int, ...]
    remarks: tuple[str, ...] = ()
    in_time: bool = True

    @property
    def ok(self) -> bool:
        """Whether every connection went where it should, there was one, and time for all."""
        return bool(self.results) and all(result.ok for result in self.results) and self.in_time


def verify(
    ruleset: Ruleset,
    families: tuple[Family, ...],
    deadline: Deadline,
    held: tuple[Ruleset, ...] = (),
    *,
    sockets: PodConfig | None = None,
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
        sockets: the policy that programs at sockets enforce here, if it is they who do.

    Whatever happens it gives results; what there was no time for is among what was not tried.
    """
    with at_sockets(sockets, deadline) as told:
        named = Named.of(ruleset, *held, *([told.named] if told else ()))
        return _Run(ruleset, named, deadline, told).verify(families)


class _Run:
    """One verification: what it knows and what it has found out so far."""

    def __init__(
        self, ruleset: Ruleset, named: Named, deadline: Deadline, sockets: AtSockets | None
    ) -> None:
        self._ruleset = ruleset
        self._sockets = sockets
        self._named = named
        self._deadline = deadline
        self._results: list[Result] = []
        self._not_tried: list[str] = []
        self._remarks: list[str] = []
        self._taken: dict[Family, list[int]] = {}
        self._called: set[Address] = set()
        self._in_time = True
        self._me, self._identities = self._who()

    def verify(self, families: tuple[Family, ...]) -> Verified:
        ends: dict[Family, Ends] = {}
        with ExitStack() as stack:
            if remark := stack.enter_context(loopback()):
                self._remarks.append(remark)
            try:
                made = self._stage(stack, families)
                ends = made.ends if made else _alone(self._named, families)
                off = "the namespace has it switched off" if made else "no address to connect from"
                self._not_tried += [f"{FAMILY_NAMES[f]}: {off}" for f in families if f not in ends]
                for family, end in ends.items():
                    self._probe(family, end, made)
            except DeadlineError:
                self._in_time = False
                left = [FAMILY_NAMES[f] for f in ends or families if f not in self._taken]
                self._not_tried.append(f"{' and '.join(left)}: the time was up")
        self._not_tried[:0] = self._named.left_out(families, self._called)
        self._remark_half_a_proxy()
        taken = [port for ports in self._taken.values() for port in ports]
        return Verified(
            tuple(self._results),
            tuple(self._not_tried),
            tuple(dict.fromkeys(taken)),
            tuple(self._remarks),
            self._in_time,
        )

    def _stage(self, stack: ExitStack, families: tuple[Family, ...]) -> Stage | None:
        """Make a neighbour that is there as long as the stack, if that can be done here."""
        left_s = self._deadline.remaining("verifying")
        try:
            made = stack.enter_context(stage(self._named, families, left_s))
        except HostError as error:
            self._not_tried.append(f"connections from and to outside: {error.message}")
            return None
        self._not_tried += made.not_lent
        return made

    def _probe(self, family: Family, ends: Ends, made: Stage | None) -> None:
        """Make all connections of one family."""
        left_s = self._deadline.remaining("verifying")
        interface = made.interface if made else ""
        neighbour = Host(ends.outside, interface, ends.pod)
        hosts = reachable_hosts(self._named.hosts[family])
        answering = self._answerers((neighbour, *hosts))
        try:
            with stand_ins(
                self._named, family, made.outside if made else None, answering, self._sockets
            ) as there:
                places = Places(
                    pod=ends.pod,
                    local=self._local(family, ends),
                    outside=ends.outside,
                    interface=interface,
                    borrowed=ends.borrowed,
                    clients=ends.clients,
                    hosts=hosts,
                    free_port=there.free_port,
                    beyond=made is not None,
                )
                planner = Planner(self._ruleset, self._named, places, self._me, self._identities)
                planned = [(probe, there.why_not(probe)) for probe in planner.probes()]
                able = [probe for probe, why_not in planned if not why_not]
                self._note(Prober(there).run(able, left_s))
                self._taken[family] = there.taken
                self._remarks += there.remarks
        except HostError as error:
            self._not_tried.append(f"{FAMILY_NAMES[family]}: {error.message}")
        else:
            self._not_tried += [
                f"{probe.what}: {why_not}" for probe, why_not in planned if why_not
            ]

    def _local(self, family: Family, ends: Ends) -> Address | None:
        """Give an address to call the pod by from inside, or say that there is none."""
        if self._sockets is None:
            return ends.pod
        local = self._sockets.own(family)
        if local is None:
            self._not_tried.append(
                f"{FAMILY_NAMES[family]} from the pod to itself: it had no address when the "
                "policy was installed"
            )
        return local

    def _note(self, results: Iterable[Result]) -> None:
        """Keep what became known, and say what did not."""
        for result in results:
            if result.is_known:
                self._results.append(result)
            else:
                self._not_tried.append(f"{result.probe.what}: {result.note}")
            if result.probe.is_stranger:
                self._called.add(result.probe.packet.destination)

    def _answerers(self, asked: Sequence[Host]) -> dict[int, Identity | None]:
        """Give who is to answer datagrams at ports they are redirected to."""
        queries = [
            Packet(
                protocol="udp",
                source=host.source,
                destination=host.address,
                destination_port=port,
                out_interface=host.interface,
                uid=who.uid,
                gid=who.gid,
                mark=who.mark,
            )
            for host in asked
            for port in self._named.udp_outbound_ports
            for who in (self._me, *self._identities)
        ]
        named = (*self._named.identities(self._me), self._me)
        return answerers(self._ruleset, queries, named, (*self._identities, self._me))

    def _remark_half_a_proxy(self) -> None:
        """Say where a proxy leaves one family's connections to nobody, or now to us."""
        for family, taken in self._taken.items():
            for other, ports in self._taken.items():
                self._remarks += [
                    f"somebody listens on port {port} for {FAMILY_NAMES[other]} and nobody does "
                    f"for {FAMILY_NAMES[family]}"
                    for port in ports
                    if port not in taken
                ]

    def _who(self) -> tuple[Identity, list[Identity]]:
        """Give who the app is to be, and those named that this process can act as."""
        me = self._named.stranger()
        if not _can_be(me):
            me = msgspec.structs.replace(me, uid=os.geteuid(), gid=os.getegid())
        named = self._named.identities(me)
        able = [identity for identity in named if _can_be(identity)]
        refused = [identity for identity in named if identity not in able]
        others = ", ".join(one.name for one in refused if not one.mark)
        marks = ", ".join(one.name for one in refused if one.mark)
        if others:
            self._not_tried.append(
                f"connections as {others}: to act as another user or group needs the "
                "capabilities SETUID and SETGID, and a user namespace that has it"
            )
        if marks:
            self._not_tried.append(
                f"connections as {marks}: a mark needs the capability NET_ADMIN"
            )
        return me, able


def _can_be(identity: Identity) -> bool:
    """Whether this process can act as somebody; a user namespace may not have all."""
    try:
        with acting_as(identity):
            pass
        with socket.socket() as made:
            set_mark(made, identity.mark)
    except OSError:
        return False
    return True


def _alone(named: Named, families: tuple[Family, ...]) -> dict[Family, Ends]:
    """Give addresses to use without a neighbour: the pod's own, and one that is nobody's."""
    return {
        family: msgspec.structs.replace(ends, pod=own)
        for family, ends in addresses(named, families).items()
        if (own := own_address(ends.outside)) is not None
    }
