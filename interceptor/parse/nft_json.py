"""The JSON of ``nft -j list`` (libnftables-json(5)) into a ``Ruleset`` of all its tables."""

from __future__ import annotations

from ipaddress import ip_address, ip_network, summarize_address_range
from typing import TYPE_CHECKING, Any

import msgspec

from interceptor import model
from interceptor.errors import ParseError
from interceptor.names import ChainType, Family, Hook
from interceptor.values import Ids, Interfaces, Mark, Marks, Network, Networks, Ports

if TYPE_CHECKING:
    from collections.abc import Iterator

Json = dict[str, Any]

_FAMILIES = frozenset(Family)
_VERDICTS: dict[str, model.Action] = {
    "accept": model.Accept(),
    "drop": model.Drop(),
    "return": model.Return(),
}
_WITHOUT_MEANING = frozenset({"counter", "log", "comment"})


class _UnknownError(Exception):
    """A statement or expression in a shape nobody here understands."""


def parse(text: str | bytes) -> model.Ruleset:
    """Read what nft lists; what nobody here understands is kept as unreadable.

    Tables of families that carry no IP packets by themselves (arp, bridge, netdev) are left out.

    Raises:
        ParseError: the text is not the JSON of nft.
    """
    try:
        objects = msgspec.json.decode(text, type=dict[str, list[dict[str, Any]]])["nftables"]
        return _Listing(objects).ruleset()
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ParseError(
            f"nft's JSON is not as expected: {type(error).__name__}: {error}",
            hint="nft 0.9.3 and later print it: nft -j list ruleset",
        ) from None


class _Listing:
    """The objects of one listing, sorted by table; sets are looked up while rules are read."""

    def __init__(self, objects: list[Json]) -> None:
        self._tables: dict[tuple[str, str], dict[str, tuple[Json, list[Json]]]] = {}
        self._sets: dict[tuple[str, str, str], list[Any]] = {}
        for entry in objects:
            for kind, body in entry.items():
                self._add(kind, body)

    def _add(self, kind: str, body: Json) -> None:
        if kind == "metainfo" or body.get("family") not in _FAMILIES:
            return
        table = (body["family"], body["name"] if kind == "table" else body["table"])
        chains = self._tables.setdefault(table, {})
        if kind == "chain":
            chains.setdefault(body["name"], (body, []))
        elif kind == "rule":
            chains.setdefault(body["chain"], ({"name": body["chain"]}, []))[1].append(body)
        elif kind in ("set", "map"):
            self._sets[*table, body["name"]] = body.get("elem", [])

    def ruleset(self) -> model.Ruleset:
        return model.Ruleset(
            tuple(
                model.Table(
                    Family(family),
                    name,
                    tuple(
                        model.Chain(
                            chain,
                            tuple(self._rule(body, family, name) for body in rules),
                            _base(head),
                        )
                        for chain, (head, rules) in chains.items()
                    ),
                )
                for (family, name), chains in self._tables.items()
            )
        )

    def _rule(self, body: Json, family: str, table: str) -> model.Rule:
        matches: list[model.Match] = []
        action: model.Action = model.Continue()
        for statement in body.get("expr", []):
            [(kind, value)] = statement.items()
            if kind in _WITHOUT_MEANING:
                continue
            if kind == "match":
                try:
                    matches += self._match(value, family, table)
                except (_UnknownError, ValueError):
                    matches.append(model.Unreadable(_plain(statement)))
            else:
                action = _action(kind, value, statement)
        return model.Rule(tuple(matches), action, body.get("comment", "").replace("\\\\", "\\"))

    def _match(self, body: Json, family: str, table: str) -> Iterator[model.Match]:
        operator, left, right = body["op"], body["left"], body["right"]
        if operator not in ("==", "!=", "in"):
            raise _UnknownError
        negated = operator == "!="
        if isinstance(right, str) and right.startswith("@"):
            members = self._sets.get((family, table, right[1:]))
            if members is None:
                raise _UnknownError
        else:
            members = right["set"] if isinstance(right, dict) and "set" in right else [right]
        members = [m["elem"]["val"] if isinstance(m, dict) and "elem" in m else m for m in members]
        yield from _known(left, members, negated=negated)


