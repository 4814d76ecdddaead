"""What programs at sockets decide by: equal values mean the same to every connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from interceptor.values import Ids, Marks, Networks, Ports

MOST_MARKS = 16
"""rules/bpf/policy.h has room for these."""


class PodConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The policy of one pod, with the machine's ids and no names.

    ``included`` and ``loopback`` are destinations that are captured outside and inside the pod.
    ``kept_ports`` and ``excluded_sources`` are never captured inbound.
    """

    ipv4: bool
    ipv6: bool
    outbound_port: int
    inbound_port: int
    dns_port: int
    inbound_ports: Ports
    kept_ports: Ports
    outbound_ports: Ports
    excluded_ports: Ports
    included: Networks
    excluded: Networks
    localhost: Networks
    loopback: Networks
    resolvers: Networks
    own: Networks
    excluded_sources: Networks
    proxy_users: Ids
    proxy_groups: Ids
    excluded_users: Ids
    excluded_groups: Ids
    included_groups: Ids
    marks: Marks
    source4: str
    source6: str

    @property
    def captures_inbound(self) -> bool:
        """Whether there is an inbound port that goes to the proxy."""
        return bool(self.inbound_ports - self.kept_ports)


class SocketPolicy(msgspec.Struct, frozen=True):
    """What is enforced at a pod's sockets.

    ``missing`` names the programs that are not attached, ``digest`` is that of those that are:
    neither is part of what was meant. ``lost`` names maps that are not pinned any more; the policy
    cannot be read then and is ``None``. So it is where only another version of this program
    enforces one, with maps of its own (``is_elders``).
    """

    config: PodConfig | None
    missing: tuple[str, ...] = ()
    digest: bytes = b""
    lost: tuple[str, ...] = ()
    is_elders: bool = False

    @property
    def addresses(self) -> int:
        """Count the pod's own addresses, as far as they can be read."""
        own = self.config.own if self.config else None
        if own is None:
            return 0
        return sum(n.num_addresses for n in own.ip) + sum(n.num_addresses for n in own.ip6)
