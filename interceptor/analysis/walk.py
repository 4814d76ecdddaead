"""Follow one packet through the chains at a hook, in the order the kernel has."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

import msgspec

from interceptor import model
from interceptor.analysis.packet import (
    LOCALHOST,
    Direct,
    Dropped,
    Fate,
    Packet,
    Redirected,
    Transparent,
    Unknown,
)
from interceptor.names import LOOPBACK_INTERFACE, ChainType, Hook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.values import Interfaces, Marks, Networks

_TRANSLATED = ("NEW", "RELATED")
"""States in which a packet is a connection's first (nf_nat_inet_fn in nf_nat_core.c)."""


class Visit(msgspec.Struct, frozen=True):
    """A rule that matched on the way."""

    table: str
    chain: str
    number: int
    rule: model.Rule


class Walk(msgspec.Struct, frozen=True):
    """What becomes of a packet at a hook, the rules that made it so, and what they changed in it.

    ``packet`` is as rules left it; its addresses are the old ones, whatever became of it.
    """

    fate: Fate
    path: tuple[Visit, ...]
    packet: Packet


def walk(ruleset: model.Ruleset, hook: Hook, packet: Packet, language: str = "") -> Walk:
    """Follow a packet through every base chain at a hook, lowest priority number first.

    Translation is done once, for a connection's first packet: after a redirect, or once a socket
    has it, no further nat chain is asked. Of rules that are for one language alone those for
    ``language`` are asked, or all of them.
    """
    return _follow(ruleset, hook, packet, language, asks_nat=packet.state in _TRANSLATED)


def walk_sent(ruleset: model.Ruleset, packet: Packet, language: str = "") -> Walk:
    """Follow a packet that this host sends, and if it stays here, as it comes in again by ``lo``.

    There it meets no nat chain, and its sender is forgotten.
    """
    sent = walk(ruleset, Hook.OUTPUT, packet, language)
    match sent.fate:
        case Redirected(port):
            to, to_port = LOCALHOST[packet.family], port
        case Direct() if packet.out_interface == LOOPBACK_INTERFACE:
            to, to_port = packet.destination, packet.destination_port
        case _:
            return sent
    arriving = msgspec.structs.replace(
        sent.packet,
        destination=to,
        destination_port=to_port,
        uid=None,
        gid=None,
        in_interface=LOOPBACK_INTERFACE,
        out_interface="",
    )
    arrived = _follow(ruleset, Hook.PREROUTING, arriving, language, asks_nat=False)
    if isinstance(arrived.fate, Direct):
        return sent
    return Walk(arrived.fate, sent.path + arrived.path, arrived.packet)


def _follow(
    ruleset: model.Ruleset, hook: Hook, packet: Packet, language: str, *, asks_nat: bool
) -> Walk:
    bases = sorted(_bases(ruleset, hook, packet), key=lambda pair: pair[2])
    walker = _Walker(packet, language)
    fate: Fate = Direct()
    for table, chain, _ in bases:
        if not asks_nat and chain.base and chain.base.type is ChainType.NAT:
            continue
        found = walker.base(table, chain)
        if not isinstance(found, Direct):
            fate = found
            asks_nat = False
        if isinstance(found, Dropped | Unknown):
            break
    return Walk(fate, tuple(walker.path), walker.packet)


def _bases(
    ruleset: model.Ruleset, hook: Hook, packet: Packet
) -> Iterator[tuple[model.Table, model.Chain, int]]:
    for table in ruleset.tables:
        if packet.family not in table.family.members:
            continue
        for chain in table.chains:
            if chain.base and chain.base.hook is hook:
                yield table, chain, chain.base.priority


