"""What one statement of nft's JSON does to a packet."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from interceptor import model
from interceptor.names import Family
from interceptor.parse.nft_value import statement_words
from interceptor.values import FULL_MASK, Ports

if TYPE_CHECKING:
    from collections.abc import Callable

    from interceptor.model import Action, Match

_HOLDING = frozenset({"limit", "quota", "ct count", "set", "map", "meter"})
"""They match as well: if one does not, the rule ends."""

_NOTING = frozenset({"log", "last", "dup", "flow", "ct helper", "ct timeout", "ct expectation"})
"""Whatever they do, the packet goes on as it was; if they look nothing up."""

_NOTED_META = frozenset({"nftrace", "priority"})
_NOTED_CT = frozenset({"event", "label"})
_NOTED_FIELDS = frozenset({"dscp", "ecn", "flowlabel"})

_TERMINAL: dict[str, Action] = {
    "accept": model.Accept(),
    "drop": model.Drop(),
    "return": model.Return(),
}


def is_holding(statement: Any) -> bool:
    """Whether a statement ends its rule for some packets and does nothing else to others."""
    match statement:
        case {"counter": {"map": _}}:
            return True
        case dict() if len(statement) == 1:
            return next(iter(statement)) in _HOLDING
    return False


def is_note(statement: Any) -> bool:
    """Whether a statement changes nothing of where a packet goes."""
    match statement:
        case {"mangle": {"key": key, "value": value}} if not _looks_up(value):
            return _is_noted(key)
        case {"continue": _}:
            return True
        case dict() if len(statement) == 1:
            [(kind, body)] = statement.items()
            return kind in _NOTING and not _looks_up(body)
    return False


def _is_noted(key: Any) -> bool:
    """Whether what is changed is nothing that rules here look at."""
    match key:
        case {"meta": {"key": str(name)}}:
            return name in _NOTED_META
        case {"ct": {"key": str(name)}}:
            return name in _NOTED_CT
        case {"payload": {"protocol": "ip" | "ip6", "field": str(name), **more}} if not more:
            return name in _NOTED_FIELDS
        case {"tcp option": {"name": "maxseg", "field": "size"}}:
            return True
    return False


def _looks_up(part: Any) -> bool:
    """Whether a map is asked, which may not have it; then the rule ends."""
    match part:
        case dict():
            return "map" in part or any(map(_looks_up, part.values()))
        case list():
            return any(map(_looks_up, part))
    return False


def effect(statement: Any) -> Action | None:
    """Read what a statement does to a packet, if that is known here."""
    match statement:
        case {"accept": _} | {"drop": _} | {"return": _} if len(statement) == 1:
            return _TERMINAL[next(iter(statement))]
        case {"jump": {"target": str(target)}}:
            return model.Jump(target)
        case {"goto": {"target": str(target)}}:
            return model.Goto(target)
        case {"redirect": {"port": int(port), **more}} if not more:
            return model.Redirect(port)
        case {"notrack": _}:
            return model.NoTrack(statement_words(statement))
        case {"reject": body} if not _looks_up(body):
            return model.Reject(statement_words(statement))
        case {"snat": {"addr": str(address), **more}} if more.keys() <= {"family"}:
            return _snat(address, statement_words(statement))
        case {"snat": body} | {"masquerade": body} if not _looks_up(body):
            return model.TranslateSource(statement_words(statement))
        case {"dnat": {**to}}:
            return _dnat(to)
        case {"mangle": {"key": key, "value": value}}:
            return _mangled(key, value, statement_words(statement))
    return None


def family(statement: Any) -> frozenset[Family]:
    """Give the family whose packets alone a statement does something to."""
    match statement:
        case (
            {"dnat": {"family": "ip" | "ip6" as name}}
            | {"snat": {"family": "ip" | "ip6" as name}}
            | {"tproxy": {"family": "ip" | "ip6" as name}}
        ):
            return frozenset({Family(name)})
        case {"reject": {"type": "icmp"}}:
            return frozenset({Family.IP})
        case {"reject": {"type": "icmpv6"}}:
            return frozenset({Family.IP6})
    return frozenset()


def changes(action: Action) -> tuple[type[Match], ...]:
    """Give the matches that may hold no more after an action."""
    match action:
        case model.SetMark() | model.SetMarkBits() | model.RestoreMark():
            return (model.PacketMark,)
        case model.SaveMark() | model.SetConnectionMark():
            return (model.ConnectionMark,)
        case model.MixMarks():
            return (model.PacketMark, model.ConnectionMark)
        case model.NoTrack() | model.SetZone():
            return (model.ConnectionState, model.ConnectionMark)
    return ()


def _snat(address: str, words: str) -> Action:
    try:
        return model.SetSource(ip_address(address))
    except ValueError:
        return model.TranslateSource(words)


def _dnat(body: dict[Any, Any]) -> Action | None:
    if not body or body.keys() - {"addr", "port", "family"}:
        return None
    address, port = body.get("addr"), body.get("port")
    if not (isinstance(address, str | None) and (port is None or _is_port(port))):
        return None
    try:
        to = ip_address(address) if address is not None else None
    except ValueError:
        return None
    return model.TranslateDestination(to, port) if to or port is not None else None


def _is_port(port: Any) -> bool:
    return isinstance(port, int) and 0 <= port <= Ports.HIGHEST


def _mangled(key: Any, value: Any, words: str) -> Action | None:
    """Read what a statement sets on a packet or a connection."""
    match key, value:
        case {"meta": {"key": "mark"}}, int(mark):
            return model.SetMark(mark)
        case {"meta": {"key": "mark"}}, {"ct": {"key": "mark", **more}} if not more:
            return model.RestoreMark()
        case {"ct": {"key": "mark", **more}}, {"meta": {"key": "mark"}} if not more:
            return model.SaveMark()
        case {"ct": {"key": "zone", **more}}, int(zone) if not more:
            return model.SetZone(zone)
        case {"meta": {"key": "mark"}}, _:
            return _mark_bits(value, words)
        case {"ct": {"key": "mark", **more}}, _ if not more:
            return _connection_mark_bits(value, words)
    return None


def _mark_bits(value: Any, words: str) -> Action | None:
    """Read a mark made of the mark that was there, as bits to take out and bits to turn."""
    bits = _bits(value, "meta")
    if bits is None:
        return model.MixMarks(words) if _is_of_marks(value) else None
    kept, turned = bits
    if not kept:
        return model.SetMark(turned)
    return model.SetMarkBits(words, turned, FULL_MASK & ~kept)


def _connection_mark_bits(value: Any, words: str) -> Action | None:
    """Read a connection's mark made of the one that was there, or of none."""
    bits = (0, value) if isinstance(value, int) else _bits(value, "ct")
    if bits is None:
        return model.MixMarks(words) if _is_of_marks(value) else None
    kept, turned = bits
    return model.SetConnectionMark(turned, FULL_MASK & ~kept)


