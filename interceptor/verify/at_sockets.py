"""Programs at sockets that enforce a policy: where to probe it, and what they decided."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from interceptor.backends.ebpf.machine import Machine
from interceptor.errors import HostError
from interceptor.model import (
    Base,
    Chain,
    Destination,
    DestinationPort,
    Gid,
    PacketMark,
    Protocol,
    Rule,
    Ruleset,
    Table,
    Uid,
)
from interceptor.names import ChainType, Family, Hook
from interceptor.system.cookie import own_cookie

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from interceptor.analysis.packet import Address
    from interceptor.backends.ebpf.tracing import Decision
    from interceptor.model import Match
    from interceptor.model.pod_config import PodConfig
    from interceptor.system.deadline import Deadline
    from interceptor.values import Ports


class AtSockets(msgspec.Struct, frozen=True):
    """The policy in force, and what is decided by it.

    Args:
        config: the policy as the kernel has it.
        told: gives what was decided since it was last asked; it has to be asked every second.
    """

    config: PodConfig
    told: Callable[[], list[Decision]] = list

    def own(self, family: Family) -> Address | None:
        """Give an address that the policy knows as the pod's own, if there is one.

        It learned them when it was installed, so an address on a new cable is none of them.
        """
        singles = [
            network.network_address
            for network in self.config.own.part(family)
            if network.num_addresses == 1
        ]
        return min(singles, key=lambda address: address.is_link_local, default=None)

    @property
    def named(self) -> Ruleset:
        """Rules that name what the policy in the kernel does, and do nothing.

        What somebody changed there is to be tried as well as what was meant.
        """
        config = self.config
        inbound = _of_ports(config.kept_ports, config.inbound_ports)
        outbound = _of_ports(config.excluded_ports, config.outbound_ports)
        others = tuple(Rule((match,)) for match in _matches(config))
        chains = (
            Chain("inbound", inbound, Base(ChainType.NAT, Hook.PREROUTING, 0)),
            Chain("outbound", (*outbound, *others), Base(ChainType.NAT, Hook.OUTPUT, 0)),
        )
        return Ruleset((Table(Family.INET, "sockets", chains),))


def _of_ports(*named: Ports) -> tuple[Rule, ...]:
    tcp = Protocol(protocol="tcp")
    return tuple(
        Rule((tcp, DestinationPort(ports=ports))) for ports in named if not ports.is_everything
    )


def _matches(config: PodConfig) -> Iterator[Match]:
    for networks in (config.excluded, config.included):
        if not networks.is_everything:
            yield Destination(networks=networks)
    for users in (config.proxy_users, config.excluded_users):
        yield Uid(ids=users)
    for groups in (config.proxy_groups, config.excluded_groups, config.included_groups):
        if not groups.is_everything:
            yield Gid(ids=groups)
    yield PacketMark(marks=config.marks)


@contextmanager
def at_sockets(config: PodConfig | None, deadline: Deadline) -> Iterator[AtSockets | None]:
    """Have what is decided about the namespace this thread is in told, where it can be.

    ``config`` is what programs at sockets enforce here, if they do.
    """
    if config is None:
        yield None
        return
    with ExitStack() as stack:
        told: Callable[[], list[Decision]] = list
        # Without it nobody knows who took a connection that arrived, and all else is known.
        with suppress(HostError):
            machine = stack.enter_context(Machine(deadline))
            tracing = stack.enter_context(machine.traced(own_cookie()))
            told = partial(tracing.wait, 0)
        yield AtSockets(config, told)
