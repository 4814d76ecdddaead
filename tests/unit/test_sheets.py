"""Sheets: every fault names file and line, and every feature of a row does what it says."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from interceptor.cli.main import run
from interceptor.errors import ConfigError, SheetError
from interceptor.facts import HostFacts
from interceptor.names import PRIORITIES, Family, Hook
from interceptor.parse import iptables_save
from interceptor.parse.words import Kind
from interceptor.render import iptables, nftables
from interceptor.sheets.build import build
from interceptor.sheets.loader import load, read, rules_directory, shipped
from interceptor.sheets.vocabulary import Vocabulary
from tests.unit.common import config

_SHEET = """\
format = 1
name = "mine"
summary = "a proxy of my own"
prefix = "INTERCEPTOR_MINE_"

[nftables]
nat = "interceptor"

[sets.ports]
own = "22 + {tunnel_port} + 7000-7010 - 7005"

[chains.nat]
PREROUTING = [
  { match = "-p tcp", action = "-j INTERCEPTOR_MINE_IN", why = "in" },
]
INTERCEPTOR_MINE_IN = [
  { match = "-p tcp --dport {own}", action = "-j RETURN", why = "own ports" },
  { match = "-p tcp", action = "-j REDIRECT --to-ports {inbound_port}", why = "to the proxy" },
]
"""


def built(text: str, **settings: str) -> list[str]:
    """Build a sheet's text and give its IPv4 rules as iptables-restore lines."""
    ruleset = build(read(text, "mine.toml"), config(**settings), HostFacts())
    lines = iptables.text(iptables.lower(ruleset, Family.IP)).splitlines()
    return [line for line in lines if line.startswith("-A")]


def row(text: str) -> str:
    """Put one more row at the end of the sheet's last chain."""
    return _SHEET.rstrip()[:-1] + f"  {text}\n]\n"


def test_a_sheet_of_ones_own_works_with_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(_SHEET)
    assert run(["render", "--sheet", str(path), "--inbound-port", "9999"]) == 0
    out = capsys.readouterr().out
    assert "table inet interceptor {" in out
    assert "chain interceptor-mine-in {" in out
    assert "tcp dport { 22, 7000-7004, 7006-7010, 15008 } counter return" in out
    assert "redirect to :9999" in out
    assert run(["sheets", str(path)]) == 0
    assert "own ports" in capsys.readouterr().out


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
    Fault("ports within ports", "- 7005", "within 7005", ":10: set own: only networks can be"),
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
        "a verdict in a built-in chain",
        "-j INTERCEPTOR_MINE_IN",
        "-j ACCEPT",
        ":14: a built-in chain may only call chains of the sheet",
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
    assert fault.old in _SHEET
    path = tmp_path / "mine.toml"
    path.write_text(_SHEET.replace(fault.old, fault.new))
    with pytest.raises(SheetError) as caught:
        build(load(str(path)), config(), HostFacts())
    message = caught.value.message.replace(str(path), "")
    assert fault.says in message
    assert "\n" not in message


def test_when_leaves_a_row_out() -> None:
    text = row('{ action = "-j DROP", why = "x", when = "exclude_inbound_ports and own" },')
    assert len(built(text)) == 3
    assert built(text, exclude_inbound_ports="1")[-1].endswith("-j DROP")


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("own", True),
        ("not own", False),
        ("exclude_inbound_ports", False),
        ("not exclude_inbound_ports", True),
        ("include_inbound_ports is *", True),
        ("include_inbound_ports is not *", False),
        ("own is *", False),
        ("own is not * and not exempt_mark", True),
        ("", True),
    ],
)
def test_conditions(condition: str, holds: bool) -> None:
    text = row(f'{{ action = "-j DROP", why = "x", when = "{condition}" }},')
    assert (len(built(text)) == 4) is holds


def test_each_repeats_neighbours_together() -> None:
    text = row(
        '{ match = "-m owner --uid-owner {u}", action = "-j ACCEPT", why = "a", '
        'each = "u in proxy_uid" },\n'
        '{ match = "-m owner --uid-owner {u}", action = "-j DROP", why = "b", '
        'each = "u in proxy_uid" },'
    )
    users = [line.split()[5] for line in built(text, proxy_uid="3,9")[3:]]
    assert users == ["3", "3", "9", "9"]
    assert built(text, proxy_uid="")[3:] == []


