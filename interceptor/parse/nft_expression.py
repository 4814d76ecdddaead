"""Expressions of nft's text into the JSON that nft writes for them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from interceptor.parse.nft_tokens import TextError, unquoted

if TYPE_CHECKING:
    from interceptor.parse.nft_tokens import Cursor

_HEADERS = frozenset(
    {
        *("ah", "arp", "comp", "dccp", "esp", "ether", "gre", "icmp", "icmpv6", "igmp", "ip"),
        *("ip6", "sctp", "tcp", "th", "udp", "udplite", "vlan"),
    }
)
_META = frozenset(
    {
        *("cgroup", "cpu", "day", "hour", "ibrname", "iif", "iifgroup", "iifname", "iiftype"),
        *("ipsec", "l4proto", "length", "mark", "nfproto", "nftrace", "obrname", "oif"),
        *("oifgroup", "oifname", "oiftype", "pkttype", "priority", "protocol", "random"),
        *("rtclassid", "sdif", "sdifname", "secpath", "skgid", "skuid", "time"),
    }
)
_BARE_META = _META - {"protocol", "length", "random", "day", "hour", "time", "ipsec"}
_CT_DIRECTIONS = ("original", "reply")
_EXTENSIONS = frozenset({"frag", "hbh", "rt0", "rt2", "rt4", "dst", "mh", "srh"})
_FIB_FLAGS = ("saddr", "daddr", "mark", "iif", "oif")
JOINING = {"&": "&", "and": "&", "|": "|", "or": "|", "^": "^", "xor": "^", "<<": "<<", ">>": ">>"}
"""Operators, also as people write them."""


_NUMBER = re.compile(r"\d{1,20}|0x[0-9a-fA-F]{1,16}", re.ASCII)
_HEX_OR_DOTS = r"[0-9.]+|[0-9a-fA-F]*:[0-9a-fA-F:.]*|0x[0-9a-fA-F]{1,16}"
_RANGE = re.compile(rf"({_HEX_OR_DOTS})-({_HEX_OR_DOTS})", re.ASCII)
_PREFIX = re.compile(r"([0-9.]+|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*)/(\d{1,3})", re.ASCII)
_DURATION = re.compile(r"(?:\d{1,9}(?:ms|w|d|h|m|s))+", re.ASCII)
_PART = re.compile(r"(\d+)(ms|w|d|h|m|s)", re.ASCII)
_SECONDS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 0}
_DEEPEST = 32


def seconds(word: str) -> int:
    """Read ``1h30m`` or ``3600s``."""
    if not _DURATION.fullmatch(word):
        raise TextError
    return sum(int(count) * _SECONDS[unit] for count, unit in _PART.findall(word))


def scalar(word: str) -> Any:
    """Read a value that is one word."""
    if word[0] == '"':
        return unquoted(word)
    if _NUMBER.fullmatch(word):
        return int(word, 16 if word[:2] == "0x" else 10)
    if "/" in word and (found := _PREFIX.fullmatch(word)):
        return {"prefix": {"addr": found[1], "len": int(found[2])}}
    if "-" in word and (found := _RANGE.fullmatch(word)):
        return {"range": [scalar(found[1]), scalar(found[2])]}
    return word


def value(cursor: Cursor) -> Any:
    """Read a value: a word, a range of quoted ones, or several joined by dots."""
    first = _value(cursor)
    if cursor.word != ".":
        return first
    values = [first]
    while cursor.took("."):
        values.append(_value(cursor))
    return {"concat": values}


def _value(cursor: Cursor) -> Any:
    word = cursor.take()
    if word in "{}(),;:|=":
        raise TextError
    if cursor.word == "-" and word[0] == '"':
        cursor.take()
        return {"range": [unquoted(word), cursor.name()]}
    return scalar(word)


def several(cursor: Cursor) -> Any:
    """Read a value, or flags joined by commas or ``|``."""
    first = value(cursor)
    for separator in (",", "|"):
        if cursor.word == separator:
            found = [first]
            while cursor.took(separator):
                found.append(value(cursor))
            return {"|": found} if separator == "|" else found
    return first


def members(cursor: Cursor) -> list[Any]:
    """Read ``{ ... }`` with what is in it, for a map in pairs."""
    cursor.need("{")
    found: list[Any] = []
    while not cursor.took("}"):
        found.append(_member(cursor))
        if not cursor.took(",") and cursor.word != "}":
            raise TextError
    return found


def _member(cursor: Cursor) -> Any:
    key = several(cursor) if cursor.following == "|" else value(cursor)
    more: dict[str, Any] = {}
    while cursor.word not in (":", ",", "}"):
        match cursor.take():
            case "timeout" | "expires" as what:
                more[what] = seconds(cursor.take())
            case "comment":
                more["comment"] = cursor.name()
            case "counter":
                more["counter"] = counts(cursor)
            case other:
                # It may be one for some packets only, which nobody here can tell.
                more["text"] = f"{more.get('text', '')} {other}"
    found = {"elem": {"val": key, **more}} if more else key
    return [found, data(cursor)] if cursor.took(":") else found


def counts(cursor: Cursor) -> dict[str, int] | None:
    """Read what a counter counted."""
    if not cursor.took("packets"):
        return None
    packets = cursor.number()
    cursor.need("bytes")
    return {"packets": packets, "bytes": cursor.number()}


def verdict(cursor: Cursor) -> dict[str, Any] | None:
    """Read a verdict, if it is one."""
    match cursor.word:
        case "accept" | "drop" | "return" | "continue" as name:
            cursor.take()
            return {name: None}
        case "jump" | "goto" as name:
            cursor.take()
            return {name: {"target": cursor.name()}}
    return None


def data(cursor: Cursor) -> Any:
    """Read what a map has for a key."""
    return verdict(cursor) or value(cursor)


def elements(cursor: Cursor) -> Any:
    """Read where something is looked up: ``@name`` or ``{ ... }``."""
    if cursor.word[:1] == "@":
        return cursor.take()
    return {"set": members(cursor)}


def field(cursor: Cursor, depth: int = 0) -> Any:
    """Read what a match looks at, or several joined by dots, with a mask if it has one."""
    first = _field(cursor, depth)
    if cursor.word == ".":
        fields = [first]
        while cursor.took("."):
            fields.append(_field(cursor, depth))
        return {"concat": fields}
    return first


def _field(cursor: Cursor, depth: int) -> Any:
    if depth > _DEEPEST:
        raise TextError
    word = cursor.take()
    if word in ("ip", "tcp") and cursor.word == "option":
        return _option(cursor, word)
    if word in _HEADERS:
        return {"payload": {"protocol": word, "field": _word(cursor)}}
    if word in _BARE_META:
        return {"meta": {"key": word}}
    match word:
        case "meta":
            return {"meta": {"key": _word(cursor)}}
        case "ct":
            return _connection(cursor)
        case "fib":
            return _route(cursor)
        case "socket":
            return {"socket": {"key": _word(cursor)}}
        case "rt":
            family = cursor.take() if cursor.word in ("ip", "ip6") else ""
            found = {"key": _word(cursor)}
            return {"rt": {**found, "family": family} if family else found}
        case "numgen":
            mode = _word(cursor)
            return {"numgen": {"mode": mode, **_modulus(cursor), "offset": _offset(cursor)}}
        case "jhash":
            inner = field(cursor, depth + 1)
            return {"jhash": {**_modulus(cursor), "expr": inner, **_seed(cursor)}}
        case "symhash":
            return {"symhash": _modulus(cursor)}
        case "exthdr":
            return {"exthdr": {"name": _word(cursor)}}
        case _ if word in _EXTENSIONS:
            return {"exthdr": {"name": word, "field": _word(cursor)}}
        case _ if word[0] == "@" and word.count(",") == 2:  # noqa: PLR2004 - base, offset, length
            base, offset, length = word[1:].split(",")
            return {"payload": {"base": base, "offset": int(offset), "len": int(length)}}
    raise TextError


def _word(cursor: Cursor) -> str:
    """Take the name of a field."""
    word = cursor.take()
    if not word[0].isalpha():
        raise TextError
    return word


def _option(cursor: Cursor, header: str) -> Any:
    cursor.need("option")
    name = _word(cursor)
    if not cursor.word[:1].isalpha() or cursor.word in ("exists", "missing"):
        return {f"{header} option": {"name": name}}
    return {f"{header} option": {"name": name, "field": _word(cursor)}}


def _connection(cursor: Cursor) -> Any:
    direction = cursor.take() if cursor.word in _CT_DIRECTIONS else ""
    key = _word(cursor)
    if key in ("ip", "ip6"):
        key = f"{key} {_word(cursor)}"
    return {"ct": {"key": key, "dir": direction} if direction else {"key": key}}


def _route(cursor: Cursor) -> Any:
    flags = {_word(cursor)}
    while cursor.took("."):
        flags.add(_word(cursor))
    if not flags <= set(_FIB_FLAGS):
        raise TextError
    ordered = [flag for flag in _FIB_FLAGS if flag in flags]
    return {"fib": {"result": _word(cursor), "flags": ordered}}


def _modulus(cursor: Cursor) -> dict[str, int]:
    cursor.need("mod")
    return {"mod": cursor.number()}


def _offset(cursor: Cursor) -> int:
    return cursor.number() if cursor.took("offset") else 0


def _seed(cursor: Cursor) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if cursor.took("seed"):
        found["seed"] = scalar(cursor.take())
    if cursor.took("offset"):
        found["offset"] = cursor.number()
    return found


def computed(cursor: Cursor) -> Any:
    """Read a value that may be made of what a packet has: fields, numbers, masks, a map."""
    start = cursor.at
    try:
        found = field(cursor)
    except TextError:
        cursor.at = start
        found = several(cursor)
    if cursor.took("map"):
        return {"map": {"key": found, "data": elements(cursor)}}
    while cursor.word in JOINING:
        operator = JOINING[cursor.take()]
        found = {operator: [found, _operand(cursor)]}
    return found


def _operand(cursor: Cursor) -> Any:
    """Read the right side of an operator."""
    if cursor.word in ("meta", "ct"):
        return field(cursor)
    if cursor.took("("):
        found = several(cursor)
        cursor.need(")")
        return found
    return _value(cursor)
