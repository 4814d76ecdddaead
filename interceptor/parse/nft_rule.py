"""One rule of nft's JSON, statement by statement, as the rules of the model that it is.

nft does its statements in order, and each may end the rule. A rule of the model has one action, so
a rule that does several things, or is met in several ways, becomes several.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interceptor import model
from interceptor.parse import nft_action, nft_match
from interceptor.parse.nft_value import (
    BAD_SHAPES,
    UnknownError,
    is_tally,
    plain,
    statement_words,
    words,
)
from interceptor.values import Networks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.model import Action, Match, Rule
    from interceptor.names import Family
    from interceptor.parse.nft_match import Way
    from interceptor.parse.nft_sets import Sets

_MOST = 1 << 16
"""Rules that one may become."""

_DEEPEST = 8
"""Maps of verdicts in one rule."""


def unfold(statements: list[Any], sets: Sets, why: str, *, is_inet: bool) -> tuple[Rule, ...]:
    """Read a rule.

    Raises:
        UnknownError: it would become too many, or has too many maps of verdicts.
    """
    unfolding = _Unfolding(sets, why, statements, is_inet=is_inet)
    unfolding.run(statements, _Held([()], frozenset()), 0)
    return tuple(unfolding.rules)


class _Held:
    """What has to hold where a rule has come to.

    Args:
        ways: to get there; no packet goes two of them.
        families: whose headers were looked at.
    """

    def __init__(self, ways: list[Way], families: frozenset[Family]) -> None:
        self.ways = ways
        self.families = families
        self.pending: list[Match] = []
        """What ends the rule for some packets, which counts if something comes after it."""

    def meet(self, ways: list[Way], families: frozenset[Family]) -> _Held:
        """Give what holds where one of more ways has to be met as well."""
        if len(self.ways) * len(ways) > _MOST:
            raise UnknownError
        joined = [
            (*one, *(match for match in other if match not in one))
            for one in self.ways
            for other in ways
        ]
        held = _Held(joined, self.families | families)
        held.pending = [*self.pending]
        return held

    def looks_at(self, kinds: tuple[type[Match], ...]) -> bool:
        """Whether it hangs on one of these."""
        return any(isinstance(match, kinds) for way in self.ways for match in way)


class _Unfolding:
    def __init__(self, sets: Sets, why: str, statements: list[Any], *, is_inet: bool) -> None:
        self.rules: list[Rule] = []
        self._sets = sets
        self._why = why
        self._statements = statements
        self._text = ""
        self._is_inet = is_inet

    def run(self, statements: list[Any], held: _Held, depth: int) -> None:
        """Go through statements, of which none was done yet."""
        idle: list[Any] = []
        mark: int | None = None
        is_over = False
        for at, statement in enumerate(statements):
            if is_tally(statement):
                continue
            rest = statements[at:]
            match statement:
                case {"match": body}:
                    held = held.meet(self._ways(body), _families(body))
                    if not held.ways:
                        self._never(_families(body))
                        return
                    continue
                case {"vmap": body}:
                    self._verdicts(body, rest, held, depth)
                    return
                case {"tproxy": _}:
                    self._hand_over(rest, held, mark)
                    return
            if nft_action.is_note(statement):
                idle.append(statement)
            elif nft_action.is_holding(statement):
                idle.append(statement)
                held.pending.append(model.Unreadable(statement_words(statement)))
            else:
                action = nft_action.effect(statement)
                held.families |= nft_action.family(statement)
                if action is None:
                    self._unread(rest, held)
                    return
                goes_on = isinstance(action, model.PASSING)
                if goes_on and held.looks_at(nft_action.changes(action)) and _does(rest[1:]):
                    # What was true of it before is not true of it now.
                    self._unread(rest, held)
                    return
                self._emit(_beside(held, idle), action)
                idle.clear()
                is_over = True
                if not goes_on:
                    return
                mark = action.mark if isinstance(action, model.SetMark) else mark
        if not is_over:
            held.pending.clear()
            is_note = any(statement != {"continue": None} for statement in idle)
            self._emit(held, model.Note(words(idle)) if is_note else model.Continue())

    def _ways(self, body: Any) -> list[Way]:
        try:
            return nft_match.ways(body, self._sets)
        except BAD_SHAPES:
            return [nft_match.unread(body)]

    def _never(self, families: frozenset[Family]) -> None:
        """Keep a rule that waits for a set to have something in it."""
        nothing = model.Destination(Networks())
        self._emit(_Held([(nothing,)], families), model.Continue())

    def _hand_over(self, rest: list[Any], held: _Held, mark: int | None) -> None:
        """Read a hand-over to a transparent listener, and the mark that comes with it."""
        held.families |= nft_action.family(rest[0])
        does = [one for one in rest if not (is_tally(one) or nft_action.is_note(one))]
        match does:
            case [_, {"accept": _}]:
                given: Action | None = None if mark is None else model.SetMark(mark)
            case [_, marking, {"accept": _}]:
                given = nft_action.effect(marking)
            case _:
                given = None
        match rest[0], given:
            case {"tproxy": {"port": int(port), **more}}, model.SetMark(number) if not (
                more.keys() - {"family"}
            ):
                self._emit(_beside(held, rest), model.TProxy(port, number))
                return
        self._unread(rest, held)

    def _unread(self, rest: list[Any], held: _Held) -> None:
        """Keep what follows as it is; matches in it belong to it."""
        self._emit(held, model.UnreadableAction(words(rest)))

    def _verdicts(self, body: Any, rest: list[Any], held: _Held, depth: int) -> None:
        """Read a map of verdicts: each is that of the packets it is for; others go on."""
        if depth > _DEEPEST:
            raise UnknownError
        try:
            found = [*self._groups(body)]
        except BAD_SHAPES:
            self._unread(rest, held)
            return
        key = body["key"]
        for ways, verdict in found:
            follows = rest[1:] if verdict == {"continue": None} else []
            meeting = held.meet(ways, nft_match.families(key))
            if meeting.ways:
                self.run([verdict, *follows], meeting, depth + 1)
        if not found:
            held.pending.clear()
            self._emit(held, model.Continue())

    def _groups(self, body: Any) -> Iterator[tuple[list[Way], Any]]:
        """Give the ways to come to each verdict of a map."""
        key, data = body["key"], body["data"]
        groups: dict[str, tuple[Any, list[Any]]] = {}
        named: list[Any] = []
        others: list[Any] = []
        for value, verdict in self._sets.pairs(data):
            if value == "*":
                others.append(verdict)
                continue
            named.append(value)
            groups.setdefault(plain(verdict), (verdict, []))[1].append(value)
        comes_back = any("jump" in v or "continue" in v for v, _ in groups.values())
        if comes_back and nft_match.is_mark(key) and (len(groups) > 1 or others):
            # Whoever comes back may have the mark of another verdict by then.
            raise UnknownError
        for verdict, values in groups.values():
            yield self._among(key, values), verdict
        for verdict in others:
            yield self._ways({"op": "!=", "left": key, "right": {"set": named}}), verdict

    def _among(self, key: Any, values: list[Any]) -> list[Way]:
        """Read keys one by one if they cannot be read together."""
        try:
            return nft_match.ways(_is_among(key, values), self._sets)
        except BAD_SHAPES:
            found: list[Way] = []
            unread: list[Any] = []
            for value in values:
                try:
                    found += nft_match.ways(_is_among(key, [value]), self._sets)
                except BAD_SHAPES:
                    unread.append(value)
            return [*found, nft_match.unread(_is_among(key, unread))]

    def _written(self) -> str:
        """Give the rule as it was written."""
        self._text = self._text or plain(self._statements)
        return self._text

    def _emit(self, held: _Held, action: Action) -> None:
        self._sets.budget.take(len(held.ways))
        if len(self.rules) + len(held.ways) > _MOST:
            raise UnknownError
        for way in held.ways:
            matches = [*way, *held.pending]
            if self._is_inet:
                matches += _unsaid(matches, held.families)
            if model.TransparentSocket() in matches:
                # As iptables means it: a socket of any address is none.
                if nft_match.NO_WILDCARD not in matches:
                    matches.append(model.Unreadable("socket transparent without wildcard"))
                matches = [match for match in matches if match != nft_match.NO_WILDCARD]
            is_foreign = isinstance(action, model.Foreign) or any(
                isinstance(match, model.ForeignMatch) for match in matches
            )
            text = self._written() if is_foreign else ""
            self.rules.append(model.Rule(tuple(matches), action, self._why, text))


def _beside(held: _Held, statements: list[Any]) -> _Held:
    """Keep with a rule what it tells somebody on the way: without it, it is another rule."""
    told = [one for one in statements if nft_action.is_note(one) and one != {"continue": None}]
    if not told:
        return held
    beside = _Held(held.ways, held.families)
    beside.pending = [*held.pending, model.Aside(words(told))]
    return beside


def _is_among(key: Any, values: list[Any]) -> Any:
    return {"op": "==", "left": key, "right": {"set": values}}


def _families(body: Any) -> frozenset[Family]:
    return nft_match.families(body.get("left")) if isinstance(body, dict) else frozenset()


def _does(statements: list[Any]) -> bool:
    """Whether something comes that is more than telling somebody."""
    return any(not (is_tally(one) or nft_action.is_note(one)) for one in statements)


def _unsaid(matches: list[Match], families: frozenset[Family]) -> Iterator[Match]:
    """Give the family that nft means and does not print: that of ``ip daddr != 10.0.0.1``."""
    if any(isinstance(match, model.FamilyIs) for match in matches):
        return
    for family in sorted(families):
        if not any(
            isinstance(match, model.Source | model.Destination)
            and not match.negated
            and match.networks.part(family)
            for match in matches
        ):
            yield model.FamilyIs(family)
