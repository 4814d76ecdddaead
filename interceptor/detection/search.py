"""The settings with which a sheet comes nearest to live rules.

What the rows' holes hold is nearly always the answer. Where it is not, because rules are missing
or changed, each parameter is tried with the few other values there is a reason for, as long as
that leaves fewer differences.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from interceptor.detection.candidate import Candidate, Fitting
from interceptor.detection.pairing import Pairing, Placed, families_of
from interceptor.detection.pattern import holes, intercepts
from interceptor.detection.reading import Reader, Reading, unspoken
from interceptor.detection.terms import OPTION, Terms, choices, default_text, is_set, parameters
from interceptor.render import nftables
from interceptor.values import EVERYTHING, Options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from interceptor.detection.found import Layer
    from interceptor.model import Routing, Table
    from interceptor.record import Record
    from interceptor.sheets.sheet import Sheet

_ROUNDS = 3
_ODD = 2
"""Rules that a setting counts as which nothing gives a reason for."""
_FEW = 3
"""Values seen of one parameter that are each tried alone."""
_TOLD = "ip_families"


class Likeness(msgspec.Struct, frozen=True):
    """A sheet laid upon live rules, the best settings so far, and how they compare.

    ``start`` are the settings that rules give a reason for.
    """

    sheet: Sheet
    placed: tuple[Placed, ...]
    reading: Reading
    fitting: Fitting
    start: Mapping[str, str]
    best: Candidate

    @property
    def explained(self) -> float:
        """Give the share of rules that are as the sheet has them."""
        there = self.fitting.held_for(self.best).counts[1] + self.best.target.counts[1]
        return max(0.0, 1 - self.best.differences / there) if there else 0.0

    @property
    def is_named(self) -> bool:
        """Whether the live chains have the sheet's names."""
        return all(
            one.held.base is not None
            or one.held.name == self.fitting.name_of(one.table, one.chain)
            for one in self.placed
        )


