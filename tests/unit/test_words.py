"""Rules in iptables' words: what is read, what is kept unread, what a dump may look like."""

from __future__ import annotations

import re

import pytest

from interceptor.errors import ParseError
from interceptor.model import (
    Accept,
    ConnectionState,
    Continue,
    Destination,
    DestinationIsLocal,
    DestinationPort,
    Drop,
    Gid,
    Goto,
    InInterface,
    Jump,
    OutInterface,
    PacketMark,
    Protocol,
    Redirect,
    Return,
    Rule,
    Source,
    SourceIsLocal,
    SourcePort,
    TransparentSocket,
    Uid,
    Unreadable,
    UnreadableAction,
)
from interceptor.names import Family
from interceptor.parse.iptables_save import parse
from interceptor.parse.words import WordReader, read_literal, tokenize
from interceptor.render.iptables import words
from interceptor.values import Ids, Interfaces, Mark, Marks, Networks, Ports

_TCP = Protocol("tcp")

_READ = [
    ("-j ACCEPT", Rule((), Accept())),
    ("-j DROP", Rule((), Drop())),
    ("-j RETURN", Rule((), Return())),
    ("-j THEIRS", Rule((), Jump("THEIRS"))),
    ("-g THEIRS", Rule((), Goto("THEIRS"))),
    ("-p tcp", Rule((_TCP,), Continue())),
    ("! -p udp -j DROP", Rule((Protocol("udp", negated=True),), Drop())),
    ("-p ipv6-icmp -j DROP", Rule((Protocol("ipv6-icmp"),), Drop())),
    ("-s 10.0.0.0/8 -j DROP", Rule((Source(Networks.parse("10.0.0.0/8")),), Drop())),
    (
        "! -d fd00::1/128 -j DROP",
        Rule((Destination(Networks.parse("fd00::1"), negated=True),), Drop()),
    ),
    ("-i eth0 -j DROP", Rule((InInterface(Interfaces(("eth0",))),), Drop())),
    ("! -o veth+ -j DROP", Rule((OutInterface(Interfaces(("veth+",)), negated=True),), Drop())),
    ("-p tcp -m tcp --dport 22 -j DROP", Rule((_TCP, DestinationPort(Ports.of(22))), Drop())),
    (
        "-p udp -m udp --sport 1024:65535 -j DROP",
        Rule((Protocol("udp"), SourcePort(Ports.of((1024, 65535)))), Drop()),
    ),
    (
        "-p tcp -m tcp ! --dport 0:1023 -j DROP",
        Rule((_TCP, DestinationPort(Ports.of((0, 1023)), negated=True)), Drop()),
    ),
    (
        "-p tcp -m multiport --dports 22,80:90 -j DROP",
        Rule((_TCP, DestinationPort(Ports.of(22, (80, 90)))), Drop()),
    ),
    ("-m owner --uid-owner 1337 -j DROP", Rule((Uid(Ids.of(1337)),), Drop())),
    (
        "-m owner ! --uid-owner 1-9 -m owner --gid-owner 5 -j DROP",
        Rule((Uid(Ids.of((1, 9)), negated=True), Gid(Ids.of(5))), Drop()),
    ),
    ("-m mark --mark 0x5/0xff -j DROP", Rule((PacketMark(Marks((Mark(5, 255),))),), Drop())),
    (
        "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        Rule((ConnectionState(("ESTABLISHED", "RELATED")),), Accept()),
    ),
    (
        '-m comment --comment "say \\"hi\\" \\\\ there" -j DROP',
        Rule((), Drop(), 'say "hi" \\ there'),
    ),
    ("-p tcp -j REDIRECT --to-ports 15001", Rule((_TCP,), Redirect(15001))),
]

