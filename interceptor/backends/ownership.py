"""Which rules in built-in chains are ours, or were left there by another mesh's init.

Pure. A chain is ours by its name, and a rule in a chain of others' if it calls one of ours, or by
its comment. Rules of istio-iptables and of osm-init are not all so: some stand in the built-in
chains by themselves, without a comment. They are known by their exact form, beside chains of that
tool.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from interceptor.dialect import ISTIO, OSM
from interceptor.model import (
    ConnectionMark,
    Destination,
    Gid,
    InInterface,
    OutInterface,
    PacketMark,
    Protocol,
    RestoreMark,
    Return,
    Ruleset,
    SaveMark,
    SetMark,
    TranslateDestination,
    Uid,
)
from interceptor.names import LOOPBACK_INTERFACE, Family
from interceptor.values import Interfaces, Networks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.dialect import Ownership
    from interceptor.model import Chain, Rule, Table
    from interceptor.values import Mark

_LOCALHOST = Networks.parse("127.0.0.1")
_ISTIO_OWN_CALL = 1338
"""The mark istio-iptables gives to what the proxy sends to its own pod."""


class OwnRules:
    """Says of each rule in a table's built-in chains whether it is ours.

    Args:
        table: of iptables, as it is or as it should be.
        ownership: the names by which our chains are known.
        twin: the same table of the other family, in which more may stand beside a sure rule.
    """

    def __init__(
        self, table: Table | None, ownership: Ownership, twin: Table | None = None
    ) -> None:
        self._ownership = ownership
        self._chains = {chain.name: chain for chain in table.chains} if table else {}
        self._is_istio = any(map(ISTIO.owns, self._chains))
        self._is_osm = any(map(OSM.owns, self._chains))
        self._marks = set(_marks(self._chains.get(f"{ISTIO.chains[0]}INBOUND")))
        self._interfaces = set(self._left_out()) if self._is_istio else set[str]()
        if self._is_istio and twin:
            self._interfaces |= OwnRules(twin, ownership)._interfaces  # noqa: SLF001 - its own kind

    def of(self, name: str) -> tuple[bool, ...]:
        """Say it of each rule of a chain, in order."""
        chain = self._chains.get(name)
        return tuple(map(self._is_ours, chain.rules)) if chain else ()

    def _is_ours(self, rule: Rule) -> bool:
        return self._is_sure(rule) or interface_left_out(rule) in self._interfaces

    def _is_sure(self, rule: Rule) -> bool:
        if self._ownership.owns_chain(rule.target or ""):
            return True
        if rule.why:
            return self._ownership.owns_comment(rule.why)
        return (self._is_istio and _is_istios(rule, self._marks)) or (
            self._is_osm and _is_osms(rule)
        )

    def _left_out(self) -> Iterator[str]:
        """Give the interfaces istio-iptables leaves out: a rule for one has no mark of its own."""
        for chain in self._chains.values():
            if self._ownership.owns_chain(chain.name):
                continue
            if all(map(interface_left_out, chain.rules)):
                yield from map(interface_left_out, chain.rules)
            else:
                yield from self._beside(chain)

    def _beside(self, chain: Chain) -> Iterator[str]:
        """Give those whose rules are followed or preceded by a sure one, with nothing between."""
        for rules in (chain.rules, chain.rules[::-1]):
            waiting: list[str] = []
            for rule in rules:
                if name := interface_left_out(rule):
                    waiting.append(name)
                else:
                    if self._is_sure(rule):
                        yield from waiting
                    waiting = []


def foreign_part(observed: Ruleset, ownership: Ownership) -> Ruleset:
    """Give tables of iptables without what is ours."""
    tables = []
    for table in observed.tables:
        owned = OwnRules(table, ownership, twin(observed, table.family, table.name))
        chains = [
            msgspec.structs.replace(
                chain,
                rules=tuple(
                    rule
                    for rule, is_ours in zip(chain.rules, owned.of(chain.name), strict=True)
                    if not is_ours
                ),
            )
            for chain in table.chains
            if not ownership.owns_chain(chain.name)
        ]
        tables.append(msgspec.structs.replace(table, chains=tuple(chains)))
    return Ruleset(tuple(tables))


def twin(observed: Ruleset | None, family: Family, name: str) -> Table | None:
    """Give the table of the same name of the other family."""
    other = Family.IP6 if family is Family.IP else Family.IP
    return observed.table(other, name) if observed else None


def interface_left_out(rule: Rule) -> str:
    """Give the interface of a rule that only says: nothing is done for this one; else ``""``."""
    if rule.why or rule.action != Return():
        return ""
    match rule.matches:
        case (InInterface(interfaces) | OutInterface(interfaces) as match,) if not match.negated:
            return interfaces.names[0]
    return ""


def _marks(chain: Chain | None) -> Iterator[Mark]:
    """Give the mark that istio-iptables was given: its chain lets packets of it go first."""
    for rule in chain.rules if chain else ():
        for match in rule.matches:
            if isinstance(match, PacketMark) and not match.negated:
                yield from match.marks.marks


def _is_istios(rule: Rule, known: set[Mark]) -> bool:
    """Whether it is, to the word, one istio-iptables puts into mangle for TPROXY."""
    named = {
        mark
        for match in rule.matches
        if isinstance(match, PacketMark | ConnectionMark)
        for mark in match.marks.marks
    }
    if not named <= known:
        return False
    kinds = {(type(match), match.negated) for match in rule.matches}
    tcp, by_lo = (Protocol, False), (OutInterface, False)
    match rule.action:
        case SaveMark():
            return kinds == {tcp, (PacketMark, False)}
        case RestoreMark():
            return kinds == {tcp, (ConnectionMark, False)}
        case Return():
            return kinds == {tcp, by_lo, (PacketMark, False)}
        case SetMark(mark) if mark == _ISTIO_OWN_CALL:
            to = {tcp, by_lo, (Destination, True)}
            return kinds in (to | {(Uid, False)}, to | {(Gid, False)})
    return False


def _is_osms(rule: Rule) -> bool:
    """Whether it is, to the word, one osm-init puts into nat to send the proxy to the pod's IP."""
    match rule.action:
        case TranslateDestination(address, None) if address is not None:
            tcp, by_lo = Protocol("tcp"), OutInterface(Interfaces((LOOPBACK_INTERFACE,)))
            kinds = {type(match) for match in rule.matches if not match.negated}
            return {tcp, by_lo, Destination(_LOCALHOST)} <= set(rule.matches) and kinds == {
                *(Protocol, OutInterface, Destination, Uid)
            }
    return False
