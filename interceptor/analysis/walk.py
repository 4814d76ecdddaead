"""Follow one packet through the chains at a hook, in the order the kernel has."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

import msgspec

from interceptor import model
from interceptor.analysis.packet import (
    Direct,
    Dropped,
    Fate,
    Packet,
    Redirected,
    Transparent,
    Unknown,
)
from interceptor.names import ChainType, Hook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.values import Interfaces, Marks, Networks


class Visit(msgspec.Struct, frozen=True):
    """A rule that matched on the way."""

    table: str
    chain: str
    number: int
    rule: model.Rule


class Walk(msgspec.Struct, frozen=True):
    """What becomes of a packet at a hook, and the rules that made it so."""

    fate: Fate
    path: tuple[Visit, ...]


def walk(ruleset: model.Ruleset, hook: Hook, packet: Packet, language: str = "") -> Walk:
    """Follow a packet through every base chain at a hook, lowest priority number first.

    Translation is done once: after a redirect, or once a socket has the packet, no further nat
    chain is asked. Of rules for one language alone those of ``language`` are asked, or all.
    """
    bases = sorted(_bases(ruleset, hook, packet), key=lambda pair: pair[2])
    walker = _Walker(packet, language)
    fate: Fate = Direct()
    for table, chain, _ in bases:
        translated = isinstance(fate, Redirected | Transparent)
        if translated and chain.base and chain.base.type is ChainType.NAT:
            continue
        found = walker.base(table, chain)
        if isinstance(found, Dropped | Unknown):
            return Walk(found, tuple(walker.path))
        if isinstance(found, Redirected | Transparent):
            fate = found
    return Walk(fate, tuple(walker.path))


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
        self._packet = packet
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
            held = _holds_all(rule.matches, self._packet)
            if held is None:
                return Unknown(f"{table.name} {chain.name} rule {number}: {rule.text}")
            if not held:
                continue
            self.path.append(Visit(table.name, chain.name, number, rule))
            match rule.action:
                case model.Continue() | model.SetZone():
                    continue
                case model.SetMark() | model.SaveMark() | model.RestoreMark():
                    self._packet = _marked(self._packet, rule.action)
                case model.Accept():
                    return Direct()
                case model.Drop():
                    return Dropped()
                case model.Return():
                    return None
                case model.Redirect(port):
                    return Redirected(port)
                case model.TProxy(port):
                    return Transparent(port)
                case model.Jump(target):
                    fate = self._chain(table, chains, chains[target])
                    if fate is not None:
                        return fate
                case model.Goto(target):
                    return self._chain(table, chains, chains[target])
                case model.UnreadableAction(words):
                    return Unknown(f"{table.name} {chain.name} rule {number}: {words}")
                case _:
                    assert_never(rule.action)
        return None


def _marked(packet: Packet, action: model.SetMark | model.SaveMark | model.RestoreMark) -> Packet:
    match action:
        case model.SetMark(mark):
            return msgspec.structs.replace(packet, mark=mark)
        case model.SaveMark():
            return msgspec.structs.replace(packet, connection_mark=packet.mark)
        case model.RestoreMark():
            return msgspec.structs.replace(packet, mark=packet.connection_mark)


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
