"""Make a drawing of a ruleset and the marks that go on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.names import Hook
from interceptor.render.graph import choice, short
from interceptor.render.graph.drawing import Box, Count, Drawing, Limits, Line, Marks, many
from interceptor.render.graph.joints import Joints
from interceptor.render.graph.twins import Drawn, joined

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from interceptor import model
    from interceptor.names import Family
    from interceptor.render.graph.choice import Where
    from interceptor.render.graph.drawing import Group

_HOOKS = tuple(Hook)
_FEWEST = 3
"""Rules every chain shows, however many chains there are."""

_MISSED = 3
"""Names a note has; of the others it says how many they are."""

Steps = dict["Where", dict[int, list[int]]]
"""The places on the path that each rule has, by chain and number."""


def draw(
    ruleset: model.Ruleset, marks: Marks | None = None, limits: Limits | None = None
) -> Drawing:
    """Draw rules; beyond the limits those that matter most, and a note about the others."""
    return _Artist(ruleset, marks or Marks(), limits or Limits()).drawing()


class _Artist:
    def __init__(self, ruleset: model.Ruleset, marks: Marks, limits: Limits) -> None:
        self._tables = tuple(sorted(joined(ruleset), key=_when))
        self._marks = marks
        self._limits = limits
        self._notes: list[str] = []
        self._steps = self._walked()
        self._places = _places(self._tables)
        self._made = 0

    def drawing(self) -> Drawing:
        kept = choice.chosen(self._tables, self._steps, self._limits)
        self._note_chains(kept)
        most = self._most(kept)
        joints = Joints(self._limits)
        groups: list[Group] = []
        for at, drawn in enumerate(self._tables):
            numbers = [n for n in range(len(drawn.table.chains)) if (at, n) in kept]
            numbers.sort(key=lambda n, chains=drawn.table.chains: _hook_order(chains[n]))  # type: ignore[misc]
            boxes = [self._box(drawn, (at, n), most) for n in numbers]
            chains = [drawn.table.chains[n] for n in numbers]
            groups.append(joints.group(drawn, chains, boxes))
        hidden = sum(
            box.more + sum(li.skipped for li in box.lines) for g in groups for box in g.boxes
        )
        if hidden:
            self._notes.append(
                f"{many(hidden, 'rule')} of long chains left out: … stands for them"
            )
        return Drawing(
            short.clean(self._marks.title),
            tuple(groups),
            tuple(
                type(hop)(*map(short.clean, (hop.source, hop.target, hop.label, hop.detail)))
                for hop in self._marks.hops
            ),
            tuple(_order(self._tables)),
            (*self._notes, *joints.notes),
            has_path=bool(self._marks.path),
        )

    def _walked(self) -> Steps:
        """Find each step of the path among the rules."""
        steps: Steps = {}
        lost = 0
        for step, visit in enumerate(self._marks.path, 1):
            where = self._find(visit.family, visit.table, visit.chain)
            if where is None or not 1 <= visit.number <= len(self._chain(where).rules):
                lost += 1
            else:
                steps.setdefault(where, {}).setdefault(visit.number, []).append(step)
        if lost:
            self._notes.append(f"{many(lost, 'step')} of the path at no rule here")
        return steps

    def _find(self, family: Family, table: str, chain: str) -> Where | None:
        for at, drawn in enumerate(self._tables):
            members = {one for of in drawn.families for one in of.members}
            if drawn.table.name == table and members & set(family.members):
                for number, held in enumerate(drawn.table.chains):
                    if held.name == chain:
                        return at, number
        return None

    def _chain(self, where: Where) -> model.Chain:
        return self._tables[where[0]].table.chains[where[1]]

    def _note_chains(self, kept: set[Where]) -> None:
        missed = [
            chain.name
            for at, drawn in enumerate(self._tables)
            for number, chain in enumerate(drawn.table.chains)
            if (at, number) not in kept
        ]
        if missed:
            named = ", ".join(short.clean(name) for name in missed[:_MISSED])
            more = f" and {len(missed) - _MISSED:,} more" if len(missed) > _MISSED else ""
            self._notes.append(f"{many(len(missed), 'chain')} left out: {named}{more}")

    def _most(self, kept: set[Where]) -> int:
        """Give how many rules a chain may show, so that all have room."""
        total = sum(min(len(self._chain(w).rules), self._limits.rules) for w in kept)
        if total <= self._limits.lines:
            return self._limits.rules
        return max(_FEWEST, self._limits.lines // max(1, len(kept)))

    def _box(self, drawn: Drawn, where: Where, most: int) -> Box:
        chain = self._chain(where)
        steps = self._steps.get(where, {})
        rules, more = choice.shown(chain, most, steps)
        self._made += 1
        lines: list[Line] = []
        last = 0
        for number, rule in rules:
            kind, action = short.action(rule.action)
            lines.append(
                Line(
                    number,
                    short.matched(rule),
                    kind,
                    action,
                    short.clean(rule.why),
                    short.clean(rule.text),
                    _counts(drawn, chain.name, number, self._marks.counters),
                    tuple(steps.get(number, ())),
                    number - last - 1,
                )
            )
            last = number
        base = chain.base
        return Box(
            f"c{self._made}",
            short.clean(chain.name),
            f"hook {base.hook} · priority {base.priority} · policy {base.policy}" if base else "",
            self._places.get(where, ""),
            tuple(lines),
            more,
        )


def _counts(
    drawn: Drawn,
    chain: str,
    number: int,
    counters: Mapping[tuple[Family, str, str, int], tuple[int, int]],
) -> tuple[Count, ...]:
    if not counters:
        return ()
    candidates = dict.fromkeys(f for of in drawn.families for f in (of, *of.members))
    found = [(f, counters.get((f, drawn.table.name, chain, number))) for f in candidates]
    held = [(family, both) for family, both in found if both is not None]
    alone = len(held) == 1 and len(candidates) == 1
    return tuple(
        Count("" if alone or len(f.members) > 1 else short.families([f]), *both)
        for f, both in held
    )


def _priority(chain: model.Chain) -> int:
    return chain.base.priority if chain.base else 0


def _when(drawn: Drawn) -> tuple[bool, int]:
    """Sort tables as a packet meets them; those no hook calls come last."""
    bases = [c.base.priority for c in drawn.table.chains if c.base]
    return not bases, min(bases, default=0)


def _hook_order(chain: model.Chain) -> tuple[int, int]:
    return (_HOOKS.index(chain.base.hook) if chain.base else len(_HOOKS)), _priority(chain)


def _at(tables: Sequence[Drawn], hook: Hook) -> list[tuple[Where, model.Chain, Drawn]]:
    """Give the base chains at a hook in the order they run."""
    found = [
        ((at, number), chain, drawn)
        for at, drawn in enumerate(tables)
        for number, chain in enumerate(drawn.table.chains)
        if chain.base and chain.base.hook is hook
    ]
    return sorted(found, key=lambda one: _priority(one[1]))


def _places(tables: Sequence[Drawn]) -> dict[Where, str]:
    """Say of each base chain which one at its hook it is, where others see the same packets."""
    places: dict[Where, str] = {}
    for hook in _HOOKS:
        bases = _at(tables, hook)
        for where, _, drawn in bases:
            family = drawn.families[0].members[0]
            beside = [
                other
                for other, _, others in bases
                if any(family in of.members for of in others.families)
            ]
            if len(beside) > 1:
                places[where] = f"chain {beside.index(where) + 1} of {len(beside)} at this hook"
    return places


def _order(tables: Sequence[Drawn]) -> list[str]:
    """Write the chains at each hook in the order they run."""
    lines: list[str] = []
    for hook in _HOOKS:
        if bases := _at(tables, hook):
            named = [
                f"{short.clean(d.table.name)} {short.clean(c.name)} ({_priority(c)},"
                f" {short.families(d.families)})"
                for _, c, d in bases
            ]
            lines.append(f"{hook}: {' → '.join(named)}")
    return lines
