"""What holds for any settings and any rules."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from interceptor.analysis.packet import Packet
from interceptor.analysis.walk import walk
from interceptor.backends.fake import FakeBackend
from interceptor.backends.interface import Wanted
from interceptor.dialect import OURS, OWN
from interceptor.errors import InterceptorError, ParseError
from interceptor.model import Rule, Ruleset, Table
from interceptor.names import Family, Hook
from interceptor.operations.transaction import Change, apply
from interceptor.parse import iptables_save, nft_json
from interceptor.parse.words import WordReader, tokenize
from interceptor.render import iptables, nftables
from interceptor.sheets.loader import load
from interceptor.system.deadline import Deadline
from interceptor.values import Ids, Networks, Ports
from tests.properties import strategies

if TYPE_CHECKING:
    from interceptor.backends.step import Step

_SHEET = load("sidecar")


def rules(given_settings: dict[str, str]) -> Ruleset:
    return strategies.rules(_SHEET, given_settings)


@given(strategies.ports, strategies.ports, st.integers(1, 65535))
def test_ports_are_sets(one: Ports, other: Ports, port: int) -> None:
    assert (port in one + other) == (port in one or port in other)
    assert (port in one - other) == (port in one and port not in other)
    assert Ports.parse(str(one)) == one


@given(strategies.ids, strategies.ids)
def test_ids_taken_away_and_added_again(one: Ids, other: Ids) -> None:
    assert (one - other) + other == one + other


@given(strategies.networks, strategies.networks)
def test_networks_join(one: Networks, other: Networks) -> None:
    assert Networks.parse(str(one)) == one
    assert one + other == other + one
    assert (one + other) + one == one + other


@given(strategies.lowered_rulesets())
def test_any_rules_are_read_back_as_they_were_written(ruleset: Ruleset) -> None:
    ruleset.validate()
    family = ruleset.tables[0].family
    text = iptables.text(ruleset)
    assert iptables_save.parse(text, family) == ruleset
    assert iptables.text(iptables_save.parse(text, family)) == text


@given(strategies.settings)
def test_any_settings_make_rules_that_close_and_come_back(chosen: dict[str, str]) -> None:
    ruleset = rules(chosen)
    ruleset.validate()
    for family in (Family.IP, Family.IP6):
        lowered = iptables.lower(ruleset, family)
        lowered.validate()
        assert iptables_save.parse(iptables.text(lowered), family) == lowered
    nftables.lower(ruleset, OWN).validate()


@given(strategies.settings)
def test_the_same_inputs_give_the_same_bytes(chosen: dict[str, str]) -> None:
    texts = {nftables.text(nftables.lower(rules(chosen), OWN)) for _ in range(2)}
    assert len(texts) == 1


@given(strategies.settings, strategies.settings)
def test_from_any_settings_to_any_others_and_away(
    first: dict[str, str], second: dict[str, str]
) -> None:
    """In memory, by the text of each step, with somebody else's rules in between."""
    backend = FakeBackend(OURS)
    foreign = {
        "PREROUTING": ["-i x -j ACCEPT"],
        "OUTPUT": [],
        "THEIRS": ["-m frob --nicate -j ACCEPT"],
    }
    backend.tables[Family.IP, "nat"] = {chain: [*lines] for chain, lines in foreign.items()}
    before = backend.dump(Family.IP)
    for target in (
        backend.target(rules(first), OWN),
        backend.target(rules(second), OWN),
        Ruleset(),
    ):
        _settle(backend, target)
        assert not backend.findings(target, backend.observe(Deadline(9)))
        assert not _settle(backend, target)
    assert backend.dump(Family.IP) == before


@given(strategies.settings, strategies.settings, st.integers(0, 3))
def test_a_failure_anywhere_changes_nothing(
    first: dict[str, str], second: dict[str, str], fail_at: int
) -> None:
    backend = FakeBackend(OURS)
    _settle(backend, backend.target(rules(first), OWN))
    before = [backend.dump(family) for family in (Family.IP, Family.IP6)]
    backend.fail_at = backend.applied + fail_at
    try:
        _settle(backend, backend.target(rules(second), OWN))
    except InterceptorError:
        assert [backend.dump(family) for family in (Family.IP, Family.IP6)] == before


