"""The test istio-validation makes: whether the proxy's calls of its own pod are redirected.

A connection over ``lo`` to where nobody listens has to come out at one of the proxy's ports, and
the kernel has to remember where it was going. Istio tries one family; here it is each that is on.
It takes no privilege, but rules redirect only what the proxy's own user sends.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import time
from contextlib import ExitStack
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Self

import msgspec

from interceptor.names import FAMILY_NAMES, LOOPBACK_INTERFACE, Family
from interceptor.system.addresses import addresses
from interceptor.verify.sockets import (
    ADDRESS_FAMILIES,
    acting_as,
    endpoint,
    is_up,
    original_destination,
    other_ends,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ipaddress import IPv4Network

    from interceptor.analysis.packet import Address
    from interceptor.verify.named import Identity
    from interceptor.verify.sockets import Endpoint

_LOCALHOST: dict[Family, Address] = {
    Family.IP: IPv4Address("127.0.0.1"),
    Family.IP6: IPv6Address("::1"),
}
_PASSTHROUGH: dict[Family, Address] = {
    Family.IP: IPv4Address("127.0.0.6"),
    Family.IP6: IPv6Address("::6"),
}
"""From where the proxy hands over to the app, and to where nobody listens."""
_INTERVAL_S = 1.0
_RESET = (1).to_bytes(4, "little") + bytes(4)
"""A struct linger that leaves no trace of a connection in the kernel."""


class Outcome(msgspec.Struct, frozen=True):
    """Why connections are not redirected, a line for each family; none if they are."""

    failures: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether connections of every family are redirected."""
        return not self.failures


def validate(
    outbound_port: int,
    inbound_port: int,
    probe_port: int,
    timeout_s: float,
    families: Iterable[Family],
    loopback_cidr: IPv4Network,
    identity: Identity | None = None,
) -> Outcome:
    """Try once a second until a connection of each family is redirected, or time is over.

    Args:
        outbound_port: of the proxy; nobody may listen there yet.
        inbound_port: likewise.
        probe_port: to which connections are made.
        timeout_s: seconds for all of it.
        families: those to try.
        loopback_cidr: what rules take for localhost; they leave connections to it alone.
        identity: the proxy's user and group, if this process has to become them first.
    """
    end = time.monotonic() + timeout_s
    ports = tuple(dict.fromkeys((outbound_port, inbound_port)))
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        tests = [
            stack.enter_context(_Test(family, ports, (to, probe_port), identity))
            for family in families
            for to in (_target(family, loopback_cidr),)
        ]
        for test in tests:
            for listener in test.listeners:
                selector.register(listener, selectors.EVENT_READ, test)
        while (open_ones := [test for test in tests if test.may_pass]) and time.monotonic() < end:
            for test in open_ones:
                test.connect()
            _wait(selector, open_ones, min(time.monotonic() + _INTERVAL_S, end))
        return Outcome(tuple(test.failure() for test in tests if not test.passed))


def _wait(selector: selectors.BaseSelector, tests: list[_Test], until: float) -> None:
    """Take connections until all tests have passed or a moment is over."""
    while any(not test.passed for test in tests) and (left := until - time.monotonic()) > 0:
        for key, _ in selector.select(left):
            key.data.accept(key.fileobj)


def _target(family: Family, loopback_cidr: IPv4Network) -> Address | None:
    """Give an address of this namespace to connect to; rules must not take it for localhost."""
    if family is Family.IP6 or _PASSTHROUGH[family] not in loopback_cidr:
        return _PASSTHROUGH[family]
    own = (a for a in addresses() if isinstance(a, IPv4Address) and not a.is_loopback)
    return next(own, None)


class _Test:
    """One family's listeners, and the connection that is under way."""

    def __init__(
        self,
        family: Family,
        ports: tuple[int, ...],
        target: tuple[Address | None, int],
        identity: Identity | None,
    ) -> None:
        self.family = family
        self.passed = False
        self.listeners: list[socket.socket] = []
        self._address, self._port = target
        self._identity = identity
        self._client: socket.socket | None = None
        self._trouble = ""
        self._cannot = "" if self._address else "there is no address but localhost's to try"
        for port in ports:
            self._listen(port)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for one in (*self.listeners, self._client):
            if one:
                one.close()

    @property
    def may_pass(self) -> bool:
        """Whether there is any use in trying."""
        return not (self.passed or self._cannot)

    def _listen(self, port: int) -> None:
        where = _LOCALHOST[self.family], port
        listener = socket.socket(ADDRESS_FAMILIES[self.family], socket.SOCK_STREAM)
        self.listeners.append(listener)
        try:
            listener.settimeout(0)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((str(where[0]), port))
            listener.listen()
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            why = "somebody listens there already" if taken else error.strerror
            self._cannot = f"cannot listen on {_show(where)}: {why}"

    def connect(self) -> None:
        """Begin a connection in the place of the last one."""
        if self._client:
            self._client.close()
        self._trouble = ""
        with acting_as(self._identity):
            self._client = socket.socket(ADDRESS_FAMILIES[self.family], socket.SOCK_STREAM)
        self._client.settimeout(0)
        self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        for address in (self._address, _LOCALHOST[self.family]):
            if not _is_here(address):
                self._trouble = f"no interface has {address}"
                return
        self._client.bind((str(_LOCALHOST[self.family]), 0))
        code = self._client.connect_ex((str(self._address), self._port))
        if code not in (0, errno.EINPROGRESS):
            self._trouble = os.strerror(code)

    def accept(self, listener: socket.socket) -> None:
        """Take a connection; it counts if it is ours and the kernel knows where it was going."""
        try:
            connection, peer = listener.accept()
        except OSError:
            return
        with connection:
            if not self._client or endpoint(peer) != endpoint(self._client.getsockname()):
                return
            original = original_destination(connection)
        if original and original[1] == self._port:
            self.passed = True
        else:
            known = f"of one to {_show(original)}" if original else "of none"
            at = endpoint(listener.getsockname())
            self._trouble = f"it came to {_show(at)}, but the kernel knows {known}"

    def failure(self) -> str:
        """Say why it has not passed."""
        off = "" if is_up(LOOPBACK_INTERFACE) else f"{LOOPBACK_INTERFACE} is down"
        return f"{FAMILY_NAMES[self.family]}: {off or self._cannot or self._why()}"

    def _why(self) -> str:
        if self._address is None or self._client is None:
            return "there was no time to try"
        uid = self._identity.uid if self._identity else os.geteuid()
        what = f"user {uid} connects to {_show((self._address, self._port))}"
        if self._trouble:
            return f"{what}: {self._trouble}"
        code = self._client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code == errno.ECONNREFUSED:
            return f"{what}, and no rule redirects it"
        if code:
            return f"{what}: {os.strerror(code)}"
        own = endpoint(self._client.getsockname())
        taker = next((one.at for one in other_ends((own[0],)) if one.client == own), None)
        if taker:
            return f"{what}, and is answered at {_show(taker)}"
        return f"{what}, and has no answer"


def _is_here(address: Address | None) -> bool:
    """Whether an address is one of this namespace."""
    kind = socket.AF_INET6 if isinstance(address, IPv6Address) else socket.AF_INET
    try:
        with socket.socket(kind, socket.SOCK_STREAM) as asking:
            asking.bind((str(address), 0))
    except OSError:
        return False
    return True


def _show(where: Endpoint) -> str:
    address, port = where
    return f"[{address}]:{port}" if isinstance(address, IPv6Address) else f"{address}:{port}"
