"""Makes probes of one family and watches where they end."""

from __future__ import annotations

import errno
import os
import secrets
import selectors
import socket
import time
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING

import msgspec

from interceptor.analysis.packet import Direct, Dropped, Fate, Redirected
from interceptor.errors import HostError
from interceptor.model import Redirect, Ruleset
from interceptor.names import Hook
from interceptor.system import netns
from interceptor.verify.probe import Probe, Way, named_ports
from interceptor.verify.sockets import (
    ADDRESS_FAMILIES,
    Listener,
    acting_as,
    endpoint,
    original_destination,
    other_end,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.names import Family
    from interceptor.verify.sockets import Endpoint

_PATIENCE_S = 1.0
"""How long a connection may take to be answered; all ends are on this machine."""
_ACCEPT_GRACE_S = 0.1
"""How long to wait for our own listener before asking the kernel who took a connection."""
_ECHO_PATIENCE_S = 0.5
_TICK_S = 0.01


class Result(msgspec.Struct, frozen=True):
    """What became of one probe, and anything worth saying about it."""

    probe: Probe
    seen: str
    ok: bool
    note: str = ""


class _End(msgspec.Struct, frozen=True):
    """The other end of a connection: ours if ``connection`` is there."""

    port: int
    connection: socket.socket | None = None


class Prober:
    """Listeners of one family in the pod and outside, and a loop that serves them.

    ``taken`` lists the rules' redirect ports at which somebody listens already: the proxy.
    """

    def __init__(self, ruleset: Ruleset, family: Family, outside: int | None) -> None:
        self._family = family
        self._outside = outside
        self._selector = selectors.DefaultSelector()
        self._here: list[Listener] = []
        self._there: list[Listener] = []
        self.taken: list[int] = []
        inbound, outbound = (named_ports(ruleset, h) for h in (Hook.PREROUTING, Hook.OUTPUT))
        redirects = _redirect_ports(ruleset)
        self.free_port = self._listen_on_free_port({*inbound, *outbound, *redirects})
        for port in redirects:
            if not self._listen(self._here, port):
                self.taken.append(port)
        for port in inbound:
            if port not in redirects:
                self._listen(self._here, port)
        if outside is not None:
            with netns.inside(outside):
                self._listen(self._there, self.free_port, socket.SOCK_DGRAM)
                for port in {self.free_port, *outbound}:
                    self._listen(self._there, port)

    def close(self) -> None:
        """Close every socket."""
        self._selector.close()
        for listener in (*self._here, *self._there):
            listener.close()

    def run(self, probe: Probe) -> Result:
        """Make one connection and see it to its end."""
        inside = nullcontext()
        if probe.way is Way.INBOUND and self._outside is not None:
            inside = netns.inside(self._outside)  # type: ignore[assignment]  # both are contexts
        is_stream = probe.packet.protocol == "tcp"
        kind = socket.SOCK_STREAM if is_stream else socket.SOCK_DGRAM
        with inside, acting_as(probe.identity):
            client = socket.socket(ADDRESS_FAMILIES[self._family], kind)
        with client:
            client.settimeout(0)
            try:
                if probe.identity.mark and probe.way is not Way.INBOUND:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, probe.identity.mark)
                if probe.binds:
                    client.bind((str(probe.packet.source), 0))
            except OSError as error:
                return Result(probe, f"not made: {error.strerror}", ok=False)
            target = (str(probe.packet.destination), probe.packet.destination_port)
            with acting_as(probe.identity):
                code = client.connect_ex(target)
            if code not in (0, errno.EINPROGRESS):
                return self._failed(probe, code)
            return self._stream(probe, client) if is_stream else self._datagram(probe, client)

    def _stream(self, probe: Probe, client: socket.socket) -> Result:
        deadline = time.monotonic() + _PATIENCE_S
        while not _is_connected(client):
            self._serve()
            code = client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                return self._failed(probe, code)
            if time.monotonic() > deadline:
                return self._failed(probe, errno.ETIMEDOUT)
        end = self._find_end(endpoint(client.getsockname()))
        if end is None:
            return Result(probe, "taken and given up at once", ok=False)
        wanted = probe.packet.destination_port
        seen: Fate = Direct() if end.port == wanted else Redirected(end.port)
        ok, note = seen == probe.expected, ""
        if end.connection is not None:
            ok, note = self._check_ours(probe, client, end.connection, seen, ok=ok)
        elif isinstance(seen, Redirected):
            answered = self._echoes(client)
            note = (
                "through the proxy to its end" if answered else "taken by the proxy, not passed on"
            )
        return Result(probe, str(seen), ok, note)

    def _check_ours(
        self, probe: Probe, client: socket.socket, end: socket.socket, seen: Fate, *, ok: bool
    ) -> tuple[bool, str]:
        """See a token come back, and the original destination recovered where one was changed."""
        if not self._echoes(client):
            return False, "what was sent did not come back"
        if not isinstance(seen, Redirected):
            return ok, ""
        wanted = (probe.packet.destination, probe.packet.destination_port)
        found = original_destination(end)
        if found != wanted:
            return False, f"the original destination is lost: {found}"
        return ok, "original destination recovered"

    def _datagram(self, probe: Probe, client: socket.socket) -> Result:
        if self._echoes(client):
            seen: Fate = Direct()
            return Result(probe, str(seen), seen == probe.expected)
        return self._failed(probe, errno.ETIMEDOUT)

    def _failed(self, probe: Probe, code: int) -> Result:
        seen = "no answer" if code == errno.ETIMEDOUT else os.strerror(code).lower()
        return Result(probe, seen, isinstance(probe.expected, Dropped))

    def _find_end(self, client: Endpoint) -> _End | None:
        grace = time.monotonic() + _ACCEPT_GRACE_S
        while time.monotonic() < grace:
            for listener in (*self._here, *self._there):
                if client in listener.accepted:
                    return _End(listener.port, listener.accepted[client])
            port = other_end(client)
            if port is not None and not any(port == ours.port for ours in self._here):
                return _End(port)
            self._serve()
        return None

    def _echoes(self, client: socket.socket) -> bool:
        """Send a random token and wait for it."""
        token = secrets.token_hex(16).encode() + b"\n"
        got = b""
        deadline = time.monotonic() + _ECHO_PATIENCE_S
        try:
            client.send(token)
            while got != token and time.monotonic() < deadline:
                self._serve()
                with suppress(BlockingIOError):
                    data = client.recv(len(token) - len(got))
                    if not data:
                        break
                    got += data
        except OSError:
            return False
        return got == token

    def _serve(self) -> None:
        """Accept and send back whatever there is, or wait a moment for it."""
        for key, _ in self._selector.select(_TICK_S):
            if isinstance(key.data, Listener) and key.data.is_stream:
                with suppress(OSError):
                    connection = key.data.accept()
                    self._selector.register(connection, selectors.EVENT_READ)
            elif isinstance(key.data, Listener):
                with suppress(OSError):
                    data, peer = key.data.socket.recvfrom(4096)
                    key.data.socket.sendto(data, peer)
            elif isinstance(key.fileobj, socket.socket):
                self._echo(key.fileobj)

    def _echo(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(4096)
            if data:
                connection.sendall(data)
                return
        except OSError:
            pass
        self._selector.unregister(connection)

    def _listen(
        self, where: list[Listener], port: int, kind: socket.SocketKind = socket.SOCK_STREAM
    ) -> bool:
        """Listen; false if somebody else does."""
        try:
            listener = Listener(self._family, port, kind)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            return False
        where.append(listener)
        self._selector.register(listener.socket, selectors.EVENT_READ, listener)
        return True

    def _listen_on_free_port(self, named: set[int]) -> int:
        """Find a port nobody uses and no rule names, for both protocols."""
        for _ in range(64):
            listener = Listener(self._family, 0, socket.SOCK_STREAM)
            if listener.port not in named and self._listen(
                self._here, listener.port, socket.SOCK_DGRAM
            ):
                self._here.append(listener)
                self._selector.register(listener.socket, selectors.EVENT_READ, listener)
                return listener.port
            listener.close()
        raise HostError(
            "no free port to listen on", hint="see ip_local_port_range in the namespace"
        )


@contextmanager
def prober(ruleset: Ruleset, family: Family, outside: int | None) -> Iterator[Prober]:
    """Have listeners for a while."""
    with ExitStack() as stack:
        made = Prober(ruleset, family, outside)
        stack.callback(made.close)
        yield made


def _is_connected(client: socket.socket) -> bool:
    try:
        client.getpeername()
    except OSError:
        return False
    return True


def _redirect_ports(ruleset: Ruleset) -> list[int]:
    ports = [
        rule.action.port
        for table in ruleset.tables
        for chain in table.chains
        for rule in chain.rules
        if isinstance(rule.action, Redirect)
    ]
    return list(dict.fromkeys(ports))