_KEPT = [
    ("-p tcp -j REDIRECT", (_TCP,), UnreadableAction("REDIRECT")),
    (
        "-p tcp -j REDIRECT --to-ports 1-5",
        (_TCP,),
        UnreadableAction("REDIRECT --to-ports 1-5"),
    ),
    (
        "-m set ! --match-set x src -m mark --mark 0x1 -j DROP",
        (Unreadable("-m set ! --match-set x src"), PacketMark(Marks((Mark(1),)))),
        Drop(),
    ),
    (
        "-p tcp -m tcp --tcp-option 3 -j DROP",
        (_TCP, Unreadable("-m tcp --tcp-option 3")),
        Drop(),
    ),
    (
        "-p tcp -m tcp ! --tcp-option 3 -j DROP",
        (_TCP, Unreadable("-m tcp ! --tcp-option 3")),
        Drop(),
    ),
    ("-f -j DROP", (Unreadable("-f"),), Drop()),
    ("! -f -j DROP", (Unreadable("-f", negated=True),), Drop()),
    (
        "-s 10.0.0.0/255.0.255.0 -j DROP",
        (Unreadable("-s 10.0.0.0/255.0.255.0"),),
        Drop(),
    ),
    (
        "-m owner --socket-exists -j DROP",
        (Uid(Ids.everything()),),
        Drop(),
    ),
    (
        "-p tcp -m owner --gid-owner 5 --suppl-groups -j DROP",
        (_TCP, Unreadable("-m owner --gid-owner 5 --suppl-groups")),
        Drop(),
    ),
    ("-m socket -j DROP", (Unreadable("-m socket"),), Drop()),
    ("-m socket --transparent -j DROP", (TransparentSocket(),), Drop()),
    (
        "-m socket --transparent --nowildcard -j DROP",
        (Unreadable("-m socket --transparent --nowildcard"),),
        Drop(),
    ),
    (
        "-m addrtype --dst-type LOCAL -j THEIRS",
        (DestinationIsLocal("-m addrtype --dst-type LOCAL"),),
        Jump("THEIRS"),
    ),
    (
        "-m addrtype --src-type LOCAL ! --dst-type LOCAL -j DROP",
        (
            SourceIsLocal("-m addrtype --src-type LOCAL"),
            DestinationIsLocal("-m addrtype --dst-type LOCAL", negated=True),
        ),
        Drop(),
    ),
    (
        "-m addrtype ! --src-type LOCAL --limit-iface-out -m addrtype --src-type LOCAL -j DROP",
        (
            Unreadable("-m addrtype ! --src-type LOCAL --limit-iface-out"),
            SourceIsLocal("-m addrtype --src-type LOCAL"),
        ),
        Drop(),
    ),
    (
        "-m addrtype --dst-type LOCAL,BROADCAST -j DROP",
        (Unreadable("-m addrtype --dst-type LOCAL,BROADCAST"),),
        Drop(),
    ),
    (
        "-m iprange ! --src-range 10.2.0.0-10.2.255.255 -j DROP",
        (Source(Networks.parse("10.2.0.0/16"), negated=True),),
        Drop(),
    ),
    (
        "-m iprange --dst-range 10.2.0.0-10.2.0.9 -j DROP",
        (Unreadable("-m iprange --dst-range 10.2.0.0-10.2.0.9"),),
        Drop(),
    ),
    (
        "-d 10.0.0.0/8 -m iprange --dst-range 10.2.0.0-10.2.0.255 -j DROP",
        (
            Destination(Networks.parse("10.0.0.0/8")),
            Unreadable("-m iprange --dst-range 10.2.0.0-10.2.0.255"),
        ),
        Drop(),
    ),
    (
        "-m conntrack --ctstate NEW --ctdir ORIGINAL -j DROP",
        (ConnectionState(("NEW",)), Unreadable("-m conntrack --ctdir ORIGINAL")),
        Drop(),
    ),
    (
        "-m conntrack --ctstate OLD -j DROP",
        (Unreadable("-m conntrack --ctstate OLD"),),
        Drop(),
    ),
    (
        "-p udp -m statistic --mode random --probability 0.5 -j THEIRS",
        (Protocol("udp"), Unreadable("-m statistic --mode random --probability 0.5")),
        Jump("THEIRS"),
    ),
    (
        "-m statistic --mode nth --every 2 --packet 0 ! -i lo -p tcp -j THEIRS",
        (
            Unreadable("-m statistic --mode nth --every 2 --packet 0"),
            InInterface(Interfaces(("lo",)), negated=True),
            _TCP,
        ),
        Jump("THEIRS"),
    ),
    (
        '-m string --string "-j ACCEPT" --algo bm -m string ! --string "-m" --algo bm -j DROP',
        (
            Unreadable('-m string --string "-j ACCEPT" --algo bm'),
            Unreadable('-m string ! --string "-m" --algo bm'),
        ),
        Drop(),
    ),
    ("-m frob --name -p tcp -j DROP", (Unreadable("-m frob --name -p tcp"),), Drop()),
    ("-i eth0,eth1 -j DROP", (Unreadable("-i eth0,eth1"),), Drop()),
    ("-j THEIRS -p tcp", (_TCP,), Jump("THEIRS")),
    ("-c 3 180 -p tcp -j DROP", (_TCP,), Drop()),
]


@pytest.mark.parametrize(("line", "rule"), _READ, ids=[line for line, _ in _READ])
def test_it_is_read_and_written_back(line: str, rule: Rule) -> None:
    read = WordReader(tokenize(line), {"THEIRS"}).read(line)
    assert read == rule
    assert words(read) == line


