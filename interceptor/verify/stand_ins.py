"""Listeners in the places of the proxy, the app and those outside, where there is nobody."""

from __future__ import annotations

import errno
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from interceptor.analysis.packet import Direct, Redirected, Transparent
from interceptor.errors import HostError
from interceptor.system import netns
from interceptor.verify.echo import Echoers
from interceptor.verify.listener import Spot
from interceptor.verify.probe import Probe, Way
from interceptor.verify.proxies import Proxies
from interceptor.verify.socket_proxies import SocketProxies
from interceptor.verify.sockets import may_be_transparent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from interceptor.names import Family
    from interceptor.verify.at_sockets import AtSockets
    from interceptor.verify.named import Identity, Named
    from interceptor.verify.proxies import Takers


class StandIns:
    """Listeners of one family in the pod and outside.

    ``mine`` are TCP ports of the pod at which we listen, ``others`` UDP ports of the pod at which
    somebody else does. ``taken`` lists the rules' redirect ports that are somebody else's: the
    proxy's.

    Args:
        family: of all addresses.
        outside: the neighbour's namespace, if there is one.
        answerers: who is to answer datagrams at ports they are redirected to, as ``answerers``
            in the module of that name gives them.
        at_sockets: the programs that steer connections, if it is they who do.
    """

    def __init__(
        self,
        family: Family,
        outside: int | None,
        answerers: Mapping[int, Identity | None],
        at_sockets: AtSockets | None = None,
    ) -> None:
        self.family = family
        self.outside = outside
        self.echoers = Echoers()
        self.proxies: Takers = Proxies(family)
        self.free_port = 0
        self.mine: set[int] = set()
        self.others: set[int] = set()
        self.taken: list[int] = []
        self._answerers = answerers
        self._at_sockets = at_sockets
        self._forbidden: set[int] = set()
        self._may_be_transparent = may_be_transparent(family)

    def listen(self, named: Named) -> None:
        """Listen wherever a connection may end and nobody else does.

        Raises:
            HostError: there is no port to be had.
        """
        inbound, outbound = named.inbound_ports, named.outbound_ports
        redirects = named.redirect_ports
        datagrams = {*named.udp_inbound_ports, *named.udp_outbound_ports}
        not_on = {*inbound, *outbound, *redirects, *datagrams, *named.udp_redirect_ports}
        free = self.echoers.listen_on_free_port(self.family, not_on)
        if free is None:
            raise HostError(
                "there is no free port to listen on",
                hint="see net.ipv4.ip_local_port_range in the namespace",
            )
        self.free_port = free
        self.mine.add(free)
        for port in dict.fromkeys((*redirects, *inbound)):
            self._listen_in_pod(port, is_proxys=port in redirects)
        for port in dict.fromkeys((*named.udp_redirect_ports, *named.udp_inbound_ports)):
            self._answer_in_pod(port, is_proxys=port in named.udp_redirect_ports)
        self.proxies = self._look_who_is_there(named)
        if self.outside is not None:
            with netns.inside(self.outside):
                for port in dict.fromkeys((free, *outbound)):
                    self._listen(port, socket.SOCK_STREAM, in_pod=False)
                for port in dict.fromkeys((free, *named.udp_outbound_ports)):
                    self._listen(port, socket.SOCK_DGRAM, in_pod=False)

    def _look_who_is_there(self, named: Named) -> Takers:
        if self._at_sockets is not None:
            return SocketProxies(self._at_sockets, self.taken)
        transparent = named.redirect_ports if self._may_be_transparent else ()
        return Proxies.of(self.family, named.tproxy_ports, self.mine, transparent, self.taken)

    def _listen_in_pod(self, port: int, *, is_proxys: bool) -> None:
        # As a proxy does: TPROXY may come here too, by right or not.
        is_transparent = is_proxys and self._may_be_transparent
        code = self._listen(port, socket.SOCK_STREAM, in_pod=True, transparent=is_transparent)
        if not code:
            self.mine.add(port)
        elif code == errno.EADDRINUSE and is_proxys:
            self.taken.append(port)

    def _answer_in_pod(self, port: int, *, is_proxys: bool) -> None:
        maker = self._answerers.get(port)
        code = self._listen(port, socket.SOCK_DGRAM, in_pod=True, maker=maker)
        if code == errno.EADDRINUSE:
            self.others.add(port)
            if is_proxys and port not in self.taken:
                self.taken.append(port)

    def _listen(self, port: int, kind: socket.SocketKind, *, in_pod: bool, **more: Any) -> int:
        spot = Spot(family=self.family, port=port, kind=kind, in_pod=in_pod, **more)
        code = self.echoers.listen(spot)
        if code == errno.EACCES:
            self._forbidden.add(port)
        return code

    def close(self) -> None:
        """Close every socket."""
        self.echoers.close()

    @property
    def remarks(self) -> list[str]:
        """What is to be said of the proxy that is running."""
        return self.proxies.remarks(self.taken)

    def why_not(self, probe: Probe) -> str:
        """Say why nobody can answer where a probe should end; nothing if somebody may."""
        meant, port = probe.expected, probe.packet.destination_port
        if isinstance(meant, Redirected | Transparent):
            port = meant.port
        if port in self._forbidden:
            return "listening there needs the capability NET_BIND_SERVICE"
        if probe.packet.protocol != "tcp":
            return self._why_no_datagram(probe, port)
        if probe.is_transparent and meant != Direct():
            return f"the rules let nobody connect so to the app: {meant}"
        needs = probe.is_transparent or (isinstance(meant, Transparent) and port not in self.taken)
        lacks = needs and not self._may_be_transparent
        return "a transparent socket needs the capability NET_ADMIN" if lacks else ""

    def _why_no_datagram(self, probe: Probe, port: int) -> str:
        meant = probe.expected
        if isinstance(meant, Transparent):
            return "datagrams of TPROXY are not taken here"
        if isinstance(meant, Redirected) and self._answerers.get(port, probe) is None:
            return "to answer as the proxy needs the capabilities SETUID and SETGID"
        is_to_others = probe.way is Way.INBOUND and meant == Direct() and port in self.others
        return "somebody else listens there" if is_to_others else ""


@contextmanager
def stand_ins(
    named: Named,
    family: Family,
    outside: int | None,
    answerers: Mapping[int, Identity | None] | None = None,
    at_sockets: AtSockets | None = None,
) -> Iterator[StandIns]:
    """Have listeners for a while; the arguments are those of ``StandIns``."""
    made = StandIns(family, outside, answerers or {}, at_sockets)
    try:
        made.listen(named)
        yield made
    finally:
        made.close()
