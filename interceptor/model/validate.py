"""Check by ourselves all that kernel tools check late, badly or not at all."""

from __future__ import annotations

import re
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from interceptor.errors import RulesetError
from interceptor.model.actions import (
    Redirect,
    SetMark,
    SetSource,
    SetZone,
    TProxy,
    TranslateDestination,
)
from interceptor.model.matches import (
    STATES,
    ConnectionState,
    DestinationPort,
    InInterface,
    OutInterface,
    Protocol,
    SourcePort,
)
from interceptor.names import CHAIN_NAME_MAX, COMMENT_MAX, PRIORITIES, ChainType, Hook
from interceptor.values import INTERFACE_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from interceptor.model.actions import Action
    from interceptor.model.matches import Match
    from interceptor.model.ruleset import Base, Chain, Rule, Table

_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_PROTOCOL = re.compile(r"[a-z0-9][a-z0-9-]{0,15}")

_REDIRECT_HOOKS = frozenset({Hook.PREROUTING, Hook.OUTPUT})
_SOURCE_HOOKS = frozenset({Hook.INPUT, Hook.POSTROUTING})
_CONNTRACK_PRIORITY = -200
"""NF_IP_PRI_CONNTRACK of linux/netfilter_ipv4.h."""

PROTOCOLS_WITH_PORTS = frozenset({"tcp", "udp", "sctp", "dccp"})


def validate_table(table: Table) -> None:
    """Check one table; ``Ruleset.validate`` says what for."""
    chains: dict[str, Chain] = {}
    for chain in table.chains:
        if chain.name in chains:
            raise RulesetError(f"{table.name}: chain {chain.name} is there twice")
        if not 0 < len(chain.name) <= CHAIN_NAME_MAX or not _NAME.fullmatch(chain.name):
            raise RulesetError(
                f"{table.name}: {chain.name!r} is no chain name: 1 to {CHAIN_NAME_MAX} letters, "
                "digits and -_."
            )
        chains[chain.name] = chain
    for chain in table.chains:
        for number, rule in enumerate(chain.rules, 1):
            try:
                _check_jump(rule, chains)
                check_rule(rule)
            except RulesetError as error:
                raise RulesetError(
                    f"{table.name} {chain.name} rule {number}: {error}", hint=error.hint
                ) from None
    _validate_calls(table, chains)
    _validate_places(table, chains)


def _check_jump(rule: Rule, chains: dict[str, Chain]) -> None:
    if rule.target is None:
        return
    if rule.target not in chains:
        raise RulesetError(f"jumps to the missing chain {rule.target!r}")
    if chains[rule.target].base is not None:
        raise RulesetError(f"jumps to {rule.target!r}, which only the kernel calls")


def check_rule(rule: Rule) -> None:
    """Check what a rule says by itself: its texts, and ports only beside their protocol.

    Every text that ends up in a rule's words is checked here, whichever way it came, so that
    none can be more than a word of its rule.
    """
    if len(rule.why) > COMMENT_MAX:
        raise RulesetError(f"its why is longer than {COMMENT_MAX} characters")
    if not rule.why.isprintable() or '"' in rule.why:
        raise RulesetError("its why has characters that do not print, or a double quote")
    for match in rule.matches:
        _check_texts(match)
    protocols = {m.protocol for m in rule.matches if isinstance(m, Protocol) and not m.negated}
    needs_ports = names_port(rule.action) or any(
        isinstance(m, SourcePort | DestinationPort) for m in rule.matches
    )
    if needs_ports and not protocols & PROTOCOLS_WITH_PORTS:
        raise RulesetError(
            "names a port without a protocol that has ports",
            hint="write -p tcp in the same row, before the port",
        )


def names_port(action: Action) -> bool:
    """Whether an action gives a packet a port, so that it has to have one."""
    match action:
        case TranslateDestination(_, port):
            return port is not None
        case _:
            return isinstance(action, Redirect | TProxy)


