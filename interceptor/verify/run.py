"""Set the stage, make every connection, say what became of each."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

import msgspec

from interceptor.errors import DeadlineError, HostError
from interceptor.names import FAMILY_NAMES
from interceptor.verify.loopback import loopback
from interceptor.verify.named import Identity, Named
from interceptor.verify.probe import Places, Planner
from interceptor.verify.prober import prober
from interceptor.verify.sockets import acting_as, own_address
from interceptor.verify.stage import Stage, addresses, stage

if TYPE_CHECKING:
    from interceptor.model import Ruleset
    from interceptor.names import Family
    from interceptor.system.deadline import Deadline
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

    Whatever happens it gives results; what there was no time for is among what was not tried.
    """
    return _Run(ruleset, Named.of(ruleset, *held), deadline).verify(families)


class _Run:
    """One verification: what it knows and what it has found out so far."""

    def __init__(self, ruleset: Ruleset, named: Named, deadline: Deadline) -> None:
        self._ruleset = ruleset
        self._named = named
        self._deadline = deadline
        self._results: list[Result] = []
        self._not_tried: list[str] = []
        self._remarks: list[str] = []
        self._taken: dict[Family, list[int]] = {}
        self._in_time = True
        self._me, self._identities = self._who()

    def verify(self, families: tuple[Family, ...]) -> Verified:
        self._not_tried += self._named.left_out(families)
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
        try:
            with prober(self._named, family, made.outside if made else None) as probes:
                places = Places(
                    pod=ends.pod,
                    outside=ends.outside,
                    interface=made.interface if made else "",
                    borrowed=ends.borrowed,
                    free_port=probes.free_port,
                    beyond=made is not None,
                )
                planner = Planner(self._ruleset, self._named, places, self._me, self._identities)
                planned = list(planner.probes())
                able = [probe for probe in planned if probes.can_answer(probe)]
                self._results += probes.run(able, left_s)
                self._taken[family] = probes.taken
        except HostError as error:
            self._not_tried.append(f"{FAMILY_NAMES[family]}: {error.message}")
        else:
            self._not_tried += [
                f"{probe.what}: listening there needs the capability NET_BIND_SERVICE"
                for probe in planned
                if probe not in able
            ]

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
        refused = ", ".join(identity.name for identity in named if identity not in able)
        if refused:
            self._not_tried.append(
                f"connections as {refused}: to act as another user or group needs the "
                "capabilities SETUID and SETGID, and a user namespace that has it"
            )
        return me, able


def _can_be(identity: Identity) -> bool:
    """Whether this process can act as somebody; a user namespace may not have all."""
    try:
        with acting_as(identity):
            return True
    except OSError:
        return False


def _alone(named: Named, families: tuple[Family, ...]) -> dict[Family, Ends]:
    """Give addresses to use without a neighbour: the pod's own, and one that is nobody's."""
    return {
        family: msgspec.structs.replace(ends, pod=own)
        for family, ends in addresses(named, families).items()
        if (own := own_address(ends.outside)) is not None
    }
