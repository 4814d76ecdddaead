"""Packets, fates and rules in words that people read."""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import TYPE_CHECKING

from interceptor import model
from interceptor.names import FAMILY_NAMES
from interceptor.values import Mark

if TYPE_CHECKING:
    from interceptor.analysis.packet import Address, Packet
    from interceptor.analysis.run import Visit


def packet_words(packet: Packet) -> str:
    """Say what a packet is, as far as it is unlike any other."""
    return ", ".join(_packet_parts(packet))


def _packet_parts(packet: Packet) -> list[str]:
    source = end_words(packet.source, packet.source_port)
    destination = end_words(packet.destination, packet.destination_port)
    parts = [f"{packet.protocol} {source} -> {destination}"]
    if packet.uid is not None:
        parts.append(f"uid {packet.uid}")
    if packet.gid is not None:
        parts.append(f"gid {packet.gid}")
    if packet.in_interface:
        parts.append(f"in by {packet.in_interface}")
    if packet.out_interface:
        parts.append(f"out by {packet.out_interface}")
    if packet.mark:
        parts.append(f"mark {packet.mark:#x}")
    if packet.connection_mark:
        parts.append(f"connection mark {packet.connection_mark:#x}")
    if packet.state != "NEW":
        parts.append(f"state {packet.state}")
    return parts


def end_words(address: Address, port: int) -> str:
    """Write an address and a port."""
    return f"[{address}]:{port}" if isinstance(address, IPv6Address) else f"{address}:{port}"


def packet_facts(packet: Packet) -> dict[str, object]:
    """Give a packet for JSON."""
    return {
        "family": FAMILY_NAMES[packet.family],
        "protocol": packet.protocol,
        "source": str(packet.source),
        "source_port": packet.source_port,
        "destination": str(packet.destination),
        "destination_port": packet.destination_port,
        "uid": packet.uid,
        "gid": packet.gid,
        "mark": packet.mark,
        "connection_mark": packet.connection_mark,
        "in_interface": packet.in_interface,
        "out_interface": packet.out_interface,
        "state": packet.state,
    }


def visit_facts(visit: Visit) -> dict[str, object]:
    """Give a rule that was met, for JSON."""
    return {
        "hook": str(visit.hook),
        "family": str(visit.family),
        "table": visit.table,
        "chain": visit.chain,
        "rule": visit.number,
        "why": visit.rule.why,
        "text": visit.rule.text,
        "does": action_words(visit.rule.action),
        "is_unsure": visit.is_unsure,
    }


def action_words(action: model.Action) -> str:
    """Say what a rule does."""
    match action:
        case model.Continue():
            return "go on"
        case model.Accept():
            return "accept"
        case model.Drop():
            return "drop"
        case model.Return():
            return "return"
        case model.Jump(chain):
            return f"jump {chain}"
        case model.Goto(chain):
            return f"goto {chain}"
        case model.Redirect(port):
            return f"redirect to {port}"
        case model.TProxy(port, mark):
            return f"tproxy to {port}, mark {mark:#x}"
        case model.SetMark(mark):
            return f"set mark {mark:#x}"
        case model.SaveMark():
            return "save the mark with the connection"
        case model.RestoreMark():
            return "take the connection's mark"
        case model.SetConnectionMark(value, mask):
            return f"set the connection's mark {Mark(value, mask)}"
        case model.TranslateDestination():
            return f"dnat to {action.place}"
        case model.SetSource(address):
            return f"snat to {address}"
        case model.SetZone(zone):
            return f"put into conntrack zone {zone}"
        case model.Foreign(words):
            return words


def reason(path: tuple[Visit, ...]) -> str:
    """Give the why of the rule that decided: the last at its hook that is no mere way there."""
    ends = [v for v in path if isinstance(v.rule.action, _DECIDING)]
    hook = (ends or [*path[:1]])[-1].hook if path else None
    for visit in reversed([v for v in path if v.hook is hook]):
        if visit.rule.why and not isinstance(visit.rule.action, model.Redirect | model.TProxy):
            return visit.rule.why
    return ""


_DECIDING = (model.Redirect, model.TProxy, model.Drop, model.Reject, model.TranslateDestination)