_JOIN: dict[str, Callable[[int, int, int], tuple[int, int]]] = {
    "&": lambda kept, turned, bits: (kept & bits, turned & bits),
    "|": lambda kept, turned, bits: (kept & ~bits, turned | bits),
    "^": lambda kept, turned, bits: (kept, turned ^ bits),
}


def _bits(value: Any, of: str) -> tuple[int, int] | None:
    """Give ``kept`` and ``turned`` so that ``mark & kept ^ turned`` is the value."""
    match value:
        case {"meta": {"key": "mark"}} | {"ct": {"key": "mark"}} if of in value:
            return FULL_MASK, 0
        case {"&": [first, *others]} | {"|": [first, *others]} | {"^": [first, *others]}:
            join = _JOIN[next(iter(value))]
            found = _bits(first, of)
            for bits in others:
                if found is None or not isinstance(bits, int):
                    return None
                found = join(*found, bits)
            return found
    return None


def _is_of_marks(value: Any) -> bool:
    """Whether a value is made of marks and numbers alone, so that it is always there."""
    match value:
        case int() | {"meta": {"key": "mark"}} | {"ct": {"key": "mark"}}:
            return True
        case {**parts} if len(parts) == 1:
            [(operator, inner)] = parts.items()
            is_known = operator in ("&", "|", "^", "<<", ">>")
            return is_known and isinstance(inner, list) and all(map(_is_of_marks, inner))
    return False
