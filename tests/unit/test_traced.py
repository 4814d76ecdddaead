"""Events of packets put together: what belongs to which, and when one is at its end."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import msgspec

from interceptor import model
from interceptor.analysis.decision import GONE, NO_RULE, Decision, Listing, decide
from interceptor.analysis.packet import Direct, Dropped, Redirected, Translated
from interceptor.analysis.traced import LONGEST_S, Event, Header, Kind, Way, Ways
from interceptor.dialect import OWN
from interceptor.names import ChainType, Family, Hook
from interceptor.render import nftables
from interceptor.render.words import rule_words
from interceptor.system.nft_header import read_header, read_packet
from tests.unit.common import rules

_TABLE = "interceptor-trace-7"
_APP = Header(ip_address("10.0.0.1"), 40000, ip_address("10.0.0.9"), 80)
_TAKEN = Header(_APP.source, 40000, ip_address("127.0.0.1"), 15001)


def event(chain: str, kind: Kind = Kind.RULE, **fields: object) -> Event:
    """Give an event of the tracer's own table, unless told otherwise."""
    plain = Event(
        at=1.0,
        generation=0,
        packet=1,
        family=Family.INET,
        table=_TABLE,
        chain=chain,
        kind=kind,
    )
    return msgspec.structs.replace(plain, **fields)


def begun(packet: int = 1, header: Header = _APP, at: float = 1.0) -> list[Event]:
    """A packet is sent, and is of a connection nobody has decided about."""
    return [
        event("begin-tcp-out", header=header, out_interface="eth0", packet=packet, at=at),
        event("known-out", Kind.LAST, packet=packet, at=at),
    ]


def met(chain: str, handle: int, verdict: str = "accept", packet: int = 1) -> Event:
    return event(chain, table="interceptor", handle=handle, verdict=verdict, packet=packet)


def left(packet: int = 1, header: Header = _APP, by: str = "eth0") -> Event:
    return event("end-out", Kind.LAST, header=header, out_interface=by, packet=packet)


def ways(events: list[Event]) -> list[Way]:
    made = Ways(_TABLE)
    return [way for one in events for way in made.add(one)]


def test_packets_at_once_are_kept_apart() -> None:
    other = msgspec.structs.replace(_APP, source_port=40001)
    events = [*begun(1), *begun(2, other), met("a", 4, packet=2), met("a", 3)]
    first, second = ways([*events, left(1), left(2, other)])
    assert (first.header, [one.handle for one in first.met]) == (_APP, [3])
    assert (second.header, [one.handle for one in second.met]) == (other, [4])
    assert not first.is_inbound
    assert first.protocol == "tcp"


def test_what_leaves_by_lo_is_told_when_it_is_in() -> None:
    inside = [
        event("begin-udp-in", Kind.LAST, packet=2, in_interface="lo", header=_TAKEN),
        event("begin-tcp-in", Kind.LAST, packet=2, in_interface="lo", header=_TAKEN),
        met("input", 9, "drop", packet=2),
    ]
    sent = [*begun(), met("out", 3), left(header=_TAKEN, by="lo")]
    assert not ways(sent)
    (way,) = ways([*sent, *inside])
    assert (way.header, way.last) == (_APP, _TAKEN)
    assert [one.handle for one in way.met] == [3, 9]


def test_what_is_known_what_others_trace_and_the_middle_of_a_way_are_left_out() -> None:
    made = Ways(_TABLE)
    again = begun()[:1]
    strange = [
        met("a", 3, packet=4),
        event("end-out", packet=4),
        event("begin-tcp-out", table="interceptor-trace-8", packet=5, header=_APP),
    ]
    assert not [way for one in [*again, *strange] for way in made.add(one)]
    assert made.due == 1.0 + LONGEST_S
    assert not list(made.overdue(5.0))
    assert made.due is None


def test_what_is_lost_between_hooks_is_told_in_time() -> None:
    made = Ways(_TABLE)
    for one in [*begun(), met("a", 3)]:
        assert not list(made.add(one))
    assert not list(made.overdue(1.0 + LONGEST_S / 2))
    (way,) = made.overdue(1.0 + LONGEST_S)
    assert way.is_lost
    assert [one.handle for one in way.met] == [3]


def test_after_a_loss_nothing_half_is_told() -> None:
    made = Ways(_TABLE)
    for one in begun():
        assert not list(made.add(one))
    assert made.forget() == 1
    assert not list(made.add(met("a", 3, "drop")))
    assert not list(made.overdue(9.0))


def test_a_number_that_is_used_again_is_another_packet() -> None:
    other = msgspec.structs.replace(_APP, source_port=40001)
    first, second = ways([*begun(), met("a", 3), *begun(1, other), met("b", 4), left()])
    assert [one.handle for one in first.met] == [3]
    assert (second.header, [one.handle for one in second.met]) == (other, [4])


