"""Targets of others: what they are read as, and what is left unread."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from interceptor.model import (
    Action,
    MixMarks,
    Note,
    NoTrack,
    Protocol,
    Reject,
    RestoreMark,
    Rule,
    SaveMark,
    SetConnectionMark,
    SetMark,
    SetMarkBits,
    SetZone,
    TranslateDestination,
    TranslateSource,
    UnreadableAction,
)
from interceptor.parse.words import WordReader, tokenize

_TCP = Protocol("tcp")

_UNREAD = [
    *("QUEUE", "NFQUEUE --queue-num 3", "NETMAP --to 10.0.0.0/8", "SYNPROXY --mss 1", "NEVER"),
    *("DNAT --to-destination 10.0.0.1-10.0.0.2", "DNAT --to-destination 10.0.0.1:80-81"),
    *("DNAT --to-destination 10.0.0.1:80 --random", "DNAT --to-destination 10.0.0.1 --persistent"),
    *("DNAT --to-destination 10.0.0.1:0", "DNAT --to-destination :70000", "DNAT"),
    *("DNAT --to-destination fe80::1%eth0", "DNAT --to-destination [10.0.0.1]:80"),
    *("DNAT --to-destination :0 --persistent --to-destination :0", "DNAT --to-destination a.b"),
    *("MARK", "MARK --set-xmark 0x1/0x1/0x1", "MARK --set-xmark 010/0xff", "MARK --set-mark x"),
    *("MARK --or-mark 0x1 --and-mark 0x2", "MARK --set-xmark 0x1ffffffff/0xf"),
    *("CONNMARK", "CONNMARK --save-mark --restore-mark", "CONNMARK --set-mark 1 --mask 1"),
    *(
        "CT",
        "CT --zone 1 --helper ftp",
        "CT --zone-orig 3",
        "CT --notrack --zone 3",
        "CT --zone x",
    ),
    *("SET --map-set x src --map-mark", "NOTRACK --never", "REDIRECT --to-ports 1 --random"),
    *("REDIRECT --to-ports 1 --to-ports 2", "TPROXY --on-port 5 --tproxy-mark 0x1/0x1"),
]

_TARGETS: dict[str, Action] = {
    'LOG --log-prefix "a b: "': Note('LOG --log-prefix "a b: "'),
    "NFLOG --nflog-group 3": Note("NFLOG --nflog-group 3"),
    "TRACE": Note("TRACE"),
    "TCPMSS --clamp-mss-to-pmtu": Note("TCPMSS --clamp-mss-to-pmtu"),
    "SET --add-set x src --exist": Note("SET --add-set x src --exist"),
    "CT --helper ftp": Note("CT --helper ftp"),
    "REJECT": Reject("REJECT"),
    "REJECT --reject-with tcp-reset": Reject("REJECT --reject-with tcp-reset"),
    "NOTRACK": NoTrack("NOTRACK"),
    "CT --notrack": NoTrack("CT --notrack"),
    "CT --zone 7": SetZone(7),
    "MASQUERADE --random-fully": TranslateSource("MASQUERADE --random-fully"),
    "SNAT --to-source 10.0.0.1-10.0.0.9": TranslateSource("SNAT --to-source 10.0.0.1-10.0.0.9"),
    "MARK --set-xmark 0x5/0xffffffff": SetMark(5),
    "MARK --and-mark 0x0": SetMark(0),
    "MARK --set-xmark 0x4000/0x0": SetMarkBits("MARK --set-xmark 0x4000/0x0", 0x4000, 0),
    "MARK --set-mark 0x5/0x3": SetMarkBits("MARK --set-mark 0x5/0x3", 5, 7),
    "MARK --or-mark 0x4000": SetMarkBits("MARK --or-mark 0x4000", 0x4000, 0x4000),
    "MARK --and-mark 0xff": SetMarkBits("MARK --and-mark 0xff", 0, 0xFFFFFF00),
    "MARK --xor-mark 0xff": SetMarkBits("MARK --xor-mark 0xff", 0xFF, 0),
    "CONNMARK --save-mark --nfmask 0xffffffff --ctmask 0xffffffff": SaveMark(),
    "CONNMARK --restore-mark": RestoreMark(),
    "CONNMARK --save-mark --nfmask 0xff --ctmask 0xff": MixMarks(
        "CONNMARK --save-mark --nfmask 0xff --ctmask 0xff"
    ),
    "CONNMARK --set-xmark 0x111/0xfff": SetConnectionMark(0x111, 0xFFF),
}

_DESTINATIONS = [
    ("10.0.0.1", "10.0.0.1", None),
    ("10.0.0.1:80", "10.0.0.1", 80),
    (":80", "", 80),
    ("fd00::1", "fd00::1", None),
    ("[fd00::1]:80", "fd00::1", 80),
    ("[fd00::1]", "fd00::1", None),
]


def _rule(line: str) -> Rule:
    return WordReader(tokenize(line), ()).read(line)


@pytest.mark.parametrize("words", _UNREAD)
def test_a_target_nobody_understands_is_kept_as_it_is(words: str) -> None:
    assert _rule(f"-j {words}") == Rule((), UnreadableAction(words))


@pytest.mark.parametrize("words", _TARGETS)
def test_a_target_of_others_says_what_it_does(words: str) -> None:
    assert _rule(f"-p tcp -j {words}") == Rule((_TCP,), _TARGETS[words])


@pytest.mark.parametrize(("to", "address", "port"), _DESTINATIONS)
def test_one_destination_is_read(to: str, address: str, port: int | None) -> None:
    words = f"DNAT --to-destination {to}"
    where = ip_address(address) if address else None
    assert _rule(f"-j {words}").action == TranslateDestination(where, port)
