"""nftables script text, and the nft names and shapes that lie behind it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, assert_never

from interceptor import model
from interceptor.errors import RulesetError
from interceptor.names import FAMILY_NAMES, Family
from interceptor.values import FULL_MASK, Marks, Networks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from ipaddress import IPv4Address, IPv6Address

    from interceptor.dialect import Dialect
    from interceptor.values import Ids, Interfaces, Ports


LANGUAGE = "nftables"
"""What a rule that is for nftables alone has in ``only``."""


def lower(ruleset: model.Ruleset, dialect: Dialect) -> model.Ruleset:
    """Give the tables as nft holds them: family inet, nft names, one family an address match.

    A table of a single family becomes one of both whose base chains look at that family alone:
    a change of families then replaces rules in one table and never leaves a second behind. That is
    asked in each rule, or once before them all. A verbatim dialect has no such guard.
    """
    tables: dict[str, list[model.Chain]] = {}
    for table in ruleset.tables:
        names = {
            chain.name: dialect.nft_chain(table.name, chain.name, base=chain.base is not None)
            for chain in table.chains
        }
        chains = tables.setdefault(dialect.nft_tables[table.name], [])
        for chain in table.chains:
            single = (
                chain.base is not None and table.family is not Family.INET and not dialect.verbatim
            )
            guarded = single and not dialect.other_family_returns
            rules = tuple(
                r
                for rule in chain.rules
                if rule.only in ("", LANGUAGE)
                for r in _lower_rule(
                    model.verbatim(rule) if dialect.verbatim else rule,
                    table.family,
                    names,
                    guarded=guarded,
                )
            )
            first = (_other_returns(table.family),) if rules and single and not guarded else ()
            chains.append(model.Chain(names[chain.name], (*first, *rules), chain.base))
    for name, held in tables.items():
        if twice := [chain for chain, n in Counter(c.name for c in held).items() if n > 1]:
            raise RulesetError(
                f"two iptables tables have a chain that is {twice[0]} in nft table {name}",
                hint="call them differently: they share the table",
            )
    lowered = [model.Table(Family.INET, name, model.without_idle(c)) for name, c in tables.items()]
    return model.Ruleset(tuple(table for table in lowered if table.chains))


def _other_returns(of: Family) -> model.Rule:
    """Give the rule that lets everything of the other family go."""
    other = Family.IP if of is Family.IP6 else Family.IP6
    why = f"{FAMILY_NAMES[of]} alone is intercepted"
    return model.Rule((model.FamilyIs(other),), model.Return(), why)


def _lower_rule(
    rule: model.Rule, of: Family, names: dict[str, str], *, guarded: bool
) -> Iterator[model.Rule]:
    action = rule.action
    match action:
        case model.Jump(target):
            action = model.Jump(names[target])
        case model.Goto(target):
            action = model.Goto(names[target])
    if not guarded and not any(map(_is_of_family, rule.matches)):
        for matches in _one_mark(rule.matches):
            yield model.Rule(matches, action, rule.why)
        return
    for family in of.members:
        held = [_in_family(match, family) for match in rule.matches]
        if None in held:
            continue
        matches = tuple(m for several in held if several is not None for m in several)
        # Whoever has an address in a network is of its family; whoever has none may be of either.
        if not any(_is_address(m) and not m.negated for m in matches):
            matches = (model.FamilyIs(family), *matches)
        for single in _one_mark(matches):
            yield model.Rule(single, action, rule.why)


def _is_of_family(match: model.Match) -> bool:
    return isinstance(match, model.FamilyIs) or _is_address(match)


def _is_address(match: model.Match) -> bool:
    return isinstance(match, model.Source | model.Destination)


def _in_family(match: model.Match, family: Family) -> tuple[model.Match, ...] | None:
    """Give what is left of a match in one family; ``None`` if it can never hold there."""
    if isinstance(match, model.FamilyIs):
        return () if (match.family is family) != match.negated else None
    if not isinstance(match, model.Source | model.Destination):
        return (match,)
    if match.networks.covers(family):
        return None if match.negated else ()
    only = match.networks.only(family)
    if not only:
        return () if match.negated else None
    return (type(match)(only, negated=match.negated),)


def _one_mark(matches: tuple[model.Match, ...]) -> Iterator[tuple[model.Match, ...]]:
    """Marks with masks of their own cannot share a set: one rule each."""
    for at, match in enumerate(matches):
        if not isinstance(match, model.PacketMark | model.ConnectionMark):
            continue
        if len(match.marks.marks) > 1:
            singles = [type(match)(Marks((m,)), negated=match.negated) for m in match.marks.marks]
            alternatives = [tuple(singles)] if match.negated else [(s,) for s in singles]
            for chosen in alternatives:
                yield from _one_mark((*matches[:at], *chosen, *matches[at + 1 :]))
            return
    yield matches


def text(lowered: model.Ruleset) -> str:
    """Write lowered tables as a script that ``nft -f`` adds to what is there."""
    return "".join(table_text(table) for table in lowered.tables)


def table_text(table: model.Table) -> str:
    """Write one table with its chains.

    Sets stay within their rule: the kernel keeps them apart and looks them up as it does named
    ones, and a rule and its sets come and go as one.
    """
    chains: list[str] = []
    for chain in table.chains:
        lines = [f"\tchain {chain.name} {{"]
        if chain.base:
            lines.append(f"\t\t{base_text(chain.base)}")
        lines += [f"\t\t{words(rule)}" for rule in chain.rules]
        chains.append("\n".join([*lines, "\t}\n"]))
    return f"table {table.family} {table.name} {{\n" + "\n".join(chains) + "}\n"


def base_text(base: model.Base) -> str:
    """Write what ties a chain to its hook."""
    return f"type {base.type} hook {base.hook} priority {base.priority}; policy {base.policy};"


def words(rule: model.Rule) -> str:
    """Write one lowered rule."""
    protocols = [
        m.protocol for m in rule.matches if isinstance(m, model.Protocol) and not m.negated
    ]
    has_ports = any(isinstance(m, model.SourcePort | model.DestinationPort) for m in rule.matches)
    has_address = any(map(_is_address, rule.matches))
    parts = [
        _match(match, protocols[0] if protocols else "")
        for match in rule.matches
        # "tcp dport 22" says tcp already, and "ip daddr != 10.0.0.1" says ipv4.
        if not (isinstance(match, model.Protocol) and not match.negated and has_ports)
        and not (isinstance(match, model.FamilyIs) and not match.negated and has_address)
    ]
    if isinstance(rule.action, model.TProxy):
        # A mark is set between the hand-over and its end; who lists it finds the counter there.
        parts += [_handover(rule.action, rule.matches), "counter", "accept"]
    else:
        parts += ["counter", _action(rule.action)]
    if rule.why:
        parts.append(f'comment "{rule.why}"')
    return " ".join(part for part in parts if part)


def _match(match: model.Match, protocol: str) -> str:
    no = "!= " if match.negated else ""
    match match:
        case model.FamilyIs(family):
            return f"meta nfproto {no}{'ipv4' if family is Family.IP else 'ipv6'}"
        case model.InInterface(interfaces):
            return f"iifname {no}{_interfaces(interfaces)}"
        case model.OutInterface(interfaces):
            return f"oifname {no}{_interfaces(interfaces)}"
        case model.Source(networks):
            return _address(networks, "saddr", no)
        case model.Destination(networks):
            return _address(networks, "daddr", no)
        case model.Protocol(name):
            return f"meta l4proto {no}{name}"
        case model.SourcePort(ports):
            return f"{protocol} sport {no}{_numbers(ports)}"
        case model.DestinationPort(ports):
            return f"{protocol} dport {no}{_numbers(ports)}"
        case model.TcpFlags(mask, flags):
            of = " | ".join(mask).lower()
            return f"tcp flags & ({of}) {no or '== '}{' | '.join(flags).lower() or '0x0'}"
        case model.Uid(ids):
            return f"meta skuid {no}{_numbers(ids)}"
        case model.Gid(ids):
            return f"meta skgid {no}{_numbers(ids)}"
        case model.PacketMark(Marks((mark,))):
            masked = "" if mark.mask == FULL_MASK else f"and {mark.mask:#x} "
            return f"meta mark {masked}{no or '== '}{mark.value:#x}"
        case model.ConnectionMark(Marks((mark,))):
            masked = "" if mark.mask == FULL_MASK else f"and {mark.mask:#x} "
            return f"ct mark {masked}{no or '== '}{mark.value:#x}"
        case model.TransparentSocket() if not match.negated:
            # iptables leaves sockets that listen on every address out by itself.
            return "socket transparent 1 socket wildcard 0"
        case model.ConnectionState(states):
            named = [state.lower() for state in states]
            # Joined by commas they are one mask; "is none of" needs a set.
            return f"ct state {no}{_set(named)}" if no else f"ct state {','.join(named)}"
    raise RulesetError(f"nft has no words for {type(match).__name__}")


def _interfaces(interfaces: Interfaces) -> str:
    # nft's wildcard is *, iptables' is +.
    return _set([f'"{n[:-1]}*"' if n.endswith("+") else f'"{n}"' for n in interfaces.names])


def _address(networks: Networks, field: str, no: str) -> str:
    part = networks.ip or networks.ip6
    members = [str(n.network_address) if n.prefixlen == n.max_prefixlen else str(n) for n in part]
    return f"{'ip' if networks.ip else 'ip6'} {field} {no}{_set(members)}"


def _numbers(numbers: Ports | Ids) -> str:
    return _set([f"{low}" if low == high else f"{low}-{high}" for low, high in numbers.ranges])


def _set(members: list[str]) -> str:
    return members[0] if len(members) == 1 else "{ " + ", ".join(members) + " }"


def _handover(action: model.TProxy, matches: tuple[model.Match, ...]) -> str:
    """Write the hand-over to a transparent listener, for the family the rule is of."""
    families = [
        match.family if isinstance(match, model.FamilyIs) else _family_of(match.networks)
        for match in matches
        if isinstance(match, model.FamilyIs | model.Source | model.Destination)
    ]
    of = {Family.IP: "ip ", Family.IP6: "ip6 "}[families[0]] if families else ""
    return f"tproxy {of}to :{action.port} meta mark set {action.mark:#x}"


def _family_word(address: IPv4Address | IPv6Address | None) -> str:
    """Say in a table of both families of which an address is."""
    return f"{'ip' if address.version == 4 else 'ip6'} " if address else ""  # noqa: PLR2004


def _family_of(networks: Networks) -> Family:
    return Family.IP if networks.ip else Family.IP6


def _action(action: model.Action) -> str:
    match action:
        case model.Continue():
            return ""
        case model.Accept():
            return "accept"
        case model.Drop():
            return "drop"
        case model.Return():
            return "return"
        case model.Jump(chain):
            return f"jump {chain}"
        case model.Goto(chain):
            return f"goto {chain}"
        case model.Redirect(port):
            return f"redirect to :{port}"
        case model.SetMark(mark):
            return f"meta mark set {mark:#x}"
        case model.SaveMark():
            return "ct mark set meta mark"
        case model.RestoreMark():
            return "meta mark set ct mark"
        case model.SetConnectionMark(mark, mask) if mask == FULL_MASK:
            return f"ct mark set {mark:#x}"
        case model.SetConnectionMark(mark, mask):
            return f"ct mark set ct mark & {FULL_MASK & ~mask:#x} ^ {mark:#x}"
        case model.TranslateDestination():
            return f"dnat {_family_word(action.address)}to {action.place}"
        case model.SetSource(address):
            return f"snat {_family_word(address)}to {address}"
        case model.SetZone(zone):
            return f"ct zone set {zone}"
        case model.TProxy(port, mark):
            return f"tproxy to :{port} meta mark set {mark:#x} accept"
        case model.Foreign(unread):
            raise RulesetError(f"nft has no words for the action {unread!r}")
        case _:
            assert_never(action)
