"""What is wrong in a sheet is named with file and line, in words that say what to write."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from interceptor.errors import SheetError
from interceptor.facts import HostFacts
from interceptor.sheets.build import build
from interceptor.sheets.loader import load
from tests.unit.common import SHEET, config

if TYPE_CHECKING:
    from pathlib import Path


class Fault(NamedTuple):
    """What is wrong in a sheet, and the line and words it must be called by."""

    what: str
    old: str
    new: str
    says: str


_FAULTS = [
    Fault("not TOML", 'name = "mine"', "name = mine", ":2: not TOML"),
    Fault("no format", "format = 1\n", "", ": its format is None"),
    Fault("another format", "format = 1", "format = 2", ":1: its format is 2"),
    Fault("no prefix", 'prefix = "INTERCEPTOR_MINE_"\n', "", ": it lacks the key 'prefix'"),
    Fault(
        "an unknown key",
        "format = 1",
        "format = 1\nversion = 3",
        ":2: there is no key 'version'; known are format, name, summary, prefix, nftables, chains",
    ),
    Fault("a key of the loader's own", "format = 1", 'format = 1\nfile = "x"', ":2: there is no"),
    Fault("a number for a name", '"mine"', "3", ":2: name is a number, not a text"),
    Fault(
        "a text for a table", "[nftables]", 'refuse = "x"\n[nftables]', ":6: refuse is a text, not"
    ),
    Fault(
        "no table of sets", "[sets.ports]", "[sets.port]", ":9: there is no key 'port' in [sets]"
    ),
    Fault("a number for a set", '"22 + ', "22 # ", ":9: sets.ports is a number, not a text"),
    Fault(
        "a table for a default",
        "[chains.nat]",
        "[defaults]\ninbound_port = { a = 1 }\n[chains.nat]",
        ":12: defaults is a table, not true or false or a number or a text or a list",
    ),
    Fault("an unknown table", "[chains.nat]", "[chains.natt]", ":12: there is no table 'natt'"),
    Fault("no chains", "[chains.nat]", "[sets.ids]", ": it has no [chains.TABLE]"),
    Fault("no list of rows", "PREROUTING = [", "OUTPUT = 3\nPREROUTING = [", ":13: nat OUTPUT is"),
    Fault("no nft table", 'nat = "interceptor"', "", ":6: [nftables] does not say which"),
    Fault(
        "an unknown key in a row",
        'why = "in"',
        'why = "in", wen = "x"',
        ":14: there is no key 'wen'; known are action, why, match, when, each",
    ),
    Fault("a row without why", ', why = "in"', "", ":14: it lacks the key 'why'"),
    Fault("a number for a text", 'why = "in"', "why = 3", ":14: why is a number, not a text"),
    Fault(
        "a refusal without when",
        "[chains.nat]",
        '[[refuse]]\nwhen = "own"\nwhy = "x"\n[[refuse]]\nwhy = "x"\n[chains.nat]',
        ":15: [refuse] lacks the key 'when'",
    ),
    Fault(
        "a refusal of an unknown name",
        "[chains.nat]",
        '[[refuse]]\nwhen = "owm"\nwhy = "x"\n[chains.nat]',
        ":12: refuse: there is no name 'owm'",
    ),
    Fault(
        "no row",
        '{ match = "-p tcp", action = "-j INTERCEPTOR_MINE_IN", why = "in" }',
        '"-p tcp"',
        "a row is { match",
    ),
    Fault(
        "a jump to a missing chain",
        "-j INTERCEPTOR_MINE_IN",
        "-j INTERCEPTOR_MINE_OUT",
        ":14: 'INTERCEPTOR_MINE_OUT' is neither a chain here",
    ),
    Fault("an unknown name", "{own}", "{owm}", ":17: there is no name 'owm'; known are"),
    Fault(
        "a name of another type",
        "--dport {own}",
        "--dport {proxy_uid}",
        ":17: {proxy_uid} holds Ids, ports are needed",
    ),
    Fault(
        "two names in one",
        "{own}",
        "{own},{inbound_port}",
        ":17: '{own},{inbound_port}' is more than one name",
    ),
    Fault(
        "an unknown match",
        "--dport {own}",
        "--dprot {own}",
        ":17: '--dprot' is no match known here; known are -i, -o, -s, -d, -p, --sport, --dport",
    ),
    Fault(
        "an unknown module",
        "-p tcp --dport {own}",
        "-m bpf --bytecode 4",
        ":17: '-m bpf' is no match known here; known are -m tcp, -m udp, -m multiport, -m owner",
    ),
    Fault(
        "ports before the protocol",
        "-p tcp --dport {own}",
        "--dport {own} -p tcp",
        ":17: --dport needs -p tcp or -p udp before it in the same row",
    ),
    Fault(
        "an option without its module",
        "-p tcp --dport {own}",
        "--uid-owner {proxy_uid}",
        ":17: --uid-owner needs -m owner before it in the same row",
    ),
    Fault(
        "no state",
        "-p tcp --dport {own}",
        "-m conntrack --ctstate NEW,OLD",
        ":17: 'NEW,OLD' are no states; known are DNAT, ESTABLISHED",
    ),
    Fault("a value missing", "--dport {own}", "--dport", ":17:"),
    Fault(
        "ports without protocol",
        "-p tcp --dport {own}",
        "-m tcp --dport {own}",
        ":17: names a port without a protocol",
    ),
    Fault(
        "an unknown action",
        "-j RETURN",
        "-j LOG",
        ":17: 'LOG' is neither a chain here nor an action; known are ACCEPT, DROP, RETURN, RED",
    ),
    Fault(
        "a redirect elsewhere", "--to-ports {inbound_port}", "--to-ports 70000", ":18: port 70000"
    ),
    Fault("a why too long", '"own ports"', f'"{"long " * 40}"', ":17: its why is longer than 127"),
    Fault("a quote in a why", '"own ports"', "'own \"ports\"'", ":17: its why has characters"),
    Fault(
        "an unknown condition",
        'why = "own ports"',
        'why = "own ports", when = "nobody"',
        ":17: there is no name 'nobody'",
    ),
    Fault(
        "no condition",
        'why = "own ports"',
        'why = "own ports", when = "own > 3"',
        ":17: 'own > 3' is no condition",
    ),
    Fault(
        "no each",
        'why = "own ports"',
        'why = "own ports", each = "x of own"',
        ":17: each is 'x of own'",
    ),
    Fault(
        "each in a number",
        'why = "own ports"',
        'why = "own ports", each = "x in tunnel_port"',
        ":17: 'tunnel_port' is no set",
    ),
    Fault(
        "a taken name in each",
        'why = "own ports"',
        'why = "own ports", each = "own in own"',
        ":17: the name 'own' is taken",
    ),
    Fault("a bad set", "7000-7010", "7000-", ":10: set own: '' is no port"),
    Fault(
        "a set with an unknown operator",
        "- 7005",
        "* 7005",
        ":10: set own: '*' does not join ports",
    ),
    Fault("a set without an operator", "- 7005", "7005", "is not terms joined by"),
    Fault("ports within ports", "- 7005", "within 7005", ":10: set own: only networks and"),
    Fault(
        "networks beyond networks",
        "[chains.nat]",
        '[sets.networks]\nfar = "10.0.0.0/8 beyond 10.1.0.0/16"\n[chains.nat]',
        ":13: set far: networks are outside others, not beyond them",
    ),
    Fault(
        "a chain that calls itself",
        "-j RETURN",
        "-j INTERCEPTOR_MINE_IN",
        "call each other for ever",
    ),
    Fault(
        "another prefix",
        'prefix = "INTERCEPTOR_MINE_"',
        'prefix = "MINE_"',
        ":4: its prefix is 'MINE_'",
    ),
    Fault("another nft table", '"interceptor"', '"mine"', ":7: its nft table is 'mine'"),
    Fault(
        "a foreign chain name",
        "INTERCEPTOR_MINE_IN = [",
        "INTERCEPTOR_MINE_IN = []\nOTHERS = [",
        ":17: the chain is named 'OTHERS'",
    ),
    Fault(
        "the record's chain",
        "INTERCEPTOR_MINE_IN = [",
        "INTERCEPTOR_MINE_IN = []\nINTERCEPTOR_RECORD = [",
        ":17: the chain is named 'INTERCEPTOR_RECORD'",
    ),
    Fault(
        "a redirect in a hook that has none",
        "PREROUTING =",
        "POSTROUTING =",
        ": nat INTERCEPTOR_MINE_IN: redirects, but POSTROUTING is at postrouting",
    ),
    *(
        Fault(f"a protocol {text!a}", "-p tcp --dport {own}", f"-p {text}", ":17: ")
        for text in ("tcp;", "tcp{", "TCP", "tcp\\n-A", "'tcp'")
    ),
    *(
        Fault(f"an interface {text!a}", "-p tcp --dport {own}", f"-i {text}", ":17: ")
        for text in ("eth0;", "eth0\\u0000", "'eth0'", "eth0}")
    ),
    *(
        Fault(f"a chain {text!a}", "INTERCEPTOR_MINE_IN", f"INTERCEPTOR_MINE_{text}", "")
        for text in ("IN;", "IN}", "IN'", "\u00c9")
    ),
    *(
        Fault(f"a comment {text!a}", "own ports", text, ":17: its why has characters")
        for text in ("x\\n-A INPUT -j ACCEPT", '\\" accept', "x\\u0000", "x\\u2028y")
    ),
]


@pytest.mark.parametrize("fault", _FAULTS, ids=lambda fault: fault.what.replace(" ", "-"))
def test_a_fault_is_named_with_its_place(fault: Fault, tmp_path: Path) -> None:
    assert fault.old in SHEET
    path = tmp_path / "mine.toml"
    path.write_text(SHEET.replace(fault.old, fault.new))
    with pytest.raises(SheetError) as caught:
        build(load(str(path)), config(), HostFacts())
    message = caught.value.message.replace(str(path), "")
    assert fault.says in message
    assert "\n" not in message