def numbered(ruleset: model.Ruleset) -> model.Ruleset:
    """Give each rule of each table a number, from 1."""
    tables = []
    for table in ruleset.tables:
        number, chains = 0, []
        for chain in table.chains:
            listed = []
            for rule in chain.rules:
                number += 1
                listed.append(msgspec.structs.replace(rule, handle=number))
            chains.append(msgspec.structs.replace(chain, rules=tuple(listed)))
        tables.append(msgspec.structs.replace(table, chains=tuple(chains)))
    return model.Ruleset(tuple(tables))


_OURS = numbered(nftables.lower(rules(), OWN))


def handle(chain: str, number: int) -> int:
    table = _OURS.table(Family.INET, "interceptor")
    found = table.chain(chain) if table else None
    assert found
    return found.rules[number - 1].handle


def decided(*events: Event, last: Header = _APP, others: model.Table | None = None) -> Decision:
    """Decide about a packet that left after it met something."""
    tables = (*_OURS.tables, *((others,) if others else ()))
    listing = Listing(model.Ruleset(tables))
    (way,) = ways([*begun(), *events, left(header=last)])
    return decide(way, lambda _: listing, rule_words)


def test_the_why_is_that_of_the_rule_before_the_redirect() -> None:
    chain = "interceptor-out-redirect"
    decision = decided(
        met("nat-output", handle("nat-output", 1), "jump"),
        met("interceptor-outbound", handle("interceptor-outbound", 4), "goto"),
        met(chain, handle(chain, 1)),
        last=_TAKEN,
    )
    assert decision.fate == Redirected(15001)
    assert decision.why == "destinations that are captured"
    assert not decision.is_others
    assert [visit.hook for visit in decision.path] == [Hook.OUTPUT] * 3


def test_what_no_listing_tells_the_packet_does() -> None:
    """Rules are gone by the time they are looked up."""
    decision = decided(met("nat-output", 4711), last=_TAKEN)
    assert decision.fate == Translated(_TAKEN.destination, 15001)
    assert (decision.path[0].rule.text, decision.why) == (GONE, GONE)


def test_nothing_met_is_no_rule() -> None:
    decision = decided()
    assert (decision.fate, decision.why, decision.path) == (Direct(), NO_RULE, ())


_BASE = model.Base(ChainType.FILTER, Hook.OUTPUT, 0, "drop")
_THEIRS = model.Rule((model.Protocol("tcp"),), model.Drop(), "our firewall", handle=3)
_TABLE_OF_THEIRS = model.Table(
    Family.INET, "firewall", (model.Chain("output", (_THEIRS,), _BASE),)
)


def test_others_rules_and_policies_are_theirs() -> None:
    policy = event("output", Kind.POLICY, table="firewall", verdict="drop")
    rule = event("output", table="firewall", verdict="drop", handle=3)
    by_policy = decided(policy, others=_TABLE_OF_THEIRS)
    by_rule = decided(rule, others=_TABLE_OF_THEIRS)
    assert by_rule.fate == by_policy.fate == Dropped()
    assert by_rule.is_others
    assert by_policy.is_others
    assert by_rule.why.startswith("others' rule in inet firewall output: meta l4proto tcp drop")
    assert by_policy.why == "others' rule in inet firewall output: policy drop"


def test_one_rule_of_the_kernel_that_is_several_here() -> None:
    """A map of verdicts: it is told which was given, and not for which key."""
    jump, drop = model.Jump("a"), model.Drop()
    several = [model.Rule(action=action, handle=3) for action in (jump, drop, jump)]
    chain = model.Chain("output", tuple(several), _BASE)
    listing = Listing(model.Ruleset((model.Table(Family.INET, "firewall", (chain,)),)))
    asked = event("output", table="firewall", handle=3, verdict="drop")
    number, rule = listing.rule(asked) or (0, model.Rule())
    assert (number, rule.action) == (2, drop)


def test_ends_are_read_from_both_families() -> None:
    ports = struct.pack("!HH", 40000, 80)
    four = bytes([0x46, *bytes(11), 10, 0, 0, 1, 10, 0, 0, 9])
    assert read_header(four, ports) == _APP
    # With options between.
    assert read_packet(four + bytes(4) + ports) == _APP
    one, nine = ip_address("fd00::1").packed, ip_address("fd00::9").packed
    wanted = Header(ip_address("fd00::1"), 40000, ip_address("fd00::9"), 80)
    six = bytes([0x60, *bytes(5), 6, 64]) + one + nine
    assert read_header(six, ports) == read_packet(six + ports) == wanted
    extended = bytes([0x60, *bytes(5), 60, 64]) + one + nine + bytes([6, 0, *bytes(6)])
    assert read_packet(extended + ports) == wanted


def test_what_is_cut_off_has_no_ends() -> None:
    four = bytes([0x45, *bytes(19)])
    assert read_header(b"", b"") is read_header(four[:12], bytes(4)) is None
    assert read_header(four, bytes(3)) is read_header(bytes(20), bytes(4)) is None
    assert read_packet(b"") is read_packet(four) is read_packet(bytes([0x60, 1])) is None
