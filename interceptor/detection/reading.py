"""What settings live rules speak of: the holes of the rows that explain them, filled."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from interceptor.config import DnsCapture
from interceptor.detection.terms import (
    OPTION,
    RESOLVERS,
    choices,
    default_text,
    is_set,
    members,
    parameters,
)
from interceptor.model import MarkRule
from interceptor.names import Family
from interceptor.values import EVERYTHING, Networks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from interceptor.detection.pairing import Placed
    from interceptor.detection.pattern import Bound
    from interceptor.detection.terms import Loop, Terms
    from interceptor.model import Routing
    from interceptor.sheets.sheet import Row, Sheet

_CONDITION = re.compile(r" and ")


class Reading(msgspec.Struct, frozen=True):
    """What rules tell.

    Args:
        values: texts of parameters.
        seen: all values that were seen of each.
        agreed: of lists that rows do not speak of alike, the members that all of them have.
        resolvers: where captured DNS queries go.
    """

    values: Mapping[str, str]
    seen: Mapping[str, tuple[str, ...]]
    agreed: Mapping[str, frozenset[str]]
    resolvers: Networks


class Reader:
    """Collects what rules say about the parameters of a sheet.

    Args:
        sheet: whose rows were laid upon them.
        terms: its names.
    """

    def __init__(self, sheet: Sheet, terms: Terms) -> None:
        self._sheet = sheet
        self._terms = terms
        self._votes: dict[str, Counter[str]] = {}
        self._lists: dict[str, list[list[str]]] = {}
        self._whole: set[str] = set()

    def read(self, placed: Iterable[Placed], routing: Iterable[Routing]) -> Reading:
        """Read all rules that have a row, and the routes if they are known."""
        for one in placed:
            self._read_chain(one)
        values: dict[str, str] = {}
        for name in parameters(self._sheet):
            if (text := self._text(name)) is not None:
                values[name] = text
        resolvers = self._resolvers(values)
        self._read_routes(routing, values)
        seen = {name: tuple(votes) for name, votes in self._votes.items()}
        agreed = {
            name: frozenset.intersection(*map(frozenset, lists))
            for name, lists in self._lists.items()
            if len({frozenset(texts) for texts in lists}) > 1
        }
        return Reading(values, seen, agreed, resolvers)

    def _read_chain(self, one: Placed) -> None:
        lists: dict[tuple[str, int], list[str]] = {}
        backwards: set[tuple[str, int]] = set()
        records: dict[tuple[str, int], dict[str, str]] = {}
        for pair in one.laid.pairs:
            row = pair.pattern.row
            self._vote_condition(row)
            loops = self._terms.loops(row.each)
            fields: dict[str, dict[str, str]] = {}
            for bound in pair.fit.bound:
                loop = loops.get(bound.name)
                if loop is not None and loop.field:
                    texts = members(bound.value)
                    fields.setdefault(loop.collection, {})[loop.field] = texts[0] if texts else ""
                    continue
                name = self._add(bound, loop, id(row), lists)
                if loop is not None and loop.is_reversed:
                    backwards.add((name, id(row)))
            for collection, held in fields.items():
                records[collection, pair.number] = held
        for key, found in lists.items():
            kept = found[::-1] if key in backwards else found
            self._lists.setdefault(key[0], []).append(list(dict.fromkeys(kept)))
        self._add_records(records)

    def _add(
        self, bound: Bound, loop: Loop | None, row: int, lists: dict[tuple[str, int], list[str]]
    ) -> str:
        """Take what one hole holds to the setting or option it speaks of, and give its name."""
        name, value = self._terms.spoken_of(loop.collection if loop else bound.name, bound.value)
        texts = members(value)
        if not name or bound.part:
            return name
        lists.setdefault((name, row), []).extend(texts)
        self._votes.setdefault(name, Counter()).update(texts)
        return name

    def _add_records(self, records: Mapping[tuple[str, int], Mapping[str, str]]) -> None:
        """Make records of the fields that each rule names; a field no rule names is left open."""
        rows: dict[str, list[str]] = {}
        for (collection, _), held in records.items():
            fields = self._sheet.options[collection].fields
            if held.keys() == fields.keys():
                rows.setdefault(collection, []).append(":".join(held[name] for name in fields))
        for collection, texts in rows.items():
            name = f"{OPTION}{collection}"
            self._lists.setdefault(name, []).append(list(dict.fromkeys(texts)))

    def _vote_condition(self, row: Row) -> None:
        """Take a row that made a rule as saying that its condition holds."""
        if not row.when or " or " in row.when:
            return
        for term in _CONDITION.split(row.when):
            name, word = _said(term.split())
            if name == RESOLVERS and word == EVERYTHING:
                name, word = "capture_dns", str(DnsCapture.ALL)
            if name in self._sheet.options:
                name = f"{OPTION}{name}"
            elif name not in parameters(self._sheet):
                continue
            if word == EVERYTHING and is_set(self._sheet, name):
                self._whole.add(name)
            elif word in choices(self._sheet, name):
                self._votes.setdefault(name, Counter())[word] += 1

    def _text(self, name: str) -> str | None:
        """Give the text of one parameter, ``None`` if no rule speaks of it."""
        if name in self._lists and is_set(self._sheet, name):
            return _joined(self._lists[name])
        if name in self._whole:
            return EVERYTHING
        if name == "loopback_cidr":
            found = [text for text in self._votes.get(name, ()) if ":" not in text]
            return found[0] if found else None
        votes = self._votes.get(name)
        return votes.most_common(1)[0][0] if votes else None

    def _resolvers(self, values: dict[str, str]) -> Networks:
        """Say which queries are captured, and give the servers, if they are some."""
        found = self._lists.get(RESOLVERS)
        if not found:
            return Networks()
        text = _joined(found)
        if text == EVERYTHING or _HALVES.keys() >= set(text.split(",")):
            values["capture_dns"] = str(DnsCapture.ALL)
            return Networks()
        values["capture_dns"] = str(DnsCapture.RESOLV_CONF)
        return Networks.parse(text)

    def _read_routes(self, routing: Iterable[Routing], values: dict[str, str]) -> None:
        """Find the routing table of the sheet's mark."""
        mark = values.get("tproxy_mark", default_text(self._sheet, "tproxy_mark"))
        for route in routing:
            if isinstance(route, MarkRule) and str(route.mark) == str(int(mark, 0)):
                values["tproxy_route_table"] = str(route.table)


def _said(words: list[str]) -> tuple[str, str]:
    match words:
        case [name, "is", word]:
            return name, word
        case [name, "is", "not", "*"]:
            return name, ""
        case ["not", name]:
            return name, "false"
        case [name]:
            return name, "true"
    return "", ""


_HALVES = {"0.0.0.0/0": Family.IP, "::/0": Family.IP6}


def _joined(lists: list[list[str]]) -> str:
    """Join what several rows say of one list; the longest gives the order."""
    longest: list[str] = max(lists, key=len)
    texts = dict.fromkeys(longest)
    for others in lists:
        texts.update(dict.fromkeys(others))
    if EVERYTHING in texts or _HALVES.keys() <= texts.keys():
        return EVERYTHING
    return ",".join(texts)


def unspoken(sheet: Sheet, reading: Reading, speaking: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Give the value of parameters that no rule speaks of: none, for what would show in one."""
    shown = frozenset(speaking)
    for name in parameters(sheet):
        if name not in reading.values:
            hidden = default_text(sheet, name)
            is_shown = name.removeprefix(OPTION) in shown and is_set(sheet, name)
            yield name, "" if is_shown and hidden else hidden
