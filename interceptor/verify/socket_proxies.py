"""Who took a connection that programs at sockets decided about: they tell as they decide."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from interceptor.analysis.packet import Redirected, Transparent
from interceptor.dialect import PASSTHROUGH_IP6
from interceptor.names import Family

if TYPE_CHECKING:
    from collections.abc import Collection

    from interceptor.verify.at_sockets import AtSockets
    from interceptor.verify.sockets import Endpoint


class SocketProxies:
    """Others who are handed connections as they arrive; see ``proxies.Proxies``.

    Such a connection keeps its addresses, so the kernel's list of sockets has it where it was
    sent to, as if whoever listens there had taken it. What the programs decided about it tells.

    Args:
        sockets: the policy in force, and what is decided by it.
        taken: ports of the rules at which others listen.
    """

    steered: type[Redirected | Transparent] = Redirected

    def __init__(self, sockets: AtSockets, taken: Collection[int]) -> None:
        self._config = sockets.config
        self._told = sockets.told
        self._is_there = sockets.config.inbound_port in taken
        self._takers: dict[tuple[Endpoint, Endpoint], int] = {}

    def turn(self) -> None:
        """Keep what was decided since; it is told for a while only."""
        if not self._is_there:
            return
        for one in self._told():
            if one.inbound and one.source is not None:
                client, to = (one.source, one.source_port), (one.address, one.port)
                self._takers[client, to] = one.listener or one.port

    def taker(self, destination: Endpoint, at: Endpoint, client: Endpoint) -> int | None:
        """Give the port of the listener that took a connection; ``None`` if nobody knows."""
        if at != destination or not self._is_there or self._is_from_here(client):
            return at[1]
        self.turn()
        return self._takers.get((client, at))

    def may_have(self, destination: Endpoint, at: Endpoint, client: Endpoint) -> bool:
        """Whether one of them, and none of our listeners, took what was sent to a port of ours."""
        return self._is_there and self.taker(destination, at, client) != at[1]

    def _is_from_here(self, client: Endpoint) -> bool:
        """Whether it is the pod's own connection: such are decided about where they begin."""
        host = client[0]
        if host == PASSTHROUGH_IP6:
            return True
        family = Family.IP if isinstance(host, IPv4Address) else Family.IP6
        return host.is_loopback or any(host in one for one in self._config.own.part(family))

    def remarks(self, taken: Collection[int]) -> list[str]:
        """Say nothing more: the results do."""
        del taken
        return []
