"""Random settings and random rules, all of them valid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import reject
from hypothesis import strategies as st

from interceptor.errors import ConfigError
from interceptor.model import (
    Accept,
    Action,
    Base,
    Chain,
    ConnectionState,
    Continue,
    Destination,
    DestinationPort,
    Drop,
    Gid,
    Goto,
    InInterface,
    Jump,
    Match,
    OutInterface,
    PacketMark,
    Protocol,
    Redirect,
    Return,
    Rule,
    Ruleset,
    Source,
    SourcePort,
    Table,
    Uid,
)
from interceptor.names import ChainType, Family, Hook
from interceptor.sheets.build import build
from interceptor.values import Ids, Interfaces, Mark, Marks, Networks, Ports
from tests.unit.common import FACTS, config

if TYPE_CHECKING:
    from interceptor.sheets.sheet import Sheet


def ranges(
    lowest: int, highest: int, most: int = 6
) -> st.SearchStrategy[tuple[tuple[int, int], ...]]:
    """Give ranges within bounds, as a user may write them: in any order, overlapping."""
    number = st.integers(lowest, highest)
    width = st.integers(0, 50)
    pair = st.tuples(number, width).map(lambda p: (p[0], min(p[0] + p[1], highest)))
    return st.lists(pair, max_size=most).map(tuple)


ports = ranges(1, 65535, 40).map(lambda pairs: Ports.of(*pairs))
ids = ranges(0, 2**32 - 2).map(lambda pairs: Ids.of(*pairs))
networks = st.lists(
    st.one_of(
        st.ip_addresses(v=4).map(lambda a: f"{a}/32"),
        st.tuples(st.integers(0, 255), st.integers(0, 255), st.integers(8, 16)).map(
            lambda t: f"{t[0]}.{t[1] if t[2] == 16 else 0}.0.0/{16 if t[2] == 16 else 8}"
        ),
        st.integers(0, 0xFFFF).map(lambda n: f"fd00:{n:x}::/32"),
        st.ip_addresses(v=6).map(lambda a: f"{a}/128"),
    ),
    max_size=6,
).map(lambda texts: Networks.parse(",".join(texts)))
interfaces = st.lists(
    st.sampled_from(["eth0", "eth1", "docker+", "veth+", "lo", "br-lan.7"]), max_size=3
).map(lambda names: Interfaces(tuple(sorted(set(names)))))


@st.composite
def marks(draw: st.DrawFn) -> Marks:
    """Give marks whose value lies within its mask."""
    made = []
    for _ in range(draw(st.integers(0, 3))):
        mask = draw(st.integers(1, 2**32 - 1))
        made.append(Mark(draw(st.integers(0, 2**32 - 1)) & mask, mask))
    return Marks(tuple(dict.fromkeys(made)))


port = st.integers(1, 65535)

settings = st.fixed_dictionaries(
    {},
    optional={
        "outbound_port": port.map(str),
        "inbound_port": port.map(str),
        "tunnel_port": port.map(str),
        "proxy_uid": ids.filter(bool).map(str),
        "proxy_gid": ids.map(str),
        "exempt_mark": marks().map(lambda m: ",".join(str(one) for one in m.marks if one.value)),
        "include_inbound_ports": st.one_of(st.just("*"), ports.map(str)),
        "exclude_inbound_ports": ports.map(str),
        "include_outbound_ports": ports.map(str),
        "exclude_outbound_ports": ports.map(str),
        "include_outbound_cidrs": st.one_of(
            st.just("*"), networks.map(str), st.just("127.0.0.0/8,10.0.0.0/8,::1")
        ),
        "exclude_outbound_cidrs": networks.map(str),
        "exclude_outbound_uids": ids.map(str),
        "exclude_interfaces": interfaces.map(str),
        "virtual_interfaces": interfaces.map(str),
        "include_outbound_owner_groups": st.one_of(st.just("*"), ids.map(str)),
        "exclude_outbound_owner_groups": ids.map(str),
        "mode": st.sampled_from(["redirect", "tproxy", "none"]),
        "capture_dns": st.sampled_from(["off", "resolv-conf", "all"]),
        "dns_port": port.map(str),
        "drop_invalid": st.sampled_from(["true", "false"]),
        "tproxy_mark": st.integers(1, 2**32 - 1).map(str),
        "tproxy_route_table": st.integers(1, 252).map(str),
        "ip_families": st.sampled_from(["ipv4", "ipv6", "dual"]),
        "loopback_cidr": st.sampled_from(["127.0.0.1/32", "127.0.0.0/8", "127.0.0.0/24"]),
    },
)
"""Settings as text; every one of them may be left out."""


def rules(sheet: Sheet, chosen: dict[str, str]) -> Ruleset:
    """Build what settings mean; those that contradict one another are no example."""
    try:
        return build(sheet, config(**chosen), FACTS)
    except ConfigError as error:
        if any(refusal.why in error.message for refusal in sheet.refuse):
            reject()
        raise


_why = st.text(
    st.characters(codec="ascii", min_codepoint=32, max_codepoint=126, exclude_characters='"'),
    max_size=60,
).map(str.strip)


def _single(kind: type[Ports | Ids], highest: int) -> st.SearchStrategy[Ports | Ids]:
    """Give a set of one range."""
    pairs = st.tuples(st.integers(0, highest), st.integers(0, highest))
    return pairs.map(lambda pair: kind(((min(pair), max(pair)),)))


def _maybe(kind: Any, values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Match]]:
    """Give no match of a kind, or one, negated or not."""
    made = st.builds(lambda value, no: [kind(value, negated=no)], values, st.booleans())
    return st.one_of(st.just([]), made)


@st.composite
def lowered_rules(draw: st.DrawFn, targets: tuple[str, ...], family: Family) -> Rule:
    """Give a rule of one element a match, as iptables holds it."""
    matches: list[Match] = []
    protocol = draw(st.sampled_from([None, "tcp", "udp"]))
    if protocol:
        matches.append(Protocol(protocol))
        matches += draw(_maybe(SourcePort, _single(Ports, 65535)))
        matches += draw(_maybe(DestinationPort, _single(Ports, 65535)))
    address = st.ip_addresses(v=4 if family is Family.IP else 6).map(
        lambda a: Networks.parse(str(a))
    )
    name = st.sampled_from(["eth0", "veth+", "lo"]).map(lambda n: Interfaces((n,)))
    mark = st.builds(Mark, st.integers(0, 255), st.sampled_from([255, 2**32 - 1]))
    states = st.sets(st.sampled_from(["ESTABLISHED", "NEW", "RELATED"]), min_size=1)
    for kind, values in (
        (Source, address),
        (Destination, address),
        (InInterface, name),
        (OutInterface, name),
        (Uid, _single(Ids, 2**32 - 2)),
        (Gid, _single(Ids, 2**32 - 2)),
        (PacketMark, mark.map(lambda m: Marks((m,)))),
        (ConnectionState, states.map(lambda s: tuple(sorted(s)))),
    ):
        matches += draw(_maybe(kind, values))
    actions: list[st.SearchStrategy[Action]] = [
        st.sampled_from([Accept(), Drop(), Return(), Continue()])
    ]
    if targets:
        actions.append(
            st.sampled_from(targets).flatmap(lambda t: st.sampled_from([Jump(t), Goto(t)]))
        )
    if protocol:
        actions.append(port.map(Redirect))
    return Rule(tuple(matches), draw(st.one_of(*actions)), draw(_why))


@st.composite
def lowered_rulesets(draw: st.DrawFn) -> Ruleset:
    """Give one nat table of chains that only call chains after them."""
    family = draw(st.sampled_from([Family.IP, Family.IP6]))
    count = draw(st.integers(0, 4))
    names = tuple(f"CHAIN_{n}" for n in range(count))
    chains = [
        Chain(name, tuple(draw(st.lists(lowered_rules(names[n + 1 :], family), max_size=5))))
        for n, name in enumerate(names)
    ]
    output = tuple(draw(st.lists(lowered_rules(names, family), max_size=5)))
    base = Base(ChainType.NAT, Hook.OUTPUT, -100)
    return Ruleset((Table(family, "nat", (Chain("OUTPUT", output, base), *chains)),))
