"""What a match of nft's JSON asks of a packet, as one or more ways to meet it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interceptor import model
from interceptor.names import Family
from interceptor.parse import nft_value as value
from interceptor.parse.nft_value import UnknownError, plain
from interceptor.values import FULL_MASK, Ids, Interfaces, Marks, Networks, Ports

if TYPE_CHECKING:
    from interceptor.parse.nft_sets import Sets

Way = tuple[model.Match, ...]
"""All of these have to hold."""

NO_WILDCARD = model.Unreadable("socket wildcard 0")

_ORDERS = frozenset({"<", ">", "<=", ">="})
_PLAIN = frozenset({"==", "in", "!="})
_LOCAL = ("local", 2)
_TRANSPORTS = frozenset({*value.PROTOCOLS.values(), "icmpv6"})


def ways(body: Any, sets: Sets) -> list[Way]:
    """Give the ways to meet a match, of which no packet meets two; none if nothing can.

    Raises:
        UnknownError: or what else shows that it is in a shape nobody here understands.
    """
    asked = plain(body)
    found = sets.known.get(asked)
    if found is None:
        sets.known[asked] = found = _ways(body["op"], body["left"], body["right"], sets)
    return found


def _ways(operator: Any, left: Any, right: Any, sets: Sets) -> list[Way]:
    is_set = (isinstance(right, dict) and "set" in right) or _is_named(right)
    members = sets.members(right)
    match left:
        case {"concat": list(fields)}:
            if operator not in ("==", "in") or not is_set:
                raise UnknownError
            return _rows(fields, members)
    return _plain_ways(left, operator, members, is_set=is_set)


def unread(body: Any) -> Way:
    """Give what is sure of a match nobody understands: a packet without the header fails it."""
    kept = model.Unreadable(plain({"match": body}))
    match body:
        case {"left": {"payload": {"protocol": str(name), "field": _, **more}}} | {
            "left": {"&": [{"payload": {"protocol": str(name), "field": _, **more}}, _]}
        } if not more and name in _TRANSPORTS:
            return (kept, model.Protocol(value.protocol(name)))
    return (kept,)


def families(left: Any) -> frozenset[Family]:
    """Give the families whose header a match looks at: others' packets never meet it."""
    match left:
        case {"payload": {"protocol": "ip" | "ip6" as name, "field": _, **more}} if not more:
            return frozenset({Family(name)})
        case {"&": [{"payload": _} as inner, _]}:
            return families(inner)
        case {"concat": list(fields)}:
            return frozenset(one for field in fields for one in families(field))
    return frozenset()


def is_mark(left: Any) -> bool:
    """Whether what is looked at is a mark, which rules change as they go."""
    match left:
        case {"concat": list(fields)} | {"&": list(fields)}:
            return any(map(is_mark, fields))
        case {"meta": {"key": "mark"}} | {"ct": {"key": "mark"}}:
            return True
    return False


def _is_named(right: Any) -> bool:
    return isinstance(right, str) and right.startswith("@")


def _rows(fields: list[Any], members: list[Any]) -> list[Way]:
    """Read rows of values that have to be met field by field."""
    if len(members) > 1 and any(map(is_mark, fields)):
        # Who meets a row may be given the mark of the next one.
        raise UnknownError
    rows: list[Way] = []
    for member in members:
        match member:
            case {"concat": list(values)} if len(values) == len(fields):
                row: Way = ()
                for field, one in zip(fields, values, strict=True):
                    [way] = _plain_ways(field, "==", [value.element(one)], is_set=True)
                    row += tuple(match for match in way if match not in row)
                rows.append(row)
            case _:
                raise UnknownError
    return rows


def _plain_ways(left: Any, operator: str, members: list[Any], *, is_set: bool) -> list[Way]:
    if operator in _ORDERS and not is_set:
        highest = _highest(left)
        operator, members = "==", [value.beyond(operator, members[0], highest)]
    negated = operator == "!="
    match left:
        case {"ct": {"key": "state", **more}} if not more:
            return [(_states(operator, members, is_set=is_set),)]
        case {"payload": {"protocol": "tcp", "field": "flags"}} if not is_set:
            return [(model.Protocol("tcp"), _tcp_flags(operator, members[0]))]
    if operator not in _PLAIN:
        raise UnknownError
    match left:
        case (
            {"meta": {"key": "l4proto"}}
            | {"payload": {"protocol": "ip", "field": "protocol"}}
            | {"payload": {"protocol": "ip6", "field": "nexthdr"}}
        ):
            names = [model.Protocol(value.protocol(one), negated=negated) for one in members]
            return [tuple(names)] if negated else [(name,) for name in names]
        case {"meta": {"key": str(key), **more}} if not more:
            return [(_meta(key, members, negated=negated),)]
        case _:
            return [_other(left, members, negated=negated)]


