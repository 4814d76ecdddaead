"""What a rule asks of a packet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from interceptor.names import Family
    from interceptor.values import Ids, Interfaces, Marks, Networks, Ports

STATES = frozenset({"NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED", "SNAT", "DNAT"})
"""Conntrack states (iptables-extensions(8), "conntrack")."""


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """One condition on a packet; ``negated`` turns it round."""

    negated: bool = False


class FamilyIs(Match, frozen=True):
    """The packet is of this single family (nft ``meta nfproto``)."""

    family: Family


class InInterface(Match, frozen=True):
    """It came in by one of these interfaces."""

    interfaces: Interfaces


class OutInterface(Match, frozen=True):
    """It leaves by one of these interfaces."""

    interfaces: Interfaces


class Source(Match, frozen=True):
    """Its source address is in one of these networks."""

    networks: Networks


class Destination(Match, frozen=True):
    """Its destination address is in one of these networks."""

    networks: Networks


class Protocol(Match, frozen=True):
    """It is of this transport protocol, by the name of /etc/protocols, or the number."""

    protocol: str


class SourcePort(Match, frozen=True):
    """Its source port is one of these."""

    ports: Ports


class DestinationPort(Match, frozen=True):
    """Its destination port is one of these."""

    ports: Ports


class Uid(Match, frozen=True):
    """The socket that sends it was made by one of these users.

    Without a socket it is false, also negated in nft; iptables makes the negated one true.
    """

    ids: Ids


class Gid(Match, frozen=True):
    """The socket that sends it was made by one of these groups.

    Without a socket it is false, also negated in nft; iptables makes the negated one true.
    """

    ids: Ids


class PacketMark(Match, frozen=True):
    """It carries one of these marks; a packet starts with its socket's."""

    marks: Marks


class ConnectionMark(Match, frozen=True):
    """Its connection carries one of these marks."""

    marks: Marks


TCP_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG")
"""In the order of ``tcp_flag_names`` in libxt_tcp.c."""


class TcpFlags(Match, frozen=True):
    """Of the TCP flags in ``mask`` just those in ``flags`` are set; both in their usual order."""

    mask: tuple[str, ...]
    flags: tuple[str, ...]


class TransparentSocket(Match, frozen=True):
    """A transparent socket, one that may have others' addresses, has its connection already."""


class ConnectionState(Match, frozen=True):
    """Conntrack has its connection in one of these states (NEW, ESTABLISHED, ...), sorted."""

    states: tuple[str, ...]


class ForeignMatch(Match, frozen=True):
    """A condition no policy of ours has, in the words of its tool, without the negation."""

    words: str


class Unreadable(ForeignMatch, frozen=True):
    """A condition in words nobody here understands."""


class Aside(ForeignMatch, frozen=True):
    """It asks for nothing: something is told or counted before the rule's action."""


class SourceIsLocal(ForeignMatch, frozen=True):
    """Its source is an address of this host."""


class DestinationIsLocal(ForeignMatch, frozen=True):
    """Its destination is an address of this host."""
