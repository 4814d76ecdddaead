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
_NO_WILDCARD = model.Unreadable("socket wildcard 0")


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
        self._flags: dict[tuple[str, str], tuple[str, ...]] = {}
        for entry in objects:
            for kind, body in entry.items():
                self._add(kind, body)

    def _add(self, kind: str, body: Json) -> None:
        if kind == "metainfo" or body.get("family") not in _FAMILIES:
            return
        table = (body["family"], body["name"] if kind == "table" else body["table"])
        chains = self._tables.setdefault(table, {})
        if kind == "table" and body.get("flags"):
            # nft 1.0.6 writes the table's name here, so only that there are some is sure.
            flags = body["flags"]
            self._flags[table] = tuple(flags) if isinstance(flags, list) else (str(flags),)
        elif kind == "chain":
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
                    self._flags.get((family, name), ()),
                )
                for (family, name), chains in self._tables.items()
            )
        )

    def _rule(self, body: Json, family: str, table: str) -> model.Rule:
        """Read one rule; one in a shape nobody here understands is unreadable as a whole."""
        statements = body.get("expr", [])
        why = body.get("comment", "").replace("\\\\", "\\")
        try:
            matches, effects = self._statements(statements, family, table)
        except (_UnknownError, ValueError, KeyError, TypeError, AttributeError):
            words = _plain(statements)
            unread = (model.Unreadable(words),)
            return model.Rule(unread, model.UnreadableAction(words), why, words)
        if family == Family.INET:
            matches += _family_said(matches)
        if model.TransparentSocket() in matches:
            # As iptables means it: a socket of any address is none.
            if _NO_WILDCARD not in matches:
                matches.append(model.Unreadable("socket transparent without wildcard"))
            matches = [match for match in matches if match != _NO_WILDCARD]
        action = _action(effects)
        unread_match = any(isinstance(match, model.Unreadable) for match in matches)
        if unread_match or isinstance(action, model.UnreadableAction):
            return model.Rule(tuple(matches), action, why, _plain(statements))
        return model.Rule(tuple(matches), action, why)

    def _statements(
        self, statements: list[Any], family: str, table: str
    ) -> tuple[list[model.Match], list[Any]]:
        """Tell matches from what else a rule does; counting means nothing."""
        matches: list[model.Match] = []
        effects: list[Any] = []
        for statement in statements:
            match statement:
                case {"counter": _}:
                    continue
                case {"match": body}:
                    try:
                        matches += self._match(body, family, table)
                    except (_UnknownError, ValueError):
                        matches.append(model.Unreadable(_plain(statement)))
                case _:
                    effects.append(statement)
        return matches, effects

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


def _family_said(matches: list[model.Match]) -> Iterator[model.FamilyIs]:
    """Give the family that nft means and does not print: that of ``ip daddr != 10.0.0.1``."""
    addresses = [m for m in matches if isinstance(m, model.Source | model.Destination)]
    if any(isinstance(match, model.FamilyIs) for match in matches):
        return
    if addresses and all(match.negated for match in addresses):
        yield model.FamilyIs(Family.IP if addresses[0].networks.ip else Family.IP6)


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
        case {"socket": {"key": "transparent"}} if members == [1] and not negated:
            yield model.TransparentSocket()
        case {"socket": {"key": "wildcard"}} if members == [0] and not negated:
            yield _NO_WILDCARD
        case {"&": [{"payload": {"protocol": "tcp", "field": "flags"}}, mask]}:
            yield model.Protocol("tcp")
            yield model.TcpFlags(_flags([mask]), _flags(members), negated=negated)
        case {"ct": {"key": "mark"}}:
            marks = tuple(Mark(_number(member)) for member in members)
            yield model.ConnectionMark(Marks(marks), negated=negated)
        case {"ct": {"key": "state"}}:
            states = [
                s for member in members for s in (member if isinstance(member, list) else [member])
            ]
            yield model.ConnectionState(
                tuple(sorted(str(state).upper() for state in states)), negated=negated
            )
        case _:
            raise _UnknownError


def _flags(named: Any) -> tuple[str, ...]:
    """Read TCP flags, alone, in a list or joined by ``|``."""
    match named:
        case [{"|": inner}] | [[*inner]]:
            return _flags(inner)
        case list() if all(isinstance(flag, str) for flag in named):
            upper = {flag.upper() for flag in named}
            if upper <= set(model.TCP_FLAGS):
                return tuple(flag for flag in model.TCP_FLAGS if flag in upper)
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


def _action(effects: list[Any]) -> model.Action:
    """Read what a rule does. A verdict that something else stands before is not that verdict.

    ``limit rate 1/day redirect to :15001`` redirects once a day; only alone is a verdict one.
    """
    match effects:
        case []:
            return model.Continue()
        case [{"accept": _}]:
            return model.Accept()
        case [{"drop": _}]:
            return model.Drop()
        case [{"return": _}]:
            return model.Return()
        case [{"continue": _}]:
            return model.Continue()
        case [{"jump": {"target": str(target)}}]:
            return model.Jump(target)
        case [{"goto": {"target": str(target)}}]:
            return model.Goto(target)
        case [{"redirect": {"port": int(port), **more}}] if not more:
            return model.Redirect(port)
        case [{"tproxy": {"port": int(port), **more}}, mangle, {"accept": _}] if not (
            more.keys() - {"family"}
        ):
            marked = _mangled(mangle)
            if isinstance(marked, model.SetMark):
                return model.TProxy(port, marked.mark)
        case [mangle]:
            if changed := _mangled(mangle):
                return changed
    return model.UnreadableAction(_plain(effects))


def _mangled(statement: Any) -> model.Action | None:
    """Read what a statement sets on a packet or a connection, if that is known here."""
    match statement:
        case {"mangle": {"key": {"meta": {"key": "mark"}}, "value": int(mark)}}:
            return model.SetMark(mark)
        case {"mangle": {"key": {"ct": {"key": "mark"}}, "value": {"meta": {"key": "mark"}}}}:
            return model.SaveMark()
        case {"mangle": {"key": {"meta": {"key": "mark"}}, "value": {"ct": {"key": "mark"}}}}:
            return model.RestoreMark()
        case {"mangle": {"key": {"ct": {"key": "zone"}}, "value": int(zone)}}:
            return model.SetZone(zone)
    return None


def _plain(part: object) -> str:
    return msgspec.json.encode(part).decode()


def _base(head: Json) -> model.Base | None:
    if "hook" not in head or head["hook"] not in frozenset(Hook):
        return None
    return model.Base(
        ChainType(head["type"]),
        Hook(head["hook"]),
        head["prio"],
        "drop" if head.get("policy") == "drop" else "accept",
    )