def _settle(backend: FakeBackend, target: Ruleset) -> tuple[Step, ...]:
    deadline = Deadline(9)
    [steps] = apply([Change(backend, Wanted(target), backend.observe(deadline))], deadline)
    return steps


_ADDRESSES = [
    *("10.1.0.1", "127.0.0.1", "127.0.0.6", "127.1.2.3", "203.0.113.1", "10.0.0.1"),
    *("fd01::1", "::1", "::6", "2001:db8::1"),
]


@st.composite
def _packets(draw: st.DrawFn) -> Packet:
    source, destination = (ip_address(draw(st.sampled_from(_ADDRESSES))) for _ in range(2))
    assume(source.version == destination.version)
    return Packet(
        protocol=draw(st.sampled_from(["tcp", "udp"])),
        source=source,
        destination=destination,
        destination_port=draw(st.one_of(st.integers(1, 65535), st.sampled_from([22, 15008]))),
        uid=draw(st.one_of(st.sampled_from([0, 1000, 1337]), st.integers(0, 2**32 - 2))),
        gid=draw(st.one_of(st.sampled_from([0, 1000, 1337]), st.integers(0, 2**32 - 2))),
        mark=draw(st.integers(0, 2**32 - 1)),
        in_interface=draw(st.sampled_from(["eth0", "eth1", "docker7", "lo"])),
        out_interface=draw(st.sampled_from(["eth0", "eth1", "docker7", "lo"])),
    )


_PROXY_TO_LOCALHOST = Packet(
    protocol="tcp",
    source=ip_address("127.0.0.1"),
    destination=ip_address("127.0.0.1"),
    destination_port=80,
    uid=0,
    gid=1337,
    out_interface="lo",
)
"""Negated addresses of both families, one rule each in nft: neither is for the other's packets."""


@given(strategies.settings, _packets(), st.sampled_from([Hook.PREROUTING, Hook.OUTPUT]))
@settings(max_examples=300)
@example({}, _PROXY_TO_LOCALHOST, Hook.OUTPUT)
def test_lowering_changes_no_packets_fate(
    chosen: dict[str, str], packet: Packet, hook: Hook
) -> None:
    """The rules as policy, as iptables for the packet's family and as nftables mean the same."""
    ruleset = rules(chosen)
    fates = {
        walk(ruleset, hook, packet).fate,
        walk(iptables.lower(ruleset, packet.family), hook, packet).fate,
        walk(nftables.lower(ruleset, OWN), hook, packet).fate,
    }
    assert len(fates) == 1


@given(st.text(max_size=300))
def test_no_text_crashes_the_readers(text: str) -> None:
    with suppress(ParseError):
        iptables_save.parse(text, Family.IP)
    with suppress(ParseError):
        nft_json.parse(text)


@given(st.lists(st.sampled_from([
    "-p", "tcp", "-m", "multiport", "--dports", "!", "1:2", "-j", "-g", "X", "ACCEPT", "REDIRECT",
    "--to-ports", "owner", "--uid-owner", "7", "-s", "10.0.0.0/8", "--comment", "comment", "-i",
]), max_size=12))  # fmt: skip
def test_no_words_crash_the_word_reader(words: list[str]) -> None:
    try:
        rule = WordReader(tokenize(" ".join(words)), {"X"}).read()
    except ValueError:
        return
    assert isinstance(rule, Rule)


@given(strategies.lowered_rulesets(), st.integers(0, 400))
def test_a_truncated_dump_is_an_error_or_whole(ruleset: Ruleset, at: int) -> None:
    text = iptables.text(ruleset)
    family = ruleset.tables[0].family
    try:
        read = iptables_save.parse(text[:at], family)
    except ParseError:
        return
    assert read in (ruleset, Ruleset(), Ruleset((Table(family, "nat", ()),)))
