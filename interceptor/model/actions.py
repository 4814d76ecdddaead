"""What a rule does with a packet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address


class Continue(msgspec.Struct, frozen=True):
    """Count and go on with the next rule."""


class Accept(msgspec.Struct, frozen=True):
    """Let it pass this hook's chain."""


class Drop(msgspec.Struct, frozen=True):
    """Throw it away."""


class Return(msgspec.Struct, frozen=True):
    """Go back to the chain that jumped here; from a base chain, to its policy."""


class Jump(msgspec.Struct, frozen=True):
    """Go on in another chain and come back."""

    chain: str


class Goto(msgspec.Struct, frozen=True):
    """Go on in another chain and come back to where this one was called from."""

    chain: str


class Redirect(msgspec.Struct, frozen=True):
    """Change the destination to this host and port."""

    port: int


class TProxy(msgspec.Struct, frozen=True):
    """Hand it to the transparent listener on this port, its addresses unchanged, and mark it.

    Where nobody listens so, iptables throws it away, and nft goes on with the next rule.
    """

    port: int
    mark: int


class SetMark(msgspec.Struct, frozen=True):
    """Give the packet this mark, and go on."""

    mark: int


class SaveMark(msgspec.Struct, frozen=True):
    """Give the connection the packet's mark, and go on."""


class RestoreMark(msgspec.Struct, frozen=True):
    """Give the packet the connection's mark, and go on."""


class SetConnectionMark(msgspec.Struct, frozen=True):
    """Take the bits of ``mask`` out of the connection's mark, turn those of ``value``, go on."""

    value: int
    mask: int


class SetZone(msgspec.Struct, frozen=True):
    """Have conntrack look for its connection in this zone, unless a rule before said so, go on."""

    zone: int


class TranslateDestination(msgspec.Struct, frozen=True):
    """Change where it goes (DNAT): the address, the port, or both; ``None`` leaves it."""

    address: IPv4Address | IPv6Address | None
    port: int | None

    @property
    def place(self) -> str:
        """Where it goes, as both tools write it: ``10.0.0.1``, ``[fd00::1]:80``, ``:80``."""
        address = "" if self.address is None else str(self.address)
        if self.port is None:
            return address
        return f"[{address}]:{self.port}" if ":" in address else f"{address}:{self.port}"


class SetSource(msgspec.Struct, frozen=True):
    """Change the address it comes from to this one (SNAT); the port stays, if it can."""

    address: IPv4Address | IPv6Address


class Foreign(msgspec.Struct, frozen=True):
    """An action no policy of ours has, in the words of its tool.

    Each class below says what one does to a packet; to render it, its words will do.
    """

    words: str


class UnreadableAction(Foreign, frozen=True):
    """An action in words nobody here understands."""


class Note(Foreign, frozen=True):
    """Tell somebody, or change what no rule looks at (LOG, TRACE, CHECKSUM), and go on."""


class Reject(Foreign, frozen=True):
    """Throw it away, and tell the sender."""


class NoTrack(Foreign, frozen=True):
    """Keep it from conntrack, so that nothing translates it, and go on."""


class SetMarkBits(Foreign, frozen=True):
    """Take the bits of ``mask`` out of the packet's mark, turn those of ``value``, and go on."""

    value: int
    mask: int


class MixMarks(Foreign, frozen=True):
    """Change marks of packet or connection by one another, in some bits, and go on."""


class TranslateSource(Foreign, frozen=True):
    """Change where it comes from to one of several (SNAT, MASQUERADE); it goes where it goes."""


Action = (
    Continue
    | Accept
    | Drop
    | Return
    | Jump
    | Goto
    | Redirect
    | TProxy
    | SetMark
    | SaveMark
    | RestoreMark
    | SetConnectionMark
    | SetZone
    | TranslateDestination
    | SetSource
    | UnreadableAction
    | Note
    | Reject
    | NoTrack
    | SetMarkBits
    | MixMarks
    | TranslateSource
)

PASSING = (
    Continue,
    SetMark,
    SaveMark,
    RestoreMark,
    SetConnectionMark,
    SetZone,
    Note,
    NoTrack,
    SetMarkBits,
    MixMarks,
)
"""Actions after which the next rule is looked at, whatever was done."""
