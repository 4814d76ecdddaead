"""Statements of nft's text into the JSON that nft writes for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interceptor.parse.nft_expression import (
    JOINING,
    computed,
    counts,
    elements,
    field,
    scalar,
    seconds,
    several,
    value,
    verdict,
)
from interceptor.parse.nft_tokens import END, Cursor, TextError, unquoted

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]

_OPERATORS = frozenset({"==", "!=", "<", ">", "<=", ">=", "!"})
_BITS = frozenset({"state", "status", "label", "event"})
_NAT_FLAGS = frozenset({"random", "fully-random", "persistent"})
_UNITS = frozenset({"bytes", "kbytes", "mbytes"})
_DEFAULT_BURST = 5
_REJECTED = {"ip": "icmp", "ip6": "icmpv6", "inet": "icmpx"}


def statements(words: list[str], family: str) -> list[Json]:
    """Read a rule; from what nobody here understands on, it is kept as text."""
    cursor = Cursor(words)
    found: list[Json] = []
    while cursor.word != END:
        start = cursor.at
        try:
            found.append(_statement(cursor, family))
        except (TextError, ValueError):
            cursor.at = start
            found.append({"text": " ".join(cursor.rest)})
            break
    return found


def _statement(cursor: Cursor, family: str) -> Json:
    word = cursor.word
    if said := verdict(cursor):
        return said
    if word in _READERS:
        cursor.take()
        return _READERS[word](cursor)
    match word, cursor.following:
        case "reject", _:
            return _reject(cursor, family)
        case "ct", "count":
            cursor.at += 2
            found = {"inv": True} if cursor.took("over") else {}
            return {"ct count": {"val": cursor.number(), **found}}
        case "ct", "helper" | "timeout" | "expectation" as what:
            start = cursor.at
            cursor.at += 2
            if cursor.took("set"):
                return {f"ct {what}": cursor.name()}
            cursor.at = start
        case "add" | "update" | "delete", at if at[:1] == "@":
            return _changing(cursor)
    return _match(cursor)


def _match(cursor: Cursor) -> Json:
    left = field(cursor)
    if cursor.took("set"):
        return {"mangle": {"key": left, "value": computed(cursor)}}
    if cursor.took("vmap"):
        return {"vmap": {"key": left, "data": elements(cursor)}}
    if cursor.word in ("exists", "missing"):
        return _compared("==", left, cursor.take() == "exists")
    if JOINING.get(cursor.word) == "&":
        cursor.take()
        left = {"&": [left, _mask(cursor)]}
    operator = cursor.take() if cursor.word in _OPERATORS else ""
    if cursor.word[:1] in ("@", "{") and cursor.word.count(",") == 0:
        return _compared(operator or "==", left, elements(cursor))
    right = several(cursor)
    match left:
        case {"ct": {"key": "expiration"}} if isinstance(right, str):
            right = seconds(right)
        case (
            {"meta": {"key": "rtclassid"}}
            | {"rt": {"key": "classid"}}
            | {"fib": {"result": "oif"}}
        ):
            right = str(right)
        case {"payload": {"protocol": "tcp", "field": "flags"}} if cursor.took("/"):
            return _compared(operator or "==", {"&": [left, several(cursor)]}, right)
        case {"payload": {"protocol": "tcp", "field": "flags"}}:
            operator = operator or "in"
        case {"ct": {"key": str(key)}} if key in _BITS:
            operator = operator or "in"
    return _compared(operator or "==", left, right)


def _compared(operator: str, left: Any, right: Any) -> Json:
    return {"match": {"op": operator, "left": left, "right": right}}


def _mask(cursor: Cursor) -> Any:
    if cursor.took("("):
        found = several(cursor)
        cursor.need(")")
        return found
    return several(cursor)


def _counter(cursor: Cursor) -> Json:
    if cursor.took("name"):
        if cursor.word[:1] != '"' and cursor.following in ("map", "saddr", "daddr", "dport"):
            raise TextError
        return {"counter": cursor.name()}
    return {"counter": counts(cursor)}


def _last(cursor: Cursor) -> Json:
    if cursor.took("used"):
        cursor.take()
    return {"last": None}


def _log(cursor: Cursor) -> Json:
    found: Json = {}
    while cursor.word in ("prefix", "group", "snaplen", "queue-threshold", "level", "flags"):
        what = cursor.take()
        match what:
            case "prefix" | "level":
                found[what] = cursor.name()
            case "flags":
                read = _log_flags(cursor)
                found[what] = found[what] + read if what in found else read
            case _:
                found[what] = cursor.number()
    flags = found.get("flags")
    if isinstance(flags, list) and len(flags) == 1:
        found["flags"] = flags[0]
    return {"log": found or None}


def _log_flags(cursor: Cursor) -> list[str]:
    """Read ``tcp sequence,options`` and the like, as JSON has them one by one."""
    if cursor.word in ("tcp", "ip"):
        cursor.take()
    flags = [cursor.name()]
    while cursor.took(","):
        flags.append(cursor.name())
    return flags


def _limit(cursor: Cursor) -> Json:
    if cursor.took("name"):
        return {"limit": cursor.name()}
    cursor.need("rate")
    inverted = cursor.took("over")
    first = cursor.take()
    unit = ""
    if "/" in first:
        rate, per = first.split("/")
    else:
        rate = first
        unit, per = cursor.take().split("/")
    found: Json = {"rate": int(rate), "burst": 0 if unit else _DEFAULT_BURST, "per": per}
    if cursor.took("burst"):
        found["burst"] = cursor.number()
        burst_unit = cursor.take()
        if unit:
            found["burst_unit"] = burst_unit
    elif unit:
        found["burst_unit"] = "bytes"
    if unit:
        found["rate_unit"] = unit
    return {"limit": {**found, "inv": True} if inverted else found}


def _quota(cursor: Cursor) -> Json:
    if cursor.took("name"):
        return {"quota": cursor.name()}
    inverted = cursor.took("over") or not cursor.took("until")
    found: Json = {"val": cursor.number(), "val_unit": _unit(cursor)}
    if cursor.took("used"):
        found["used"] = cursor.number()
        found["used_unit"] = _unit(cursor)
    return {"quota": {**found, "inv": True} if inverted else found}


def _unit(cursor: Cursor) -> str:
    unit = cursor.take()
    if unit not in _UNITS:
        raise TextError
    return unit


def _reject(cursor: Cursor, family: str) -> Json:
    cursor.need("reject")
    if not cursor.took("with"):
        return {"reject": {"type": _REJECTED.get(family, "icmp"), "expr": "port-unreachable"}}
    if cursor.took("tcp"):
        cursor.need("reset")
        return {"reject": {"type": "tcp reset"}}
    kind = cursor.take()
    cursor.took("type")
    return {"reject": {"type": kind, "expr": value(cursor)}}


def _changing(cursor: Cursor) -> Json:
    """Read ``update @seen { ip saddr timeout 10s limit rate 5/second }``."""
    operator, name = cursor.take(), cursor.take()
    cursor.need("{")
    key = field(cursor)
    more: Json = {}
    done: list[Json] = []
    while not cursor.took("}"):
        match cursor.take():
            case "timeout":
                more["timeout"] = seconds(cursor.take())
            case "comment":
                more["comment"] = cursor.name()
            case "limit" | "counter" | "quota" as what:
                done.append(_READERS[what](cursor))
            case _:
                raise TextError
    found: Json = {
        "op": operator,
        "elem": {"elem": {"val": key, **more}} if more else key,
        "set": name,
    }
    return {"set": {**found, "stmt": done} if done else found}


def _meter(cursor: Cursor) -> Json:
    name = cursor.name()
    size = {"size": cursor.number()} if cursor.took("size") else {}
    cursor.need("{")
    key = field(cursor)
    what = cursor.take()
    if what not in ("limit", "counter", "quota"):
        raise TextError
    done = _READERS[what](cursor)
    cursor.need("}")
    return {"meter": {"key": key, "stmt": done, **size, "name": name}}


def _translation(kind: str) -> Callable[[Cursor], Json]:
    """Give the reader of a statement that may say ``to`` and flags."""

    def read(cursor: Cursor) -> Json:
        found: Json = {}
        if cursor.word in ("ip", "ip6"):
            found["family"] = cursor.take()
        is_prefix = cursor.took("prefix")
        if is_prefix:
            found |= {"flags": "netmap", "type_flags": "prefix"}
        if cursor.took("to"):
            found |= _place(cursor)
        flags = []
        while cursor.word in _NAT_FLAGS:
            flags.append(cursor.take())
            cursor.took(",")
        if flags:
            found["flags"] = flags if len(flags) > 1 else flags[0]
        return {kind: found or None}

    return read


def _place(cursor: Cursor) -> Json:
    """Read an address, a port, or both; each may be a range or be looked up."""
    word = cursor.word
    if word[:1] == ":":
        cursor.take()
        if word[1:] and not word[1].isdigit():
            looked_up = computed(Cursor([word[1:], *_until_flags(cursor)]))
            return {"port": looked_up}
        return {"port": scalar(word[1:])}
    if word[:1].isalpha() and ":" not in word:
        return {"addr": computed(cursor)}
    cursor.take()
    if word[:1] == "[":
        address, _, port = word[1:].rpartition("]:") if "]:" in word else (word[1:-1], "", "")
        address = address.replace("]-[", "-")
    elif word.count(":") == 1:
        address, _, port = word.partition(":")
    else:
        address, port = word, ""
    found = {"addr": scalar(unquoted(address))}
    return {**found, "port": scalar(port)} if port else found


def _until_flags(cursor: Cursor) -> list[str]:
    words = []
    while cursor.word != END and cursor.word not in _NAT_FLAGS:
        words.append(cursor.take())
    return words


def _proxy_of_handshakes(cursor: Cursor) -> Json:
    found: Json = {}
    for what in ("mss", "wscale"):
        if cursor.took(what):
            found[what] = cursor.number()
    flags = [word for word in ("timestamp", "sack-perm") if cursor.took(word)]
    return {"synproxy": {**found, "flags": flags} if flags else found or None}


def _foreign(cursor: Cursor) -> Json:
    """Read what iptables has put there and nft has no words for."""
    kind = cursor.take()
    return {"xt": {"type": kind, "name": cursor.name()}}


_READERS: dict[str, Callable[[Cursor], Json]] = {
    "counter": _counter,
    "last": _last,
    "log": _log,
    "limit": _limit,
    "quota": _quota,
    "meter": _meter,
    "notrack": lambda _: {"notrack": None},
    "synproxy": _proxy_of_handshakes,
    "xt": _foreign,
    **{kind: _translation(kind) for kind in ("snat", "dnat", "masquerade", "redirect", "tproxy")},
}
