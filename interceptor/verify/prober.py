"""Makes probes of one family and watches where they end."""

from __future__ import annotations

import errno
import os
import socket
import time
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import msgspec

from interceptor.analysis.packet import Direct, Dropped, Fate, Redirected
from interceptor.errors import HostError
from interceptor.system import netns
from interceptor.verify.echo import Echoers, End, client_socket
from interceptor.verify.probe import Probe, Way
from interceptor.verify.sockets import acting_as, endpoint, original_destination, other_end

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.names import Family
    from interceptor.verify.named import Named

_PATIENCE_S = 1.0
"""How long a connection may take to be taken; all ends are on this machine."""
_ACCEPT_GRACE_S = 0.1
"""How long our own listener may take to accept what the kernel has taken."""


class Result(msgspec.Struct, frozen=True):
    """What became of one probe, and anything worth saying about it."""

    probe: Probe
    seen: str
    ok: bool
    note: str = ""


class Prober:
    """Listeners of one family in the pod and outside, and clients to them.

    ``taken`` lists the rules' redirect ports at which somebody listens already: the proxy.
    """

    def __init__(self, named: Named, family: Family, outside: int | None) -> None:
        self._family = family
        self._outside = outside
        self._echoers = Echoers()
        self.taken: list[int] = []
        inbound, outbound = named.inbound_ports, named.outbound_ports
        redirects = named.redirect_ports
        free = self._echoers.listen_on_free_port(family, {*inbound, *outbound, *redirects})
        if free is None:
            raise HostError(
                "there is no free port to listen on",
                hint="see net.ipv4.ip_local_port_range in the namespace",
            )
        self.free_port = free
        self._mine = {free}
        for port in dict.fromkeys((*redirects, *inbound)):
            listening = self._echoers.listen(family, port, socket.SOCK_STREAM)
            if listening:
                self._mine.add(port)
            elif port in redirects:
                self.taken.append(port)
        if outside is not None:
            with netns.inside(outside):
                self._echoers.listen(family, self.free_port, socket.SOCK_DGRAM)
                for port in {self.free_port, *outbound}:
                    self._echoers.listen(family, port, socket.SOCK_STREAM)

    def close(self) -> None:
        """Close every socket."""
        self._echoers.close()

    def run(self, probe: Probe) -> Result:
        """Make one connection and see it to its end."""
        from_outside = probe.way is Way.INBOUND and self._outside is not None
        where = netns.inside(self._outside or 0) if from_outside else nullcontext()
        with where, acting_as(probe.identity):
            client = client_socket(self._family, probe.packet.protocol)
        with client:
            try:
                if probe.packet.mark:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, probe.packet.mark)
                if probe.binds:
                    client.bind((str(probe.packet.source), 0))
                with acting_as(probe.identity):
                    self._connect(client, probe)
                return self._watch(client, probe)
            except OSError as error:
                return _failed(probe, error.errno or 0)
            finally:
                self._echoers.forget()

    def _connect(self, client: socket.socket, probe: Probe) -> None:
        target = (str(probe.packet.destination), probe.packet.destination_port)
        code = client.connect_ex(target)
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, os.strerror(code))

    def _watch(self, client: socket.socket, probe: Probe) -> Result:
        if probe.packet.protocol == "udp":
            if self._echoers.exchange(client) is None:
                return _failed(probe, errno.ETIMEDOUT)
            return Result(probe, str(Direct()), probe.expected == Direct())
        deadline = time.monotonic() + _PATIENCE_S
        while not _is_connected(client):
            self._echoers.turn()
            code = client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code or time.monotonic() > deadline:
                return _failed(probe, code or errno.ETIMEDOUT)
        end = self._find_end(client)
        if end is None:
            return Result(probe, "taken and given up at once", ok=False)
        wanted = probe.packet.destination_port
        seen: Fate = Direct() if end.port == wanted else Redirected(end.port)
        return self._judge(client, probe, end, seen)

    def _judge(self, client: socket.socket, probe: Probe, end: End, seen: Fate) -> Result:
        """See a token come back, and the original destination recovered where it was changed."""
        ok = seen == probe.expected
        ours = end.connection is not None
        redirected = isinstance(seen, Redirected)
        if not ours and not redirected:
            # Somebody's service, reached as it should be: it gets no token from us.
            return Result(probe, str(seen), ok)
        answered = self._echoers.exchange(client) is not None
        if end.connection is None:
            passed = "through the proxy to its end"
            return Result(
                probe, str(seen), ok, passed if answered else "taken by the proxy, not passed on"
            )
        if not answered:
            return Result(probe, str(seen), ok=False, note="what was sent did not come back")
        if not redirected:
            return Result(probe, str(seen), ok)
        found = original_destination(end.connection)
        if found != (probe.packet.destination, probe.packet.destination_port):
            note = f"the original destination is lost: {found}"
            return Result(probe, str(seen), ok=False, note=note)
        return Result(probe, str(seen), ok, "original destination recovered")

    def _find_end(self, client: socket.socket) -> End | None:
        """Find out who took a connection: by its endpoint here, in the kernel, or by a token.

        The token is last, as it may reach a service that did not ask for it. It is needed where
        translation had to change the source port too, because the proxy's side of the connection
        was still remembered from an earlier client with the same port.
        """
        me = endpoint(client.getsockname())
        grace = time.monotonic() + _ACCEPT_GRACE_S
        while time.monotonic() < grace:
            end = self._echoers.accepted_from(me)
            if end is not None:
                return end
            port = other_end(me)
            if port is not None and port not in self._mine:
                return End(port)
            self._echoers.turn()
        token = self._echoers.exchange(client)
        return self._echoers.received(token) if token else None


@contextmanager
def prober(named: Named, family: Family, outside: int | None) -> Iterator[Prober]:
    """Have listeners for a while."""
    made = Prober(named, family, outside)
    try:
        yield made
    finally:
        made.close()


def _failed(probe: Probe, code: int) -> Result:
    seen = "no answer" if code == errno.ETIMEDOUT else os.strerror(code).lower()
    return Result(probe, seen, isinstance(probe.expected, Dropped))


def _is_connected(client: socket.socket) -> bool:
    try:
        client.getpeername()
    except OSError:
        return False
    return True
