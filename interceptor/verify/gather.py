"""What there is to find in rules: ports, addresses, ids, marks; all in the order they are in."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from interceptor.model import (
    Destination,
    DestinationPort,
    Gid,
    MarkRule,
    PacketMark,
    Protocol,
    Redirect,
    Rule,
    Ruleset,
    SetConnectionMark,
    SetMark,
    Source,
    TProxy,
    Uid,
    met_at,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from interceptor.analysis.packet import Address
    from interceptor.names import Family, Hook
    from interceptor.values import Mark, Network, Range

T = TypeVar("T")


def once(found: Iterable[T]) -> tuple[T, ...]:
    """Give each thing where it was first."""
    return tuple(dict.fromkeys(found))


def rules_at(hook: Hook, *rulesets: Ruleset) -> tuple[Rule, ...]:
    """Give every rule a packet at a hook can meet."""
    return tuple(
        rule for ruleset in rulesets for chain in met_at(ruleset, hook) for rule in chain.rules
    )


def all_rules(*rulesets: Ruleset) -> tuple[Rule, ...]:
    """Give every rule there is."""
    return tuple(
        rule
        for ruleset in rulesets
        for table in ruleset.tables
        for chain in table.chains
        for rule in chain.rules
    )


def _is_udp(rule: Rule) -> bool:
    """Whether a rule is for UDP alone; a port stands in one rule with its protocol."""
    protocols = {m.protocol for m in rule.matches if isinstance(m, Protocol) and not m.negated}
    return protocols == {"udp"}


def ports(rules: Iterable[Rule], *, udp: bool) -> tuple[int, ...]:
    """Give both ends of ranges of destination ports, of UDP or of anything else."""
    return once(
        end
        for rule in rules
        if _is_udp(rule) is udp
        for match in rule.matches
        if isinstance(match, DestinationPort)
        for ends in match.ports.ranges
        for end in ends
        if end
    )


def targets(rules: Iterable[Rule], *kinds: type[Redirect | TProxy], udp: bool) -> tuple[int, ...]:
    """Give the ports that actions of some kinds take packets to."""
    return once(
        rule.action.port
        for rule in rules
        if isinstance(rule.action, kinds) and _is_udp(rule) is udp
    )


def ids(rules: Iterable[Rule], kind: type[Uid | Gid]) -> tuple[Range, ...]:
    """Give ranges of users or groups."""
    return once(
        one
        for rule in rules
        for match in rule.matches
        if isinstance(match, kind)
        for one in match.ids.ranges
    )


def marks(rules: Iterable[Rule]) -> tuple[Mark, ...]:
    """Give the marks that are asked for."""
    return once(
        mark
        for rule in rules
        for match in rule.matches
        if isinstance(match, PacketMark)
        for mark in match.marks.marks
        if mark.value
    )


def marks_given(rules: Iterable[Rule]) -> tuple[int, ...]:
    """Give the marks that rules give to packets."""
    return once(rule.action.mark for rule in rules if isinstance(rule.action, SetMark | TProxy))


def marks_routed(ruleset: Ruleset, *families: Family) -> tuple[int, ...]:
    """Give the marks that have a table of routes of their own."""
    return once(
        one.mark for one in ruleset.routing if isinstance(one, MarkRule) and one.family in families
    )


def handover_marks(ruleset: Ruleset, family: Family) -> tuple[int, ...]:
    """Give the marks of sockets that answers are led back to.

    That is the mark that is routed, or the one for which rules give connections that mark.
    """
    given = [
        (rule.action, marks((rule,)))
        for rule in all_rules(ruleset)
        if isinstance(rule.action, SetConnectionMark)
    ]
    found: list[int] = []
    for one in ruleset.routing:
        if isinstance(one, MarkRule) and one.family == family:
            by = [
                m.value for action, of in given if action.value & one.mask == one.mark for m in of
            ]
            found += by or [one.mark]
    return once(found)


def networks(
    rules: Iterable[Rule], kind: type[Source | Destination], family: Family
) -> tuple[Network, ...]:
    """Give the networks that sources or destinations are asked to be in."""
    return once(
        network
        for rule in rules
        for match in rule.matches
        if isinstance(match, kind)
        for network in match.networks.part(family)
    )


def single(some: Iterable[Network]) -> tuple[Address, ...]:
    """Give the addresses that are networks of their own."""
    return once(network.network_address for network in some if network.num_addresses == 1)