class _Walker:
    def __init__(self, packet: Packet, language: str) -> None:
        self.packet = packet
        self._language = language
        self.path: list[Visit] = []

    def base(self, table: model.Table, chain: model.Chain) -> Fate:
        fate = self._chain(table, {c.name: c for c in table.chains}, chain)
        if fate is not None:
            return fate
        return Dropped() if chain.base and chain.base.policy == "drop" else Direct()

    def _chain(
        self, table: model.Table, chains: dict[str, model.Chain], chain: model.Chain
    ) -> Fate | None:
        """Walk a chain; ``None`` when its end or a return is reached without a verdict."""
        for number, rule in enumerate(chain.rules, 1):
            if self._language and rule.only not in ("", self._language):
                continue
            held = _holds_all(rule.matches, self.packet)
            if held is None:
                return Unknown(f"{table.name} {chain.name} rule {number}: {rule.text}")
            if not held:
                continue
            self.path.append(Visit(table.name, chain.name, number, rule))
            match rule.action:
                case model.Continue():
                    continue
                case model.SetMark() | model.SaveMark() | model.RestoreMark() | model.SetZone():
                    self.packet = _changed(self.packet, rule.action)
                case model.Accept():
                    return Direct()
                case model.Drop():
                    return Dropped()
                case model.Return():
                    return None
                case model.Redirect(port):
                    return Redirected(port)
                case model.TProxy(port, mark):
                    self.packet = msgspec.structs.replace(self.packet, mark=mark)
                    return Transparent(port)
                case model.Jump(target):
                    fate = self._chain(table, chains, chains[target])
                    if fate is not None:
                        return fate
                case model.Goto(target):
                    return self._chain(table, chains, chains[target])
                case model.Foreign(words):
                    return Unknown(f"{table.name} {chain.name} rule {number}: {words}")
                case _:
                    assert_never(rule.action)
        return None


def _changed(
    packet: Packet, action: model.SetMark | model.SaveMark | model.RestoreMark | model.SetZone
) -> Packet:
    """Give the packet as an action leaves it that goes on with the next rule."""
    match action:
        case model.SetMark(mark):
            return msgspec.structs.replace(packet, mark=mark)
        case model.SaveMark():
            return msgspec.structs.replace(packet, connection_mark=packet.mark)
        case model.RestoreMark():
            return msgspec.structs.replace(packet, mark=packet.connection_mark)
        case model.SetZone(zone):
            return (
                packet if packet.zone is not None else msgspec.structs.replace(packet, zone=zone)
            )


def _holds_all(matches: tuple[model.Match, ...], packet: Packet) -> bool | None:
    """Whether all matches hold; ``None`` if that hangs on one that cannot be read."""
    answers = [_holds(match, packet) for match in matches]
    if False in answers:
        return False
    return None if None in answers else True


def _holds(match: model.Match, packet: Packet) -> bool | None:
    """Whether one match holds, negation included."""
    plain = _holds_plainly(match, packet)
    if plain is None:
        return None
    # Without a socket an owner match is false, also negated, as in nft; see model.Uid.
    if isinstance(match, model.Uid | model.Gid) and packet.uid is None:
        return False
    return plain != match.negated


def _holds_plainly(match: model.Match, packet: Packet) -> bool | None:
    match match:
        case model.FamilyIs(family):
            return packet.family is family
        case model.InInterface(interfaces):
            return _has_interface(interfaces, packet.in_interface)
        case model.OutInterface(interfaces):
            return _has_interface(interfaces, packet.out_interface)
        case model.Source(networks):
            return _has_address(networks, packet, packet.source)
        case model.Destination(networks):
            return _has_address(networks, packet, packet.destination)
        case model.Protocol(name):
            return packet.protocol == name
        case model.SourcePort(ports):
            return packet.source_port in ports
        case model.DestinationPort(ports):
            return packet.destination_port in ports
        case model.Uid(ids):
            return packet.uid is not None and packet.uid in ids
        case model.Gid(ids):
            return packet.gid is not None and packet.gid in ids
        case model.PacketMark(marks):
            return _has_mark(marks, packet.mark)
        case model.ConnectionMark(marks):
            return _has_mark(marks, packet.connection_mark)
        case model.ConnectionState(states):
            return packet.state in states
        case model.TcpFlags(mask, flags):
            # A connection's first packet has just this one.
            return packet.protocol == "tcp" and flags == tuple(f for f in mask if f == "SYN")
        case model.TransparentSocket():
            # Nobody has a connection that is only about to begin.
            return False
        case _:
            return None


def _has_interface(interfaces: Interfaces, name: str) -> bool:
    return any(
        name.startswith(wanted[:-1]) if wanted.endswith("+") else name == wanted
        for wanted in interfaces.names
    )


def _has_address(networks: Networks, packet: Packet, address: object) -> bool:
    return any(address in network for network in networks.part(packet.family))


def _has_mark(marks: Marks, mark: int) -> bool:
    return any(mark & wanted.mask == wanted.value for wanted in marks.marks)