def _highest(left: Any) -> int:
    match left:
        case {"payload": {"field": "sport" | "dport"}}:
            return Ports.HIGHEST
        case {"meta": {"key": "skuid" | "skgid"}}:
            return Ids.HIGHEST
    raise UnknownError


def _other(left: Any, members: list[Any], *, negated: bool) -> Way:
    match left:
        case {"&": [{"meta": {"key": "mark", **more}}, int(mask)]} if not more:
            return (model.PacketMark(_marks(members, mask), negated=negated),)
        case {"&": [{"ct": {"key": "mark", **more}}, int(mask)]} if not more:
            return (model.ConnectionMark(_marks(members, mask), negated=negated),)
        case {"ct": {"key": "mark", **more}} if not more:
            return (model.ConnectionMark(_marks(members), negated=negated),)
        case {"payload": {"protocol": str(protocol), "field": str(field), **more}} if not more:
            return _payload(protocol, field, members, negated=negated)
        case {"&": [{"payload": {"protocol": "tcp", "field": "flags", **more}}, mask]} if (
            not more and len(members) == 1
        ):
            flags = model.TcpFlags(value.flags(mask), value.flags(members[0]), negated=negated)
            return (model.Protocol("tcp"), flags)
        case {"fib": {"result": "type", "flags": ["daddr"] | "daddr"}} if _is_local(members):
            kept = plain({"match": {"op": "==", "left": left, "right": "local"}})
            return (model.DestinationIsLocal(kept, negated=negated),)
        case {"fib": {"result": "type", "flags": ["saddr"] | "saddr"}} if _is_local(members):
            kept = plain({"match": {"op": "==", "left": left, "right": "local"}})
            return (model.SourceIsLocal(kept, negated=negated),)
        case {"socket": {"key": "transparent"}} if members == [1] and not negated:
            return (model.TransparentSocket(),)
        case {"socket": {"key": "wildcard"}} if members == [0] and not negated:
            return (NO_WILDCARD,)
        case _:
            raise UnknownError


def _is_local(members: list[Any]) -> bool:
    return len(members) == 1 and members[0] in _LOCAL


def _payload(protocol: str, field: str, members: list[Any], *, negated: bool) -> Way:
    match protocol, field:
        case "ip" | "ip6", "saddr" | "daddr":
            kind = model.Source if field == "saddr" else model.Destination
            found = [network for member in members for network in value.networks(member)]
            networks = Networks.of(found) if len(found) > 1 else value.only(found)
            return (kind(networks, negated=negated),)
        case _, "sport" | "dport":
            port_kind = model.SourcePort if field == "sport" else model.DestinationPort
            ports = port_kind(Ports.of(*map(value.range_of, members)), negated=negated)
            return (ports,) if protocol == "th" else (model.Protocol(protocol), ports)
    raise UnknownError


def _meta(key: str, members: list[Any], *, negated: bool) -> model.Match:
    match key:
        case "iifname" | "oifname" | "iif" | "oif":
            by_name = key.endswith("name")
            names = sorted(value.interface(member, by_name=by_name) for member in members)
            kind = model.InInterface if key.startswith("iif") else model.OutInterface
            return kind(Interfaces(tuple(names)), negated=negated)
        case "skuid":
            return model.Uid(Ids.of(*map(value.range_of, members)), negated=negated)
        case "skgid":
            return model.Gid(Ids.of(*map(value.range_of, members)), negated=negated)
        case "mark":
            return model.PacketMark(_marks(members), negated=negated)
        case "nfproto" if len(members) == 1:
            return model.FamilyIs(value.family(members[0]), negated=negated)
        case "protocol" if len(members) == 1:
            return model.FamilyIs(value.ether_family(members[0]), negated=negated)
        case _:
            raise UnknownError


def _marks(members: list[Any], mask: int = FULL_MASK) -> Marks:
    return Marks(tuple(mark for member in members for mark in value.marks(member, mask)))


def _states(operator: str, members: list[Any], *, is_set: bool) -> model.Match:
    """Read states: a set, or bits of which one has to be there; a packet has only one."""
    joined = members[0] if members and isinstance(members[0], list) else members
    if joined is not members and (is_set or operator not in ("in", "!")):
        # Compared as a whole, several bits are no state at all.
        raise UnknownError
    if operator not in _PLAIN and (operator != "!" or is_set):
        raise UnknownError
    states = {value.state(member) for member in joined}
    return model.ConnectionState(tuple(sorted(states)), negated=operator in ("!=", "!"))


def _tcp_flags(operator: str, right: Any) -> model.Match:
    """Read flags without a mask: ``in`` is one of them, ``!`` is none of them."""
    flags = value.flags(right)
    if operator == "in" and len(flags) == 1:
        return model.TcpFlags(flags, flags)
    if operator == "!":
        return model.TcpFlags(flags, ())
    raise UnknownError
