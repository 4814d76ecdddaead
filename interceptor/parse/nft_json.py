"""The JSON of ``nft -j list`` (libnftables-json(5)) into a ``Ruleset`` of all its tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from interceptor import model
from interceptor.errors import ParseError
from interceptor.names import ChainType, Family, Hook
from interceptor.parse.nft_rule import unfold
from interceptor.parse.nft_sets import Budget, Sets
from interceptor.parse.nft_value import BAD_SHAPES, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

Json = dict[str, Any]

_FAMILIES = frozenset(Family)
_HOOKS = frozenset(Hook)


def parse(text: str | bytes) -> model.Ruleset:
    """Read what nft lists; what nobody here understands is kept as unreadable.

    Tables of families that carry no IP packets by themselves (arp, bridge, netdev) are left out.

    Raises:
        ParseError: the text is not the JSON of nft.
    """
    try:
        objects = msgspec.json.decode(text, type=dict[str, list[dict[str, Any]]])["nftables"]
        return read(objects)
    except (*BAD_SHAPES, msgspec.DecodeError, RecursionError, OverflowError) as error:
        raise ParseError(
            f"nft's JSON is not as expected: {type(error).__name__}: {error}",
            hint="nft 0.9.3 and later print it: nft -j list ruleset",
        ) from None


def read(objects: Sequence[Json]) -> model.Ruleset:
    """Read the objects of a listing; raises one of ``BAD_SHAPES`` if they are none."""
    return _Listing(objects).ruleset()


class _Listing:
    """The objects of one listing, sorted by table; sets are looked up while rules are read."""

    def __init__(self, objects: Sequence[Json]) -> None:
        self._tables: dict[tuple[str, str], dict[str, tuple[Json, list[Json]]]] = {}
        self._sets: dict[tuple[str, str], Sets] = {}
        self._flags: dict[tuple[str, str], tuple[str, ...]] = {}
        self._budget = Budget()
        for entry in objects:
            for kind, body in entry.items():
                self._add(kind, body)

    def _add(self, kind: str, body: Json) -> None:
        if kind == "metainfo" or body.get("family") not in _FAMILIES:
            return
        table = (body["family"], _name(body, "name" if kind == "table" else "table"))
        chains = self._tables.setdefault(table, {})
        sets = self._sets.setdefault(table, Sets(self._budget))
        if kind == "table" and body.get("flags"):
            # nft 1.0.6 writes the table's name here, so only that there are some is sure.
            flags = body["flags"]
            self._flags[table] = tuple(map(str, flags if isinstance(flags, list) else [flags]))
        elif kind == "chain":
            chains.setdefault(_name(body, "name"), (body, []))
        elif kind == "rule":
            name = _name(body, "chain")
            chains.setdefault(name, ({"name": name}, []))[1].append(body)
            sets.note_changes(body.get("expr"))
        elif kind in ("set", "map"):
            sets.add(_name(body, "name"), body.get("elem", []))

    def ruleset(self) -> model.Ruleset:
        return model.Ruleset(
            tuple(
                model.Table(
                    Family(family),
                    name,
                    tuple(
                        model.Chain(
                            chain,
                            tuple(
                                rule
                                for body in rules
                                for rule in self._rules(body, (family, name))
                            ),
                            _base(head),
                        )
                        for chain, (head, rules) in chains.items()
                    ),
                    self._flags.get((family, name), ()),
                )
                for (family, name), chains in self._tables.items()
            )
        )

    def _rules(self, body: Json, table: tuple[str, str]) -> tuple[model.Rule, ...]:
        """Read one rule; one in a shape nobody here understands is unreadable as a whole."""
        statements = body.get("expr", [])
        why = body.get("comment", "").replace("\\\\", "\\")
        try:
            if not isinstance(statements, list):
                raise TypeError
            is_inet = table[0] == Family.INET
            rules = unfold(statements, self._sets[table], why, is_inet=is_inet)
            known = {"counted": _counted(statements), "handle": _handle(body)}
            return tuple(msgspec.structs.replace(rule, **known) for rule in rules)
        except BAD_SHAPES:
            words = plain(statements)
            action = model.UnreadableAction(words)
            unread = (model.Unreadable(words),)
            return (model.Rule(unread, action, why, words, handle=_handle(body)),)


def _handle(body: Json) -> int:
    """Give the kernel's number of a rule; a listing may be without."""
    handle = body.get("handle", 0)
    return handle if isinstance(handle, int) else 0


def _counted(statements: list[Any]) -> tuple[int, int] | None:
    """Give the packets and bytes of a rule's counter."""
    for statement in statements:
        match statement:
            case {"counter": {"packets": int(packets), "bytes": int(size)}}:
                return packets, size
    return None


def _name(body: Json, key: str) -> str:
    name = body[key]
    if not isinstance(name, str):
        raise TypeError(f"{key} is no text")
    return name


def _base(head: Json) -> model.Base | None:
    if "hook" not in head or head["hook"] not in _HOOKS:
        return None
    if not isinstance(head["prio"], int):
        raise TypeError("prio is no number")
    return model.Base(
        ChainType(head["type"]),
        Hook(head["hook"]),
        head["prio"],
        "drop" if head.get("policy") == "drop" else "accept",
    )
