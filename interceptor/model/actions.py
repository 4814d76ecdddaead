"""What a rule does with a packet."""

from __future__ import annotations

import msgspec


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


class SetZone(msgspec.Struct, frozen=True):
    """Have conntrack look for its connection in this zone, unless a rule before said so, go on."""

    zone: int


class UnreadableAction(msgspec.Struct, frozen=True):
    """An action in words nobody here understands."""

    words: str


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
    | SetZone
    | UnreadableAction
)

PASSING = (Continue, SetMark, SaveMark, RestoreMark, SetZone)
"""Actions after which the next rule is looked at, whatever was done."""
