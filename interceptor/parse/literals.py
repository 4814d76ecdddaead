"""The values of options, as ``iptables-save`` prints them."""

from __future__ import annotations

import re
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address
from typing import Any

from interceptor import model
from interceptor.values import (
    FULL_MASK,
    Ids,
    Interfaces,
    Mark,
    Marks,
    Networks,
    Ports,
    merge,
    parse_network,
)


class Kind(StrEnum):
    """What type of value an option takes."""

    PORTS = "ports"
    NETWORKS = "networks"
    INTERFACES = "interfaces"
    IDS = "ids"
    MARKS = "marks"
    PROTOCOL = "protocol"
    STATES = "states"
    PORT = "port"
    MARK = "mark"
    MARK_BITS = "mark bits"
    ADDRESS = "address"
    PLACE = "place"
    ZONE = "zone"
    TEXT = "text"
    NOTHING = "nothing"
    FLAGS = "flags"


_NUMBER = re.compile(r"0x[0-9a-fA-F]{1,8}|0|[1-9][0-9]{0,9}")
_PLACE = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+))?(?::([0-9]{1,5}))?")
_PROTOCOLS = {"1": "icmp", "6": "tcp", "17": "udp", "58": "ipv6-icmp", "icmpv6": "ipv6-icmp"}


def read_literal(kind: Kind, text: str) -> Any:
    """Read a value as ``iptables-save`` prints it; ``ValueError`` if it is something else."""
    match kind:
        case Kind.PORTS:
            return _read_ports(text)
        case Kind.NETWORKS:
            return _read_networks(text)
        case Kind.INTERFACES:
            return Interfaces.parse(text)
        case Kind.IDS:
            return Ids.parse(text)
        case Kind.MARKS:
            return Marks.parse(text)
        case Kind.PROTOCOL:
            return _PROTOCOLS.get(text, text)
        case Kind.STATES:
            return tuple(sorted(text.split(",")))
        case Kind.PORT:
            return Ports.parse_number(text)
        case Kind.MARK:
            return _read_mark(text)
        case Kind.MARK_BITS:
            return _read_mark_bits(text)
        case Kind.ADDRESS:
            return _read_address(text)
        case Kind.PLACE:
            return _read_place(text)
        case Kind.ZONE:
            return _read_zone(text)
        case Kind.FLAGS:
            return _read_flags(text)
        case Kind.TEXT:
            return text


_SINGLE = frozenset({Kind.INTERFACES, Kind.IDS, Kind.MARKS, Kind.PROTOCOL})
"""Kinds of which an option of iptables takes one value; a sheet's takes several."""


_NO_VALUE = frozenset({"", "*"})


@lru_cache(maxsize=1 << 14)
def read_dumped(kind: Kind, text: str) -> Any:
    """Read a value that a person or a tool gave iptables; ``ValueError`` if it is no such."""
    if text in _NO_VALUE:
        raise ValueError(f"{text!r} is no value")
    if kind in _SINGLE and ("," in text or text.startswith("-")):
        raise ValueError(f"{text!r} is not one value")
    value = read_literal(kind, text)
    if kind is Kind.STATES and not model.STATES.issuperset(value):
        raise ValueError(f"{text!r} are no states")
    return value


def _read_networks(text: str) -> Networks:
    """Read networks; a single one needs no collapsing, which takes long."""
    if "," in text or "/" not in text:
        return Networks.parse(text)
    match parse_network(text):
        case IPv4Network() as network:
            return Networks((network,), (), (network,))
        case network:
            return Networks((), (network,), (network,))


def _read_mark(text: str) -> int:
    """Read a mark of all 32 bits."""
    mark = Mark.parse(text)
    if mark.mask != FULL_MASK:
        raise ValueError(f"{text!r} does not set all bits of a mark")
    return mark.value


def _read_mark_bits(text: str) -> Mark:
    """Read a mark as the kernel takes it: the value may have bits that the mask has not."""
    parts = text.split("/")
    if len(parts) > 2 or not all(map(_NUMBER.fullmatch, parts)):  # noqa: PLR2004 - value and mask
        raise ValueError(f"{text!r} is no mark")
    value, mask = int(parts[0], 0), int(parts[1], 0) if len(parts) > 1 else FULL_MASK
    if max(value, mask) > FULL_MASK:
        raise ValueError(f"{text!r} is no mark of 32 bits")
    return Mark(value, mask)


def _read_address(text: str) -> IPv4Address | IPv6Address:
    """Read one address."""
    if "%" in text:
        raise ValueError(f"{text!r} has a zone")
    return ip_address(text)


def _read_place(text: str) -> tuple[IPv4Address | IPv6Address | None, int | None]:
    """Read ``10.0.0.1``, ``10.0.0.1:80``, ``:80``, ``fd00::1`` or ``[fd00::1]:80``."""
    found = _PLACE.fullmatch(text)
    if found is None:
        # An address of IPv6 stands bare where no port follows it.
        return _read_address(text), None
    bracketed, bare, port = found.groups()
    if not text or (bracketed and ":" not in bracketed):
        raise ValueError(f"{text!r} is no address and no port")
    address = bracketed or bare
    return ip_address(address) if address else None, Ports.parse_number(port) if port else None


def _read_flags(text: str) -> tuple[str, ...]:
    """Read TCP flags."""
    if text == "NONE":
        return ()
    named = model.TCP_FLAGS if text == "ALL" else text.split(",")
    if not set(named) <= set(model.TCP_FLAGS):
        raise ValueError(f"{text!r} are no TCP flags; known are {', '.join(model.TCP_FLAGS)}")
    return tuple(flag for flag in model.TCP_FLAGS if flag in named)


_MOST_ZONES = 1 << 16


def _read_zone(text: str) -> int:
    """Read a conntrack zone."""
    if not (text.isascii() and text.isdigit() and int(text[:9]) < _MOST_ZONES):
        raise ValueError(f"{text!r} is no conntrack zone")
    return int(text)


def _read_ports(text: str) -> Ports:
    """Read ports as the kernel knows them: 0 is one, and a range may be open."""
    ranges = []
    for item in text.split(","):
        low, colon, high = item.partition(":")
        first, last = int(low or 0), int((high or Ports.HIGHEST) if colon else low)
        if not 0 <= first <= last <= Ports.HIGHEST:
            raise ValueError(f"{item!r} is no port and no range of ports")
        ranges.append((first, last))
    return Ports(merge(ranges))