class Search:
    """Lays one sheet upon the tables of one language.

    Args:
        sheet: the dialect.
        layer: what the language holds.
        check: called now and then; it may raise, to end it.
    """

    def __init__(self, sheet: Sheet, layer: Layer, check: Callable[[], object]) -> None:
        self._sheet = sheet
        self._layer = layer
        self._check = check
        self._terms = Terms(sheet)
        shown = {
            name
            for chains in sheet.chains.values()
            for rows in chains.values()
            for row in rows
            for name in (
                *holes(row),
                *(loop.collection for loop in self._terms.loops(row.each).values()),
            )
        }
        self._shown = {
            self._terms.spoken_of(name, None)[0].removeprefix("option:") for name in shown
        }

    def begin(self, tables: tuple[Table, ...], routing: tuple[Routing, ...]) -> Likeness | None:
        """Give the sheet with what the rules say; ``None`` if they say nothing of it.

        Where that is not all, it is laid once more: what rows that speak of one list did not agree
        about may belong to other rows.
        """
        best = self._laid(tables, routing, {})
        if best is None:
            return None
        agreed = best.reading.agreed
        for contested in (*([name] for name in agreed), [*agreed]):
            if not any(best.best.distance):
                break
            self._check()
            again = self._laid(tables, routing, {name: agreed[name] for name in contested})
            if again is not None and again.best.distance < best.best.distance:
                best = again
        return best

    def _laid(
        self,
        tables: tuple[Table, ...],
        routing: tuple[Routing, ...],
        agreed: Mapping[str, frozenset[str]],
    ) -> Likeness | None:
        pairing = Pairing(self._sheet, self._terms, self._layer.language, agreed)
        placed = _of_intercepting(pairing.place(tables))
        if not placed:
            return None
        reading = Reader(self._sheet, self._terms).read(placed, routing)
        families = families_of(placed)
        fitting = Fitting(
            *(self._sheet, pairing, placed, families, reading.resolvers, self._layer)
        )
        silent = dict(unspoken(self._sheet, reading, self._shown))
        values = {**silent, **reading.values}
        values = {name: values[name] for name in parameters(self._sheet)}
        best = fitting.try_out(values) or self._allowed(fitting, values)
        for name, text in silent.items():
            # That no rule speaks of it may also be because it is as usual.
            hidden = default_text(self._sheet, name)
            if best is None or not any(best.distance):
                break
            if text != hidden:
                usual = fitting.try_out({**best.values, name: hidden})
                if usual is not None and usual.distance < best.distance:
                    best = usual
        return Likeness(self._sheet, placed, reading, fitting, values, best) if best else None

    def _allowed(self, fitting: Fitting, values: Mapping[str, str]) -> Candidate | None:
        """Give settings that the sheet takes, where those that were read contradict each other."""
        for name in values:
            plain = {**values, name: default_text(self._sheet, name)}
            if (found := fitting.try_out(plain)) is not None:
                return found
        return fitting.try_out({name: default_text(self._sheet, name) for name in values})

    def improve(self, likeness: Likeness) -> Likeness:
        """Try other values as long as that leaves less that is unlike.

        At first the best change of all is taken, since a wrong one can hide what is right; after
        that each that is better.
        """
        best = self._round(likeness, likeness.best, is_first=True)
        for _ in range(_ROUNDS):
            before = best
            best = self._round(likeness, best)
            if best is before:
                break
        return msgspec.structs.replace(likeness, best=best)

    def _round(self, likeness: Likeness, start: Candidate, *, is_first: bool = False) -> Candidate:
        best = start
        for change in self._others(likeness, start):
            if not any(best.distance):
                break
            self._check()
            found = likeness.fitting.try_out(change(start.values if is_first else best.values))
            if found and self._cost(likeness, found) < self._cost(likeness, best):
                best = found
        return best

    def _cost(self, likeness: Likeness, one: Candidate) -> tuple[int, int, int]:
        """Weigh differences, and values that neither a rule nor the sheet gives a reason for."""
        odd = sum(
            text not in (likeness.start.get(name), default_text(self._sheet, name))
            for name, text in one.values.items()
            if name != _TOLD
        )
        total, differences = one.distance
        return (total + _ODD * odd if total else 0), differences, odd

    def recorded(self, likeness: Likeness, record: Record) -> Candidate | None:
        """Give the settings that were recorded, with the rules they mean."""
        values = {name: default_text(self._sheet, name) for name in parameters(self._sheet)}
        try:
            options = Options.parse(record.settings.get("options", "")).values
        except ValueError:
            return None
        values |= {f"{OPTION}{name}": text for name, text in options.items()}
        values |= {
            name: text
            for name, text in record.settings.items()
            if name not in ("sheet", "options")
        }
        return likeness.fitting.try_out(values)

    def plainest(self, likeness: Likeness) -> Likeness:
        """Leave to the defaults what makes no difference."""
        best = likeness.best
        for name in likeness.fitting.given(best):
            self._check()
            plain = {**best.values, name: default_text(self._sheet, name)}
            found = likeness.fitting.try_out(plain)
            if found is not None and found.distance <= best.distance:
                best = found
        return msgspec.structs.replace(likeness, best=best)

    def _others(
        self, likeness: Likeness, best: Candidate
    ) -> Iterator[Callable[[Mapping[str, str]], dict[str, str]]]:
        """Give changes of one parameter each, those with few values first."""
        names = sorted(best.values, key=lambda name: not choices(self._sheet, name))
        if self._layer.language == nftables.LANGUAGE:
            for family in ("dual", "ipv4", "ipv6"):
                yield _changing(_TOLD, family)
        for name in names:
            few = choices(self._sheet, name)
            hidden = default_text(self._sheet, name)
            seen = likeness.reading.seen.get(name, ())
            likely = [likeness.reading.values.get(name, hidden), hidden, *few]
            if is_set(self._sheet, name):
                likely += ["", EVERYTHING]
            likely += seen if len(seen) <= _FEW else ()
            for text in dict.fromkeys(likely):
                if text != best.values[name]:
                    yield _changing(name, text)


def _changing(name: str, text: str) -> Callable[[Mapping[str, str]], dict[str, str]]:
    return lambda values: {**values, name: text}


def _of_intercepting(placed: tuple[Placed, ...]) -> tuple[Placed, ...]:
    """Leave out families in which nothing is handed over to the proxy."""
    handing = {
        family
        for one in placed
        for pair in one.laid.pairs
        if intercepts(one.held.rules[pair.number].action)
        for family in one.live.family.members
    }
    return tuple(one for one in placed if handing & set(one.live.family.members))