def test_each_over_nothing_still_checks_its_rows() -> None:
    text = row('{ match = "-o {x", action = "-j ACCEPT", why = "a", each = "x in exempt_mark" },')
    with pytest.raises(SheetError, match=r"mine\.toml:19: .*more than one name"):
        built(text)


@pytest.mark.parametrize(
    ("match", "settings", "rule"),
    [
        ("-i {exclude_interfaces}", {}, None),
        ("! -i {exclude_interfaces}", {}, "-j DROP"),
        ("-d {include_outbound_cidrs}", {}, "-j DROP"),
        ("! -d {include_outbound_cidrs}", {}, None),
        ("-m mark --mark {exempt_mark}", {}, None),
        ("! -d {exclude_outbound_cidrs}", {"exclude_outbound_cidrs": "fd00::/8"}, "-j DROP"),
        ("-d {exclude_outbound_cidrs}", {"exclude_outbound_cidrs": "fd00::/8"}, None),
    ],
)
def test_sets_that_are_empty_or_everything(
    match: str, settings: dict[str, str], rule: str | None
) -> None:
    text = row(f'{{ match = "{match}", action = "-j DROP", why = "x" }},')
    added = built(text, **settings)[3:]
    assert [line.partition("--comment x ")[2] for line in added] == ([rule] if rule else [])


def test_unreachable_chains_are_left_out_unless_kept() -> None:
    text = _SHEET + 'INTERCEPTOR_MINE_LOST = [ { action = "-j DROP", why = "lost" } ]\n'
    assert len(built(text)) == 3
    assert len(built("keep_unreachable = true\n" + text)) == 4


def test_a_sheets_defaults_are_weaker_than_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(_SHEET + "\n[defaults]\ninbound_port = 20000\n")
    assert run(["render", "--sheet", str(path)]) == 0
    assert "redirect to :20000" in capsys.readouterr().out
    assert run(["render", "--sheet", str(path), "--inbound-port", "3"]) == 0
    assert "redirect to :3" in capsys.readouterr().out
    assert run(["config", "show", "--origin", "--sheet", str(path)]) == 0
    assert "sheet mine" in capsys.readouterr().out


def test_an_unknown_name_in_defaults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(_SHEET + "\n[defaults]\ninbund_port = 20000\n")
    assert run(["render", "--sheet", str(path)]) == 2
    err = capsys.readouterr().err
    assert f"sheet mine, {path}:22: there is no setting 'inbund_port'" in err
    assert "did you mean inbound_port?" in err


def test_the_example_of_the_readme_is_a_sheet(tmp_path: Path) -> None:
    readme = (Path(rules_directory()) / "README.md").read_text()
    path = tmp_path / "mine.toml"
    path.write_text(readme.partition("```toml\n")[2].partition("```")[0])
    sheet = load(str(path))
    build(sheet, config(), HostFacts())
    with pytest.raises(ConfigError, match="one of the proxy's own"):
        build(sheet, config(include_inbound_ports="22"), HostFacts())


def test_a_default_may_be_a_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(_SHEET + '\n[defaults]\nexclude_inbound_ports = [80, "90-99"]\n')
    assert run(["config", "show", "--sheet", str(path)]) == 0
    assert "80,90-99" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1-9 beyond 3-5 + 7", "1-2,6,8-9"),
        ("1 + 2 beyond 1 + 2", ""),
        ("{include_inbound_ports} beyond 22", "*"),
        ("{include_inbound_ports} - 22", "0-21,23-65535"),
    ],
)
def test_beyond_takes_away_but_leaves_everything(expression: str, value: str) -> None:
    sheet = read(_SHEET, "mine.toml")
    assert str(Vocabulary.of(config(), sheet).set(Kind.PORTS, expression)) == value


def test_within_and_outside_sort_networks() -> None:
    vocabulary = Vocabulary.of(config(), read(_SHEET, "mine.toml"))
    some = "127.1.0.0/16 + 10.0.0.0/8 + ::1/128"
    loopback = "127.0.0.0/8 + ::1/128"
    within = vocabulary.set(Kind.NETWORKS, f"{some} within {loopback}")
    outside = vocabulary.set(Kind.NETWORKS, f"{some} outside {loopback}")
    assert (str(within), str(outside)) == ("127.1.0.0/16,::1/128", "10.0.0.0/8")


