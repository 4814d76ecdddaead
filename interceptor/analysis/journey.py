"""A connection's whole way: to the proxy, and on from the proxy in a connection of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from interceptor.analysis.directions import Direction
from interceptor.analysis.intent import HANDOVER
from interceptor.analysis.packet import Direct, Fate, Packet, Redirected, Transparent
from interceptor.analysis.walk import Walk, walk_received, walk_sent
from interceptor.config import Mode
from interceptor.names import LOOPBACK_INTERFACE

if TYPE_CHECKING:
    from interceptor import model
    from interceptor.config import Config


class Leg(msgspec.Struct, frozen=True):
    """One connection: who makes it, to whom it gets, and how."""

    maker: str
    target: str
    packet: Packet
    walk: Walk


def journey(
    ruleset: model.Ruleset,
    direction: Direction,
    packet: Packet,
    config: Config,
    language: str = "",
) -> tuple[Leg, ...]:
    """Follow a connection, and if a proxy gets it, the one the proxy makes for it.

    Args:
        ruleset: the rules.
        direction: of the first connection.
        packet: its first packet.
        config: says who the proxy is and where it listens.
        language: leaves out rules that are for another language alone.
    """
    is_outbound = direction is Direction.OUTBOUND
    follow = walk_sent if is_outbound else walk_received
    walk = follow(ruleset, packet, language)
    there = "outside" if is_outbound else "app"
    if is_outbound and packet.out_interface == LOOPBACK_INTERFACE:
        there = "app"
    maker = _maker(packet, config) if is_outbound else "client"
    first = Leg(maker, _target(walk.fate, there), packet, walk)
    second = _from_proxy(walk, packet, config) if maker != "proxy" else None
    if second is None:
        return (first,)
    onward = walk_sent(ruleset, second, language)
    last = "app" if second.out_interface == LOOPBACK_INTERFACE else "outside"
    return first, Leg("proxy", _target(onward.fate, last), second, onward)


def _maker(packet: Packet, config: Config) -> str:
    is_proxy = (
        (packet.uid is not None and packet.uid in config.proxy_uid.ids)
        or (packet.gid is not None and packet.gid in config.proxy_gid.ids)
        or any(packet.mark & one.mask == one.value for one in config.exempt_mark.marks)
    )
    return "proxy" if is_proxy else "app"


def _target(fate: Fate, there: str) -> str:
    match fate:
        case Direct():
            return there
        case Redirected(port) | Transparent(port):
            return f"proxy:{port}"
        case _:
            return str(fate)


def _from_proxy(walk: Walk, packet: Packet, config: Config) -> Packet | None:
    """Give the first packet of what the proxy makes of a connection it got."""
    match walk.fate:
        case Redirected(port) | Transparent(port):
            is_inbound = port == config.inbound_port and port != config.outbound_port
        case _:
            return None
    by_proxy = msgspec.structs.replace(
        packet,
        uid=_first(config.proxy_uid.ids.ranges),
        gid=_first(config.proxy_gid.ids.ranges),
        mark=next((one.value for one in config.exempt_mark.marks), 0),
        connection_mark=0,
        in_interface="",
        out_interface=packet.out_interface or "eth0",
        source_port=packet.source_port,
        zone=None,
    )
    if not is_inbound:
        return by_proxy
    if config.mode is Mode.TPROXY and isinstance(walk.fate, Transparent):
        source, mark = packet.source, config.tproxy_mark
    else:
        source = HANDOVER.part(packet.family)[0].network_address
        mark = by_proxy.mark
    return msgspec.structs.replace(
        by_proxy, source=source, mark=mark, out_interface=LOOPBACK_INTERFACE
    )


def _first(ranges: tuple[tuple[int, int], ...]) -> int:
    """Give the lowest id; of none, one that is nobody's."""
    return ranges[0][0] if ranges else 65534
