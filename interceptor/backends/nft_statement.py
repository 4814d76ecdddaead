"""Statements of nft's JSON (libnftables-json(5)) that no action of the model stands for.

Pure. ``parse.nft_json`` keeps them as they are; here it is told what they may do all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.names import Family

Statement = dict[str, Any]

TAKING = frozenset(["dnat", "drop", "masquerade", "redirect", "reject", "snat", "tproxy"])
"""What surely keeps a packet from later chains, or turns it into another before them."""

_COUNTING = frozenset(["counter", "last", "quota"])
"""They have in them what they have counted by now."""

_HOLDING = frozenset(["ct count", "limit", "map", "meter", "quota", "set"])
"""They match as well: if one does not, the rule ends."""

PASSING = (
    _COUNTING
    | _HOLDING
    | frozenset(
        [
            "continue",
            "ct expectation",
            "ct helper",
            "ct timeout",
            "dup",
            "flow",
            "log",
            "mangle",
            "match",
        ]
    )
)
"""After them the next statement comes, or the next rule."""

_PROTOCOLS = {6: "tcp", 17: "udp", 33: "dccp", 132: "sctp"}
_TRANSPORTS = frozenset(
    ["ah", "comp", "dccp", "esp", "gre", "icmp", "icmpv6", "igmp", "sctp", "tcp", "udp", "udplite"]
)
_FAMILIES = frozenset(["ip", "ip6"])
_NO_CONNECTION = frozenset(["invalid", "untracked"])


def is_json(words: str) -> bool:
    """Whether words nobody understood are nft's."""
    return words.startswith(("[", "{"))


def statements(words: str) -> list[Statement]:
    """Give one statement, or those of a rule."""
    found = msgspec.json.decode(words)
    found = found if isinstance(found, list) else [found]
    return [one if isinstance(one, dict) else {str(one): None} for one in found]


def kind(statement: Statement) -> str:
    """Give a statement's name."""
    return next(iter(statement), "")


def uncounted(text: str) -> str:
    """Give a rule's JSON without what changes by itself."""
    kept = [one for one in statements(text) if kind(one) not in _COUNTING]
    return msgspec.json.encode(kept).decode()


def holds(statement: Statement, family: Family, protocol: str) -> bool | None:
    """Whether a packet gets beyond a statement; ``None`` if some do, or may.

    A statement that looks at a header holds for packets that have it, though nft does not say so.
    """
    if any(_excludes(header, family, protocol) for header in _headers(statement)):
        return False
    match statement:
        case {"match": {"op": str(operator), "left": left, "right": right}} if _is_protocol(left):
            held = _is_among(protocol, right)
            return held if held is None or operator != "!=" else not held
        case {"match": _} | {"xt": {"type": "match"}}:
            return None
        case {"dnat": {"addr": {"map": _}} | {"port": {"map": _}}} | {
            "redirect": {"port": {"map": _}}
        }:
            return None
    return None if kind(statement) in _HOLDING else True


def verdicts(vmap: object, protocol: str, *, is_tracked: bool) -> list[Statement] | None:
    """Give the verdicts a map has for packets of a protocol; ``None`` if it does not say.

    Args:
        vmap: the body of the statement.
        protocol: of the packets.
        is_tracked: whether conntrack has seen them, so that none of interest is invalid to it.
    """
    match vmap:
        case {"key": key, "data": {"set": [*elements]}}:
            found: list[Statement] = []
            for element in elements:
                match element:
                    case [value, {**verdict}]:
                        if _is_meant(key, value, protocol, is_tracked=is_tracked):
                            found.append({str(k): v for k, v in verdict.items()})
                    case _:
                        return None
            return found
    return None


def _is_meant(key: object, value: object, protocol: str, *, is_tracked: bool) -> bool:
    if _is_protocol(key):
        return _is_among(protocol, value) is not False
    is_state = key == {"ct": {"key": "state"}}
    return not (is_state and is_tracked and value in _NO_CONNECTION)


def _is_protocol(left: object) -> bool:
    match left:
        case (
            {"meta": {"key": "l4proto"}}
            | {"payload": {"protocol": "ip", "field": "protocol"}}
            | {"payload": {"protocol": "ip6", "field": "nexthdr"}}
        ):
            return True
    return False


def _is_among(protocol: str, right: object) -> bool | None:
    members = right["set"] if isinstance(right, dict) and "set" in right else [right]
    names = [_PROTOCOLS.get(one, str(one)) if isinstance(one, int) else one for one in members]
    if protocol in names:
        return True
    is_clear = all(isinstance(name, str) and not name.startswith("@") for name in names)
    return False if is_clear else None


def _headers(part: object) -> Iterator[str]:
    """Give the name of each header that a part of a rule looks at."""
    match part:
        case {"payload": {"protocol": str(name)}}:
            yield name
        case dict():
            for inner in part.values():
                yield from _headers(inner)
        case list():
            for inner in part:
                yield from _headers(inner)


def _excludes(header: str, family: Family, protocol: str) -> bool:
    if header in _FAMILIES:
        return header != family
    return header in _TRANSPORTS and header != protocol