@pytest.mark.parametrize(("line", "matches", "action"), _KEPT, ids=[row[0] for row in _KEPT])
def test_what_is_unknown_is_kept_as_it_is(line: str, matches: tuple, action: object) -> None:  # type: ignore[type-arg]
    read = WordReader(tokenize(line), {"THEIRS"}).read(line)
    assert read.matches == matches
    assert read.action == action


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("-m addrtype --dst-type LOCAL -j DROP", "'-m addrtype' is no match known here"),
        ("-m iprange --src-range 10.0.0.0-10.0.0.255", "'-m iprange' is no match known here"),
        ("-m owner --gid-owner 5 --suppl-groups", "'--suppl-groups' is no match known here"),
        ("-c 1 2 -j DROP", "'-c' is no match known here"),
        ("-j LOG", "'LOG' is neither a chain here nor an action"),
        ("-j REJECT", "'REJECT' is neither a chain here nor an action"),
        ("-j CT --notrack", "'CT --notrack' is neither a chain here nor an action"),
        ("-j DNAT --random", "is neither a chain here nor an action"),
        ("-j SNAT --to-source 10.0.0.1-10.0.0.9", "does not appear to be an IPv4 or IPv6"),
        ("-j MARK --or-mark 4", "is neither a chain here nor an action"),
        ("-j MARK --set-mark 4/4", "'4/4' does not set all bits of a mark"),
        ("-j ACCEPT -p tcp", "'ACCEPT -p tcp' is neither a chain here nor an action"),
    ],
)
def test_a_sheet_has_no_words_of_others(line: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        WordReader(tokenize(line), {"THEIRS"}, read_literal, strict=True).read()
    _, _, known = str(caught.value).partition("known are ")
    assert not {"addrtype", "iprange", "LOG", "--or-mark"} & set(re.split("[ ,]+", known))


@pytest.mark.parametrize("line", ["! -m owner --uid-owner 1", "! -j DROP", "-j DROP -j ACCEPT"])
@pytest.mark.parametrize("strict", [True, False])
def test_what_no_tool_takes_is_refused(line: str, strict: bool) -> None:
    with pytest.raises(ValueError, match=r"stands before|two targets|neither"):
        WordReader(tokenize(line), (), strict=strict).read()


def test_the_order_of_matches_means_nothing() -> None:
    one = WordReader(tokenize("-p tcp -m tcp --dport 1 -o lo -j DROP"), ()).read()
    other = WordReader(tokenize("-o lo -p tcp -m tcp --dport 1 -j DROP"), ()).read()
    assert one == other
    assert hash(one) == hash(other)


_DUMP = """\
# Generated by iptables-save v1.8.9 on Mon Jan  1 00:00:00 2024
*raw
:PREROUTING ACCEPT [0:0]
COMMIT
*filter
:INPUT DROP [1:2]
:FORWARD ACCEPT [0:0]
:DOCKER-USER - [0:0]
[12:345] -A INPUT -i lo -j ACCEPT
-A FORWARD -j DOCKER-USER
-A DOCKER-USER -j RETURN
COMMIT
# Completed
"""


def test_a_dump_with_counters_and_policies() -> None:
    ruleset = parse(_DUMP, Family.IP6)
    assert [(t.family, t.name) for t in ruleset.tables] == [("ip6", "raw"), ("ip6", "filter")]
    table = ruleset.tables[1]
    head = table.chain("INPUT")
    assert head is not None
    assert head.base is not None
    assert (head.base.hook, head.base.priority, head.base.policy) == ("input", 0, "drop")
    assert [rule.text for rule in head.rules] == ["-i lo -j ACCEPT"]
    ruleset.validate()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nonsense", "line 1 of the dump: it stands outside a table"),
        ("*nat\n-A FOO -j DROP\nCOMMIT", "line 2 of the dump: chain 'FOO' was not declared"),
        ("*nat\n:X\nCOMMIT", "line 2 of the dump: a chain line has a name and a policy"),
        ("*nat\nhello\nCOMMIT", "line 2 of the dump: it is no rule and no chain"),
        ("*nat\n:X - [0:0]\n-A X -j", "the dump ends within table nat"),
        (
            "*nat\n:X - [0:0]\n-A X -j\nCOMMIT",
            "line 3 of the dump: a word is missing at its end: '-j'",
        ),
        ("*filter\n:INPUT QUEUE\nCOMMIT", "line 2 of the dump: 'QUEUE' is no policy"),
    ],
)
def test_a_broken_dump_is_named(text: str, says: str) -> None:
    with pytest.raises(ParseError, match=says):
        parse(text, Family.IP)
