"""``iptables-restore`` text, word for word as ``iptables-save`` prints it back."""

from __future__ import annotations

import re
from itertools import product
from typing import TYPE_CHECKING, assert_never

from interceptor import model
from interceptor.errors import RulesetError
from interceptor.names import Family
from interceptor.values import FULL_MASK, Ids, Interfaces, Marks, Networks, Ports

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

LANGUAGE = "iptables"
"""What a rule that is for iptables alone has in ``only``."""

MULTIPORT_SLOTS = 15
"""Ports one multiport match takes; a range counts two (XT_MULTI_PORTS, xt_multiport.h)."""

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def lower(ruleset: model.Ruleset, family: Family, *, verbatim: bool = False) -> model.Ruleset:
    """Give the rules of one family as iptables can hold them: one element a match.

    A verbatim dialect's have no comments.

    Raises:
        RulesetError: a negated set of networks or interfaces with several members, which a
            single iptables rule cannot say.
    """
    tables = []
    for table in ruleset.tables:
        if family in table.family.members:
            chains = [
                model.Chain(
                    c.name,
                    tuple(
                        r
                        for rule in c.rules
                        for r in _split(model.verbatim(rule) if verbatim else rule, family)
                    ),
                    c.base,
                )
                for c in table.chains
            ]
            kept = chains if verbatim else model.without_orphans(table.chains, chains)
            tables.append(model.Table(family, table.name, model.without_idle(kept)))
    return model.Ruleset(tuple(table for table in tables if table.chains))


def _split(rule: model.Rule, family: Family) -> Iterator[model.Rule]:
    """Give the rules that together mean this one; none if it cannot match in the family."""
    if rule.only not in ("", LANGUAGE):
        return
    choices = [list(_alternatives(match, family)) for match in rule.matches]
    for chosen in product(*choices):
        matches = tuple(match for several in chosen for match in several)
        yield model.Rule(matches, rule.action, rule.why, first=rule.first)


def _alternatives(match: model.Match, family: Family) -> Iterator[tuple[model.Match, ...]]:
    """Give the ways a match can hold, each as matches that hold together."""
    match match:
        case model.FamilyIs():
            if (match.family is family) != match.negated:
                yield ()
        case model.Source() | model.Destination():
            yield from _network_alternatives(match, family)
        case model.InInterface() | model.OutInterface():
            singles = [
                type(match)(Interfaces((n,)), negated=match.negated)
                for n in match.interfaces.names
            ]
            yield from _any_or_all(singles, "interfaces", can_combine=False)
        case model.SourcePort() | model.DestinationPort():
            chunks = [type(match)(Ports(c), negated=match.negated) for c in _chunks(match.ports)]
            yield from _any_or_all(chunks, "ports")
        case model.Uid() | model.Gid() if match.ids.is_everything:
            # What anybody sends has a socket, and that is how iptables says it.
            yield (model.Uid(match.ids, negated=match.negated),)
        case model.Uid() | model.Gid():
            ids = [type(match)(Ids((r,)), negated=match.negated) for r in match.ids.ranges]
            yield from _any_or_all(ids, "ids")
        case model.PacketMark() | model.ConnectionMark():
            marks = [type(match)(Marks((m,)), negated=match.negated) for m in match.marks.marks]
            yield from _any_or_all(marks, "marks")
        case _:
            yield (match,)


def _network_alternatives(
    match: model.Source | model.Destination, family: Family
) -> Iterator[tuple[model.Match, ...]]:
    if match.networks.covers(family):
        if not match.negated:
            yield ()
        return
    part = match.networks.part(family)
    if not part and match.negated:
        yield ()
        return
    singles = [type(match)(Networks.of((network,)), negated=match.negated) for network in part]
    yield from _any_or_all(singles, "networks", can_combine=False)


def _any_or_all(
    matches: Sequence[model.Match], what: str, *, can_combine: bool = True
) -> Iterator[tuple[model.Match, ...]]:
    """A set holds if any member does; a negated one if all negated members do."""
    if not any(match.negated for match in matches):
        yield from ((match,) for match in matches)
    elif can_combine or len(matches) == 1:
        yield tuple(matches)
    else:
        raise RulesetError(
            f"iptables cannot say 'none of these {what}' in one rule",
            hint="write the members as exceptions in rows before it",
        )


def _chunks(ports: Ports) -> Iterator[tuple[tuple[int, int], ...]]:
    """Deal ranges out to as few multiport matches as hold them."""
    chunk: list[tuple[int, int]] = []
    slots = 0
    for low, high in ports.ranges:
        cost = 1 if low == high else 2
        if slots + cost > MULTIPORT_SLOTS:
            yield tuple(chunk)
            chunk, slots = [], 0
        chunk.append((low, high))
        slots += cost
    if chunk:
        yield tuple(chunk)


def text(lowered: model.Ruleset) -> str:
    """Write lowered tables for ``iptables-restore``; loading it flushes what those tables held."""
    return "".join(
        "\n".join(
            [
                f"*{table.name}",
                *(declaration(chain) for chain in table.chains),
                *(
                    f"-A {c.name} {words(r, table.family)}".rstrip()
                    for c in table.chains
                    for r in c.rules
                ),
                "COMMIT\n",
            ]
        )
        for table in lowered.tables
    )


def declaration(chain: model.Chain) -> str:
    """Write the line that makes a chain, or flushes it if it is there."""
    policy = chain.base.policy.upper() if chain.base else "-"
    return f":{chain.name} {policy} [0:0]"


def words(rule: model.Rule, family: Family = Family.IP) -> str:
    """Write one lowered rule, in the order ``iptables-save`` has."""
    parts = [*_matches(rule.matches)]
    if rule.why:
        parts.append(f"-m comment --comment {quote(rule.why)}")
    parts.append(action(rule.action, family))
    return " ".join(part for part in parts if part)