def _check_texts(match: Match) -> None:
    match match:
        case Protocol(name) if not _PROTOCOL.fullmatch(name):
            raise RulesetError(f"{name!r} is no protocol")
        case ConnectionState(states) if not STATES.issuperset(states):
            known = ", ".join(sorted(STATES))
            raise RulesetError(f"{','.join(states)!r} are no states; known are {known}")
        case InInterface(interfaces) | OutInterface(interfaces):
            for name in interfaces.names:
                if not INTERFACE_NAME.fullmatch(name):
                    raise RulesetError(f"{name!r} is no interface name")


def _validate_calls(table: Table, chains: dict[str, Chain]) -> None:
    """Check that no way down from a chain comes back to it."""
    calls = {name: {r.target for r in c.rules if r.target} for name, c in chains.items()}
    try:
        TopologicalSorter(calls).prepare()
    except CycleError as error:
        # It names the chains from the called to the calling one.
        loop = " -> ".join(reversed(error.args[1]))
        raise RulesetError(f"{table.name}: chains call each other for ever: {loop}") from None


def _validate_places(table: Table, chains: dict[str, Chain]) -> None:
    """Check that actions the kernel takes in some places only are reached from there alone."""
    for base in table.chains:
        if base.base is not None:
            for chain in reachable(chains, base.name):
                for rule in chain.rules:
                    if lacks := _lacks(rule.action, base.base):
                        does, why, hint = lacks
                        raise RulesetError(
                            f"{table.name} {chain.name}: {does}, but {base.name} {why}", hint=hint
                        )


def _lacks(action: Action, base: Base) -> tuple[str, str, str] | None:
    """Say what an action does, what a hook lacks for it, and what to do instead.

    The kernel refuses them elsewhere: ``nft_redir_validate``, ``nft_tproxy_validate``, and
    ``table`` and ``hooks`` in xt_REDIRECT.c, xt_nat.c, xt_TPROXY.c, xt_CT.c and xt_mark.c.
    """
    at = f"is at {base.hook}"
    match action:
        case Redirect() | TranslateDestination():
            does = "redirects" if isinstance(action, Redirect) else "changes where packets go"
            hint = "redirect in table nat, called from PREROUTING or OUTPUT"
            if base.type is not ChainType.NAT:
                return does, "is no nat chain", hint
            return None if base.hook in _REDIRECT_HOOKS else (does, at, hint)
        case SetSource():
            does = "changes where packets come from"
            hint = "do that in table nat, called from POSTROUTING or INPUT"
            if base.type is not ChainType.NAT:
                return does, "is no nat chain", hint
            return None if base.hook in _SOURCE_HOOKS else (does, at, hint)
        case TProxy() if base.hook is not Hook.PREROUTING or not _is_mangle(base):
            hint = "hand to a transparent listener in table mangle, called from PREROUTING"
            return "hands to a transparent listener", f"{at}, priority {base.priority}", hint
        case SetMark() if not _is_mangle(base):
            return "sets a mark", f"has priority {base.priority}", "set marks in table mangle"
        case SetZone() if base.priority >= _CONNTRACK_PRIORITY:
            return "sets a zone", "comes after conntrack", "set zones in table raw"
    return None


def _is_mangle(base: Base) -> bool:
    return PRIORITIES["mangle"][base.hook] == base.priority


def reachable(
    chains: dict[str, Chain], start: str, follows: Callable[[Rule], bool] = lambda _rule: True
) -> Iterator[Chain]:
    """Give the chain called ``start`` and all that can be called from it, each once.

    ``follows`` says of a rule that calls a chain whether its call counts.
    """
    pending, seen = [start], set[str]()
    while pending:
        name = pending.pop()
        if name not in seen and name in chains:
            seen.add(name)
            yield chains[name]
            pending += [r.target for r in chains[name].rules if r.target and follows(r)]