def test_nftables_may_be_left_out() -> None:
    given = read(_SHEET, "mine.toml")
    left_out = read(_SHEET.replace('[nftables]\nnat = "interceptor"\n', ""), "mine.toml")
    built_from = [build(sheet, config(), HostFacts()) for sheet in (given, left_out)]
    texts = [
        nftables.text(nftables.lower(ruleset, sheet.dialect))
        for ruleset, sheet in zip(built_from, (given, left_out), strict=True)
    ]
    assert "table inet interceptor {" in texts[1]
    assert texts[0].replace("prerouting", "nat-prerouting", 1) == texts[1]


_HOOKS = {
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
    "security": ("INPUT", "FORWARD", "OUTPUT"),
}


@pytest.mark.parametrize("table", _HOOKS)
def test_a_sheet_needs_no_nat_table(table: str, tmp_path: Path) -> None:
    calls = "\n".join(
        f'{hook} = [ {{ action = "-j INTERCEPTOR_MINE", why = "look" }} ]'
        for hook in _HOOKS[table]
    )
    path = tmp_path / "mine.toml"
    path.write_text(
        'format = 1\nname = "mine"\nsummary = "no nat"\nprefix = "INTERCEPTOR_MINE"\n'
        f"[chains.{table}]\n{calls}\n"
        'INTERCEPTOR_MINE = [ { match = "-p tcp --dport 23", action = "-j DROP", why = "old" } ]\n'
    )
    sheet = load(str(path))
    ruleset = build(sheet, config(), HostFacts())
    for family in (Family.IP, Family.IP6):
        lowered = iptables.lower(ruleset, family)
        assert iptables_save.parse(iptables.text(lowered), family) == lowered
        assert f"*{table}\n" in iptables.text(lowered)
    text = nftables.text(nftables.lower(ruleset, sheet.dialect))
    for hook in _HOOKS[table]:
        assert f"chain {table}-{hook.lower()} {{" in text
        assert f"hook {hook.lower()} priority {PRIORITIES[table][Hook(hook.lower())]};" in text
    assert text.count("jump interceptor-mine") == len(_HOOKS[table])
    assert 'tcp dport 23 counter drop comment "old"' in text


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"include_inbound_ports": "80", "exclude_inbound_ports": "80"}, "inbound port you incl"),
        ({"include_inbound_ports": "22,15008"}, "kept for SSH, the tunnel"),
        ({"include_outbound_ports": "1-9", "exclude_outbound_ports": "1-10"}, "outbound port you"),
        (
            {"include_outbound_cidrs": "10.1.0.0/16", "exclude_outbound_cidrs": "10.0.0.0/8"},
            "destination you include is excluded",
        ),
        ({"include_outbound_cidrs": "127.0.0.1,::1"}, "or is localhost"),
    ],
)
def test_sidecar_refuses_what_captures_nothing_by_mistake(
    settings: dict[str, str], why: str
) -> None:
    with pytest.raises(ConfigError, match=f"sheet sidecar: .*{why}"):
        build(load("sidecar"), config(**settings), HostFacts())


@pytest.mark.parametrize(
    "settings",
    [
        {"include_inbound_ports": ""},
        {"include_outbound_cidrs": ""},
        {"include_inbound_ports": "80,443", "exclude_inbound_ports": "80"},
        {"include_outbound_cidrs": "", "include_outbound_ports": "80"},
    ],
)
def test_sidecar_takes_what_is_meant(settings: dict[str, str]) -> None:
    build(load("sidecar"), config(**settings), HostFacts())


def test_a_sheet_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xef\xbb\xbf" + _SHEET.encode())
    assert load(str(path)).name == "mine"


@pytest.mark.parametrize("content", [b"\xff\xfe", _SHEET.encode("utf-16")])
def test_a_sheet_is_utf_8(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(SheetError, match="it is not UTF-8"):
        load(str(path))


@pytest.mark.parametrize("name", shipped())
def test_shipped_sheets_load_and_build(name: str) -> None:
    sheet = load(name)
    assert sheet.name == name
    assert sheet.summary
    build(sheet, config(), HostFacts()).validate()