def quote(comment: str) -> str:
    """Quote as ``xtables_save_string`` does."""
    if _BARE.fullmatch(comment):
        return comment
    return '"' + re.sub(r"([\"\\'])", r"\\\1", comment) + '"'


_STATES = ("INVALID", "NEW", "RELATED", "ESTABLISHED", "UNTRACKED", "SNAT", "DNAT")
"""In the order of ``state_print`` in libxt_conntrack.c."""

_ORDER: tuple[type[model.Match], ...] = (
    model.Source,
    model.Destination,
    model.InInterface,
    model.OutInterface,
    model.Protocol,
    model.SourcePort,
    model.DestinationPort,
    model.TcpFlags,
    model.Uid,
    model.Gid,
    model.PacketMark,
    model.ConnectionMark,
    model.ConnectionState,
    model.TransparentSocket,
    model.SourceIsLocal,
    model.DestinationIsLocal,
    model.Aside,
    model.Unreadable,
)


def _matches(matches: Iterable[model.Match]) -> Iterator[str]:
    ordered = sorted(matches, key=lambda match: _ORDER.index(type(match)))
    protocol = next((m.protocol for m in ordered if isinstance(m, model.Protocol)), "")
    last = ""
    for match in ordered:
        words = _match(match, protocol)
        # Options of one module stand together, if nothing comes between.
        module = " ".join(words.split()[:2])
        if isinstance(match, model.TcpFlags) and last.startswith(f"{module} "):
            words = words.removeprefix(f"{module} ")
        yield words
        last = words


def _match(match: model.Match, protocol: str) -> str:
    no = "! " if match.negated else ""
    match match:
        case model.Source(networks):
            return f"{no}-s {networks}"
        case model.Destination(networks):
            return f"{no}-d {networks}"
        case model.InInterface(interfaces):
            return f"{no}-i {interfaces}"
        case model.OutInterface(interfaces):
            return f"{no}-o {interfaces}"
        case model.Protocol(name):
            return f"{no}-p {name}"
        case model.SourcePort(ports):
            return _ports(ports, "sport", no, protocol)
        case model.DestinationPort(ports):
            return _ports(ports, "dport", no, protocol)
        case model.TcpFlags(mask, flags):
            return f"-m tcp {no}--tcp-flags {_flags(mask)} {_flags(flags)}"
        case model.Uid(ids) | model.Gid(ids) if ids.is_everything:
            return f"-m owner {no}--socket-exists"
        case model.Uid(ids):
            return f"-m owner {no}--uid-owner {ids}"
        case model.Gid(ids):
            return f"-m owner {no}--gid-owner {ids}"
        case model.PacketMark(marks):
            return f"-m mark {no}--mark {marks}"
        case model.ConnectionMark(marks):
            return f"-m connmark {no}--mark {marks}"
        case model.ConnectionState(states):
            return f"-m conntrack {no}--ctstate {','.join(sorted(states, key=_STATES.index))}"
        case model.TransparentSocket() if not match.negated:
            return "-m socket --transparent"
        case model.SourceIsLocal(local) | model.DestinationIsLocal(local):
            # The "!" stands after the module.
            return local.replace(" --", f" {no}--", 1)
        case model.ForeignMatch(unread):
            return f"{no}{unread}"
    raise RulesetError(f"iptables has no words for {type(match).__name__}: lower the rule first")


def _flags(flags: tuple[str, ...]) -> str:
    return ",".join(flags) or "NONE"


def _ports(ports: Ports, option: str, no: str, protocol: str) -> str:
    ranges = [f"{low}" if low == high else f"{low}:{high}" for low, high in ports.ranges]
    if len(ranges) == 1:
        return f"-m {protocol} {no}--{option} {ranges[0]}"
    return f"-m multiport {no}--{option}s {','.join(ranges)}"


def action(action: model.Action, family: Family) -> str:
    """Write a rule's target as the tool of a family does."""
    match action:
        case model.Continue():
            return ""
        case model.Accept():
            return "-j ACCEPT"
        case model.Drop():
            return "-j DROP"
        case model.Return():
            return "-j RETURN"
        case model.Jump(chain):
            return f"-j {chain}"
        case model.Goto(chain):
            return f"-g {chain}"
        case model.Redirect(port):
            return f"-j REDIRECT --to-ports {port}"
        case model.TProxy(port, mark):
            anywhere = "0.0.0.0" if family is Family.IP else "::"  # noqa: S104 - no socket binds it
            where = f"--on-port {port} --on-ip {anywhere}"
            return f"-j TPROXY {where} --tproxy-mark {_full(mark)}"
        case model.SetMark(mark):
            return f"-j MARK --set-xmark {_full(mark)}"
        case model.SaveMark():
            return f"-j CONNMARK --save-mark --nfmask {FULL_MASK:#x} --ctmask {FULL_MASK:#x}"
        case model.RestoreMark():
            return f"-j CONNMARK --restore-mark --nfmask {FULL_MASK:#x} --ctmask {FULL_MASK:#x}"
        case model.SetConnectionMark(mark, mask):
            return f"-j CONNMARK --set-xmark {mark:#x}/{mask:#x}"
        case model.TranslateDestination():
            return f"-j DNAT --to-destination {action.place}"
        case model.SetSource(address):
            return f"-j SNAT --to-source {address}"
        case model.SetZone(zone):
            return f"-j CT --zone {zone}"
        case model.Foreign(unread):
            return f"-j {unread}"
        case _:
            assert_never(action)


def _full(mark: int) -> str:
    return f"{mark:#x}/{FULL_MASK:#x}"
