"""A packet's way in the order a kernel takes it: hooks, base chains, rules, verdicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor import model
from interceptor.analysis.packet import Dropped, Redirected, Unknown
from interceptor.analysis.place import bases
from interceptor.analysis.telling import action_words, packet_words
from interceptor.names import LOOPBACK_INTERFACE, ChainType, Hook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.analysis.journey import Leg
    from interceptor.analysis.proof import Rules
    from interceptor.analysis.run import Visit


def trace(rules: Rules, leg: Leg) -> Iterator[str]:
    """Give one line for each base chain it comes to, and below it for each rule that matched."""
    yield f"packet {packet_words(leg.packet)}"
    visits = [*leg.walk.path]
    for hook, again in _hooks(leg):
        for table, chain, priority in bases(rules.ruleset, hook, leg.packet.family):
            is_nat = chain.base is not None and chain.base.type is ChainType.NAT
            yield f"{hook} priority {priority}: {table.family} {table.name} {chain.name}" + (
                ", not asked again" if is_nat and again else ""
            )
            if is_nat and again:
                continue
            mine = _taken(visits, hook, table, chain)
            yield from (f"  {_line(visit)}" for visit in mine)
            ended = bool(mine) and not isinstance(
                mine[-1].rule.action, (*model.PASSING, model.Return, model.Jump)
            )
            if not ended and chain.base is not None:
                yield f"  policy {chain.base.policy}"
            if not visits and isinstance(leg.walk.fate, Dropped | Unknown) and (mine or ended):
                yield f"fate {leg.walk.fate}"
                return
    yield f"fate {leg.walk.fate}"


def _hooks(leg: Leg) -> Iterator[tuple[Hook, bool]]:
    """Give the hooks on its way, and whether nat chains were asked before."""
    if leg.packet.in_interface:
        yield Hook.PREROUTING, False
        yield Hook.INPUT, False
        return
    yield Hook.OUTPUT, False
    yield Hook.POSTROUTING, False
    stays = leg.packet.out_interface == LOOPBACK_INTERFACE or isinstance(leg.walk.fate, Redirected)
    if (stays and not isinstance(leg.walk.fate, Dropped | Unknown)) or any(
        visit.hook is Hook.PREROUTING for visit in leg.walk.path
    ):
        yield Hook.PREROUTING, True
        yield Hook.INPUT, True


def _taken(visits: list[Visit], hook: Hook, table: model.Table, chain: model.Chain) -> list[Visit]:
    """Take the visits below one base chain off the front."""
    mine: list[Visit] = []
    others = {one.name for one in table.chains if one.base is not None and one.name != chain.name}
    while visits:
        visit = visits[0]
        is_here = (visit.hook, visit.table, visit.family) == (hook, table.name, table.family)
        if (
            not is_here
            or visit.chain in others
            or (mine and visit.chain == chain.name and _over(mine))
        ):
            break
        mine.append(visits.pop(0))
    return mine


def _over(mine: list[Visit]) -> bool:
    """Whether a base chain's way has ended, so that the same name is another's."""
    return isinstance(
        mine[-1].rule.action, model.Accept | model.Drop | model.Reject | model.Redirect
    )


def _line(visit: Visit) -> str:
    doubt = " (if it matches: it cannot be read)" if visit.is_unsure else ""
    why = f'  "{visit.rule.why}"' if visit.rule.why else ""
    return f"{visit.chain} rule {visit.number}: {action_words(visit.rule.action)}{doubt}{why}"