def _known(left: Json, members: list[Any], *, negated: bool) -> Iterator[model.Match]:
    match left:
        case {"meta": {"key": key}}:
            yield _meta(key, members, negated=negated)
        case {"&": [{"meta": {"key": "mark"}}, int(mask)]}:
            marks = tuple(Mark(_number(member), mask) for member in members)
            yield model.PacketMark(Marks(marks), negated=negated)
        case {"payload": {"protocol": "ip" | "ip6", "field": "saddr" | "daddr" as field}}:
            kind = model.Source if field == "saddr" else model.Destination
            networks = Networks.of(n for member in members for n in _networks(member))
            yield kind(networks, negated=negated)
        case {"payload": {"protocol": protocol, "field": "sport" | "dport" as field}}:
            if protocol != "th":
                yield model.Protocol(protocol)
            port_kind = model.SourcePort if field == "sport" else model.DestinationPort
            yield port_kind(Ports.of(*map(_range, members)), negated=negated)
        case {"ct": {"key": "state"}}:
            states = [
                s for member in members for s in (member if isinstance(member, list) else [member])
            ]
            yield model.ConnectionState(
                tuple(sorted(str(state).upper() for state in states)), negated=negated
            )
        case _:
            raise _UnknownError


def _meta(key: str, members: list[Any], *, negated: bool) -> model.Match:
    match key:
        case "iifname" | "oifname":
            names = [f"{m[:-1]}+" if m.endswith("*") else m for m in map(_text, members)]
            kind = model.InInterface if key == "iifname" else model.OutInterface
            return kind(Interfaces(tuple(sorted(names))), negated=negated)
        case "skuid":
            return model.Uid(Ids.of(*map(_range, members)), negated=negated)
        case "skgid":
            return model.Gid(Ids.of(*map(_range, members)), negated=negated)
        case "mark":
            return model.PacketMark(
                Marks(tuple(Mark(_number(m)) for m in members)), negated=negated
            )
        case "nfproto" if members in (["ipv4"], ["ipv6"]):
            return model.FamilyIs(
                Family.IP if members == ["ipv4"] else Family.IP6, negated=negated
            )
        case "l4proto" if len(members) == 1:
            return model.Protocol(str(members[0]), negated=negated)
        case _:
            raise _UnknownError


def _text(member: object) -> str:
    if not isinstance(member, str):
        raise _UnknownError
    return member


def _number(member: object) -> int:
    if not isinstance(member, int):
        raise _UnknownError
    return member


def _range(member: Any) -> tuple[int, int]:
    match member:
        case int():
            return member, member
        case {"range": [int(low), int(high)]}:
            return low, high
        case _:
            raise _UnknownError


def _networks(member: Any) -> Iterator[Network]:
    match member:
        case str() if not member.startswith("@"):
            yield ip_network(member)
        case {"prefix": {"addr": str(address), "len": int(length)}}:
            yield ip_network(f"{address}/{length}", strict=False)
        case {"range": [str(first), str(last)]}:
            yield from summarize_address_range(ip_address(first), ip_address(last))
        case _:
            raise _UnknownError


def _action(kind: str, value: Any, statement: Json) -> model.Action:
    match kind, value:
        case (("accept" | "drop" | "return"), _):
            return _VERDICTS[kind]
        case "continue", _:
            return model.Continue()
        case "jump", {"target": str(target)}:
            return model.Jump(target)
        case "goto", {"target": str(target)}:
            return model.Goto(target)
        case "redirect", {"port": int(port), **more} if not more:
            return model.Redirect(port)
        case _:
            return model.UnreadableAction(_plain(statement))


def _plain(statement: Json) -> str:
    return msgspec.json.encode(statement).decode()


def _base(head: Json) -> model.Base | None:
    if "hook" not in head or head["hook"] not in frozenset(Hook):
        return None
    return model.Base(
        ChainType(head["type"]),
        Hook(head["hook"]),
        head["prio"],
        "drop" if head.get("policy") == "drop" else "accept",
    )
