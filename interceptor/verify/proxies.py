"""Transparent listeners of others in the pod, and which connections they took."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

from interceptor.analysis.packet import Redirected, Transparent
from interceptor.names import FAMILY_NAMES
from interceptor.verify.diag import is_transparent, transparent_listeners

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from interceptor.names import Family
    from interceptor.verify.sockets import Endpoint


class Takers(Protocol):
    """Tells which listener took a connection that is where it was sent to.

    ``steered`` is what brings one to another listener and leaves its addresses as they are.
    """

    steered: type[Redirected | Transparent]

    def turn(self) -> None:
        """Keep what is told for a while only; called often."""

    def taker(self, destination: Endpoint, at: Endpoint, client: Endpoint) -> int | None:
        """Give the port of the listener that took a connection; ``None`` if nobody knows.

        Args:
            destination: where the client connected to.
            at: where the connection is in the kernel's list.
            client: its other end there.
        """

    def may_have(self, destination: Endpoint, at: Endpoint, client: Endpoint) -> bool:
        """Whether one of others, and none of ours, took what was sent to a port of ours."""

    def remarks(self, taken: Collection[int]) -> list[str]:
        """Say what else explains where connections went.

        ``taken`` are ports of the rules at which others listen.
        """


class Proxies:
    """Others who can have connections by TPROXY, of one family.

    A connection that TPROXY hands over keeps its addresses, so the kernel's list of sockets has
    it where it was sent to, as if whoever listens there had taken it. It shows by the connection
    being transparent, as the listener is that took it.

    Args:
        family: of all addresses.
        tproxy_ports: those that rules hand over to, the policy's first; without any, nobody does.
        plain: ports at which we listen ourselves, and are not transparent.
        ports: those at which others are; ``None`` if the kernel does not tell.
        are_there: whether there is anybody who may have connections so.
    """

    steered: type[Redirected | Transparent] = Transparent

    def __init__(
        self,
        family: Family,
        tproxy_ports: Sequence[int] = (),
        plain: Collection[int] = (),
        ports: frozenset[int] | None = frozenset(),
        *,
        are_there: bool = False,
    ) -> None:
        self._family = family
        self._tproxy_ports = tproxy_ports
        self._plain = plain
        self._ports = ports
        self._are_there = are_there

    @classmethod
    def of(
        cls,
        family: Family,
        tproxy_ports: Sequence[int],
        mine: Collection[int],
        transparent: Collection[int],
        taken: Collection[int],
    ) -> Self:
        """Look who is there.

        Args:
            family: of all addresses.
            tproxy_ports: as above.
            mine: ports at which we listen ourselves.
            transparent: those of them where we are transparent.
            taken: ports of the rules at which others listen.
        """
        if not tproxy_ports:
            return cls(family)
        ports = transparent_listeners(family)
        if ports is None:
            are_there = any(port in taken for port in tproxy_ports)
        else:
            ports -= {*mine}
            are_there = bool(ports)
        plain = {*mine} - {*transparent}
        return cls(family, tproxy_ports, plain, ports, are_there=are_there)

    def turn(self) -> None:
        """Do nothing: the kernel can be asked at any time."""

    def taker(self, destination: Endpoint, at: Endpoint, client: Endpoint) -> int | None:
        """Give the port of the listener that took a connection; ``None`` if nobody knows.

        Args:
            destination: where the client connected to.
            at: where the connection is in the kernel's list.
            client: its other end there.
        """
        if at != destination or not self._are_there:
            return at[1]
        if self._ports is None or at[1] in self._ports:
            return None
        found = is_transparent(self._family, at, client)
        if found is None and at[1] in self._plain:
            # Nothing is told of one that is closed already, and we close none.
            found = True
        if found is None:
            return None
        return self._likeliest(self._ports) if found else at[1]

    def may_have(self, destination: Endpoint, at: Endpoint, client: Endpoint) -> bool:
        """Whether one of them, and none of our listeners, took what was sent to a port of ours."""
        is_plain = self._are_there and at == destination and at[1] in self._plain
        return is_plain and self.taker(destination, at, client) != at[1]

    def _likeliest(self, ports: frozenset[int]) -> int:
        """Choose among the ports of others: the kernel does not tell which of them it was."""
        return next((port for port in self._tproxy_ports if port in ports), min(ports))

    def remarks(self, taken: Collection[int]) -> list[str]:
        """Say what else explains where connections went; ``taken`` is as above."""
        if self._ports is None:
            return []
        family = FAMILY_NAMES[self._family]
        found = [
            f"who listens on port {port} for {family} is not transparent, so TPROXY finds nobody"
            for port in self._tproxy_ports
            if port in taken and port not in self._ports
        ]
        if len(self._ports) > 1:
            ports = ", ".join(map(str, sorted(self._ports)))
            found.append(
                f"transparent listeners for {family} are on {ports}: which of them took a "
                "connection the kernel does not tell"
            )
        return found
