"""The first packet of a connection, and what can become of it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import msgspec

from interceptor.names import Family

Address = IPv4Address | IPv6Address

LOCALHOST: dict[Family, Address] = {
    Family.IP: IPv4Address("127.0.0.1"),
    Family.IP6: IPv6Address("::1"),
}
"""Also where a redirect takes what this host sends (nf_nat_redirect.c)."""


class Packet(msgspec.Struct, frozen=True, kw_only=True):
    """All that a rule can look at, or change.

    ``uid`` and ``gid`` are those of the socket that sends it, ``None`` where no socket of this
    host does; an interface is ``""`` at a hook that has none. ``zone`` is conntrack's, ``None`` as
    long as no rule has said which.
    """

    protocol: str
    source: Address
    destination: Address
    destination_port: int
    source_port: int = 40000
    uid: int | None = None
    gid: int | None = None
    mark: int = 0
    connection_mark: int = 0
    in_interface: str = ""
    out_interface: str = ""
    state: str = "NEW"
    zone: int | None = None

    @property
    def family(self) -> Family:
        """The family of its addresses."""
        return Family.IP if isinstance(self.destination, IPv4Address) else Family.IP6


class Direct(msgspec.Struct, frozen=True):
    """It goes where it was sent."""

    def __str__(self) -> str:
        return "direct"


class Redirected(msgspec.Struct, frozen=True):
    """It goes to a port of this host instead."""

    port: int

    def __str__(self) -> str:
        return f"redirect to {self.port}"


class Transparent(msgspec.Struct, frozen=True):
    """It goes to the transparent listener on a port of this host, its addresses unchanged."""

    port: int

    def __str__(self) -> str:
        return f"tproxy to {self.port}"


class Translated(msgspec.Struct, frozen=True):
    """Its destination becomes another: the address, the port, or both; ``None`` stays."""

    address: Address | None
    port: int | None

    def __str__(self) -> str:
        address = "" if self.address is None else str(self.address)
        if self.port is None:
            return f"dnat to {address}"
        shown = f"[{address}]" if ":" in address else address
        return f"dnat to {shown}:{self.port}"


class Dropped(msgspec.Struct, frozen=True):
    """It goes nowhere."""

    def __str__(self) -> str:
        return "drop"


class Unknown(msgspec.Struct, frozen=True):
    """A rule on its way cannot be read; never a guess."""

    because: str

    def __str__(self) -> str:
        return f"unknown: {self.because}"


Fate = Direct | Redirected | Transparent | Translated | Dropped | Unknown
"""What becomes of it."""
