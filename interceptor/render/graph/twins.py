"""Tables of IPv4 and IPv6 that say the same, made one to be drawn once."""

from __future__ import annotations

import msgspec

from interceptor import model
from interceptor.names import Family


class Drawn(msgspec.Struct, frozen=True):
    """A table, and the families whose rules it has."""

    families: tuple[Family, ...]
    table: model.Table


def joined(ruleset: model.Ruleset) -> tuple[Drawn, ...]:
    """Give the tables; those of ip and ip6 that are equal but for the family as one."""
    made: list[Drawn] = []
    done: set[int] = set()
    for at, table in enumerate(ruleset.tables):
        if at in done:
            continue
        families: tuple[Family, ...] = (table.family,)
        drawn = table
        for other_at, other in enumerate(ruleset.tables):
            pair = {table.family, other.family}
            if other_at in done or other_at == at or pair != {Family.IP, Family.IP6}:
                continue
            if other.name == table.name and (both := _both(table, other)) is not None:
                done.add(other_at)
                families, drawn = (Family.IP, Family.IP6), both
                break
        done.add(at)
        made.append(Drawn(families, drawn))
    return tuple(made)


def _both(one: model.Table, other: model.Table) -> model.Table | None:
    others = {chain.name: chain for chain in other.chains}
    names = {chain.name for chain in one.chains}
    if names != others.keys() or len(one.chains) != len(other.chains) or one.flags != other.flags:
        return None
    chains: list[model.Chain] = []
    for chain in one.chains:
        twin = others[chain.name]
        if chain.base != twin.base or len(chain.rules) != len(twin.rules):
            return None
        rules = [_rule(a, b) for a, b in zip(chain.rules, twin.rules, strict=True)]
        chains.append(model.Chain(chain.name, tuple(r for r in rules if r), chain.base))
        if None in rules:
            return None
    return model.Table(Family.INET, one.name, tuple(chains), one.flags)


def _rule(one: model.Rule, other: model.Rule) -> model.Rule | None:
    """Give the rule that means this one in IPv4 and the other in IPv6."""
    if (one.action, one.why, one.only) != (other.action, other.why, other.only):
        return None
    if one == other:
        return one
    if len(one.matches) != len(other.matches):
        return None
    matches = [_match(a, b) for a, b in zip(one.matches, other.matches, strict=True)]
    kept = tuple(match for match in matches if match is not None)
    return None if len(kept) < len(matches) else msgspec.structs.replace(one, matches=kept)


def _match(one: model.Match, other: model.Match) -> model.Match | None:
    if one == other:
        return one
    if one.negated == other.negated:
        match one, other:
            case model.Source(ours), model.Source(theirs):
                return model.Source(ours + theirs, negated=one.negated)
            case model.Destination(ours), model.Destination(theirs):
                return model.Destination(ours + theirs, negated=one.negated)
    return None
