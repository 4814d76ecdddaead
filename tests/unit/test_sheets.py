"""Sheets: every fault names file and line, and every feature of a row does what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from interceptor.cli.main import run
from interceptor.errors import SheetError
from interceptor.facts import HostFacts
from interceptor.names import Family
from interceptor.render import iptables
from interceptor.sheets.build import build
from interceptor.sheets.loader import load, read, shipped
from tests.unit.common import config

if TYPE_CHECKING:
    from pathlib import Path

_SHEET = """\
format = 1
name = "mine"
summary = "a proxy of my own"
prefix = "INTERCEPTOR_MINE_"

[nftables]
nat = "interceptor-mine"

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
    assert "table inet interceptor-mine" in out
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
    Fault("another format", "format = 1", "format = 2", ": its format is 2"),
    Fault("no prefix", 'prefix = "INTERCEPTOR_MINE_"\n', "", ": it missing the key `prefix`"),
    Fault("an unknown key", "format = 1", "format = 1\nversion = 3", "unknown key `version`"),
    Fault("an unknown table", "[chains.nat]", "[chains.natt]", ": there is no table 'natt'"),
    Fault("no nft table", 'nat = "interceptor-mine"', "", "which nft table 'nat' is"),
    Fault(
        "an unknown key in a row",
        'why = "in"',
        'why = "in", wen = "x"',
        ":14: it contains unknown key `wen`",
    ),
    Fault("a row without why", ', why = "in"', "", ":14: it missing the key `why`"),
    Fault("a number for a text", 'why = "in"', "why = 3", ":14: Expected `str`, got `int`"),
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
        ":17: '--dprot' is no match known here",
    ),
    Fault(
        "an unknown module",
        "-p tcp --dport {own}",
        "-m bpf --bytecode 4",
        ":17: '-m bpf' is no match",
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
        ":17: 'LOG' is neither a chain here nor an action",
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
    Fault("ports within ports", "- 7005", "within 7005", "only networks can be within"),
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
        ": its prefix is 'MINE_'",
    ),
    Fault("another nft table", '"interceptor-mine"', '"mine"', ": its nft table is 'mine'"),
    Fault(
        "a foreign chain name", "INTERCEPTOR_MINE_IN", "OTHERS", "does not begin with the prefix"
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
    assert "did you mean inbound_port?" in capsys.readouterr().err


@pytest.mark.parametrize("name", shipped())
def test_shipped_sheets_load_and_build(name: str) -> None:
    sheet = load(name)
    assert sheet.name == name
    assert sheet.summary
    build(sheet, config(), HostFacts()).validate()
