"""Sheets: every feature of a row does what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from msgspec.structs import asdict

from interceptor.analysis.properties import Property
from interceptor.cli.main import run
from interceptor.errors import ConfigError, SheetError
from interceptor.facts import HostFacts
from interceptor.names import PRIORITIES, Family, Hook
from interceptor.parse import iptables_save
from interceptor.parse.words import Kind
from interceptor.render import iptables, nftables
from interceptor.settings import SETTINGS, Scope
from interceptor.sheets.build import build
from interceptor.sheets.loader import load, read, rules_directory, shipped
from interceptor.sheets.vocabulary import Vocabulary
from tests.unit.common import SHEET, config, rules


def built(text: str, **settings: str) -> list[str]:
    """Build a sheet's text and give its IPv4 rules as iptables-restore lines."""
    ruleset = build(read(text, "mine.toml"), config(**settings), HostFacts())
    lines = iptables.text(iptables.lower(ruleset, Family.IP)).splitlines()
    return [line for line in lines if line.startswith("-A")]


def row(text: str) -> str:
    """Put one more row at the end of the sheet's last chain."""
    return SHEET.rstrip()[:-1] + f"  {text}\n]\n"


def test_a_sheet_of_ones_own_works_with_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(SHEET)
    assert run(["render", "--sheet", str(path), "--inbound-port", "9999"]) == 0
    out = capsys.readouterr().out
    assert "table inet interceptor {" in out
    assert "chain interceptor-mine-in {" in out
    assert "tcp dport { 22, 7000-7004, 7006-7010, 15008 } counter return" in out
    assert "redirect to :9999" in out
    assert run(["sheets", str(path)]) == 0
    assert "own ports" in capsys.readouterr().out


_ENGINES = {"sheet", "options", "ip_families"}
"""Settings that sheets need not know: they choose the sheet, are its own, or choose families."""
_SAID_BY = {"capture_dns": "captured_resolvers"}
"""Names by which rows use a setting in another form."""


def unknown_settings(text: str) -> set[str]:
    """Give settings of the policy that a sheet neither uses anywhere nor says it lacks."""
    sheet = read(text, "mine.toml")
    expressions = [
        *(
            f"{row.match} {row.action} {row.when} {row.each} {row.family}"
            for chains in sheet.chains.values()
            for rows in chains.values()
            for row in rows
        ),
        *(f"{route.mark} {route.table} {route.when}" for route in sheet.routes),
        *(address.when for address in sheet.addresses),
        *(refusal.when for refusal in sheet.refuse),
        *(e for named in asdict(sheet.sets).values() for e in named.values()),
    ]
    used = set(re.findall(r"\w+", " ".join(expressions)))
    policy = {name for name, row in SETTINGS.items() if row.scope is Scope.POLICY}
    said = {name for name in policy if used & {name, _SAID_BY.get(name, name)}}
    return policy - said - set(sheet.lacks) - _ENGINES


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_sheet_uses_each_setting_or_says_why_not(name: str) -> None:
    text = (Path(rules_directory()) / f"{name}.toml").read_text()
    assert not unknown_settings(text)
    assert set(load(name).breaks) <= set(Property)


def test_a_setting_that_a_sheet_forgets_is_found() -> None:
    assert "capture_dns" in unknown_settings(SHEET)
    assert "tunnel_port" not in unknown_settings(SHEET)
    assert "mode" not in unknown_settings(SHEET + '[lacks]\nmode = "it redirects"\n')


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        ('[options.x]\ntype = "port"', ":20: option x: it lacks the key 'help'"),
        ('[options.x]\ntype = "ham"\nhelp = ""', ":20: option x: Invalid enum value 'ham'"),
        ('[options.x]\ntype = "word"\nhelp = ""', ":20: option x: words are for the type word"),
        ('[options.X]\ntype = "port"\nhelp = ""', ":20: option X: 'X' is no name"),
        ('[options.own]\ntype = "port"\nhelp = ""', "the name 'own' is taken"),
        ('[options.mode]\ntype = "port"\nhelp = ""', ":20: option: the name 'mode' is taken"),
        ('[options.x]\ntype = "records"\nhelp = ""', ":20: option x: fields are for the type"),
        (
            '[options.x]\ntype = "records"\nhelp = ""\nfields = { a = "address" }',
            "field a: 'address' is no type of a field",
        ),
        (
            '[options.x]\ntype = "port"\nhelp = ""\ndefault = "70000"',
            "its default: port 70000 is not within",
        ),
        ('[lacks]\nbackend = "x"', ":21: [lacks] names 'backend'"),
        ('[lacks]\nham = "x"', ":21: [lacks] names 'ham'"),
    ],
)
def test_faults_of_options_and_lacks_name_their_place(table: str, fault: str) -> None:
    with pytest.raises(SheetError) as caught:
        built(f"{SHEET}{table}\n")
    assert fault in str(caught.value)


def test_records_give_names_for_each_field() -> None:
    fields = '{ of = "interfaces", net = "networks" }'
    table = f'[options.vnet]\ntype = "records"\nhelp = "x"\nfields = {fields}\n'
    text = row(
        '{ match = "-i {v_of} ! -d {v_net} -p tcp", action = "-j DROP", why = "x", '
        'each = "v in vnet", family = "v_net" },'
    )
    assert built(text + table, options="vnet=eth0:10.0.0.0/8,eth1:fd00::/8")[3:] == [
        "-A INTERCEPTOR_MINE_IN ! -d 10.0.0.0/8 -i eth0 -p tcp -m comment --comment x -j DROP"
    ]
    assert len(built(text + table)) == 3


@pytest.mark.parametrize(
    ("action", "lines"),
    [
        ("--to-destination {place}:{port}", ["10.0.0.1:99"]),
        ("--to-destination {place}", ["10.0.0.1"]),
        ("--to-destination {nowhere}:{port}", []),
        ("--to-destination {place}:{no_port}", ["10.0.0.1"]),
        ("--to-destination 10.0.0.9:7", ["10.0.0.9:7"]),
        ("--to-destination [fd00::9]:7", []),
        ("--to-destination :{port}", [":99"]),
    ],
)
def test_where_connections_are_sent(action: str, lines: list[str]) -> None:
    options = "".join(
        f'[options.{name}]\ntype = "{kind}"\nhelp = "x"\ndefault = "{default}"\n'
        for name, kind, default in (
            ("place", "address", "10.0.0.1,fd00::1"),
            ("nowhere", "address", ""),
            ("port", "port", "99"),
            ("no_port", "port", ""),
        )
    )
    text = row(f'{{ match = "-p tcp", action = "-j DNAT {action}", why = "x" }},')
    assert [line.split()[-1] for line in built(text + options)[3:]] == lines


def test_a_row_in_a_built_in_chain_is_marked_as_ours() -> None:
    text = SHEET.replace("-j INTERCEPTOR_MINE_IN", "-j REDIRECT --to-ports 9")
    assert '--comment "interceptor: in" -j REDIRECT' in built(text)[0]


def test_what_a_sheet_lacks_is_refused_unless_it_is_its_default() -> None:
    text = SHEET + '[lacks]\ntunnel_port = "no tunnel"\n[defaults]\ntunnel_port = 7\n'
    with pytest.raises(ConfigError, match="sheet mine has no --tunnel-port: no tunnel") as caught:
        built(text, tunnel_port="8")
    assert caught.value.hint == "leave it out, or choose --sheet sidecar"
    assert built(text, tunnel_port="7")


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
    text = SHEET + 'INTERCEPTOR_MINE_LOST = [ { action = "-j DROP", why = "lost" } ]\n'
    assert len(built(text)) == 3
    assert len(built("keep_unreachable = true\n" + text)) == 4


def test_a_sheets_defaults_are_weaker_than_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(SHEET + "\n[defaults]\ninbound_port = 20000\n")
    assert run(["render", "--sheet", str(path)]) == 0
    assert "redirect to :20000" in capsys.readouterr().out
    assert run(["render", "--sheet", str(path), "--inbound-port", "3"]) == 0
    assert "redirect to :3" in capsys.readouterr().out
    assert run(["config", "show", "--origin", "--sheet", str(path)]) == 0
    assert "sheet mine" in capsys.readouterr().out


def test_an_unknown_name_in_defaults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(SHEET + "\n[defaults]\ninbund_port = 20000\n")
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
    path.write_text(SHEET + '\n[defaults]\nexclude_inbound_ports = [80, "90-99"]\n')
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
    sheet = read(SHEET, "mine.toml")
    assert (
        str(Vocabulary.of(config(), sheet, HostFacts(), Family.INET).set(Kind.PORTS, expression))
        == value
    )


def test_within_and_outside_sort_networks() -> None:
    vocabulary = Vocabulary.of(config(), read(SHEET, "mine.toml"), HostFacts(), Family.INET)
    some = "127.1.0.0/16 + 10.0.0.0/8 + ::1/128"
    loopback = "127.0.0.0/8 + ::1/128"
    within = vocabulary.set(Kind.NETWORKS, f"{some} within {loopback}")
    outside = vocabulary.set(Kind.NETWORKS, f"{some} outside {loopback}")
    assert (str(within), str(outside)) == ("127.1.0.0/16,::1/128", "10.0.0.0/8")


def test_nftables_may_be_left_out() -> None:
    given = read(SHEET, "mine.toml")
    left_out = read(SHEET.replace('[nftables]\nnat = "interceptor"\n', ""), "mine.toml")
    built_from = [build(sheet, config(), HostFacts()) for sheet in (given, left_out)]
    texts = [
        nftables.text(nftables.lower(ruleset, sheet.dialect))
        for ruleset, sheet in zip(built_from, (given, left_out), strict=True)
    ]
    assert "table inet interceptor {" in texts[1]
    assert texts[0].replace("prerouting", "nat-prerouting", 1) == texts[1]


def test_chains_may_have_names_of_their_own_in_nft() -> None:
    named = '[nftables_chains]\nPREROUTING = "MINE_FIRST"\nINTERCEPTOR_MINE_IN = "MINE_IN"\n'
    sheet = read(SHEET.replace("[sets.ports]", f"{named}[sets.ports]"), "mine.toml")
    text = nftables.text(nftables.lower(build(sheet, config(), HostFacts()), sheet.dialect))
    assert "chain MINE_FIRST {" in text
    assert "jump MINE_IN comment" in text
    assert "interceptor-mine" not in text


def test_names_for_nft_are_for_chains_there_are_and_shipped_sheets(tmp_path: Path) -> None:
    text = SHEET.replace("[sets.ports]", '[nftables_chains]\nOUTPUT = "MINE"\n[sets.ports]')
    with pytest.raises(SheetError, match=r":10: \[nftables_chains\] names 'OUTPUT', which is no"):
        read(text, "mine.toml")
    path = tmp_path / "mine.toml"
    path.write_text(text.replace('OUTPUT = "MINE"', 'PREROUTING = "MINE"'))
    with pytest.raises(SheetError, match=":9: only shipped sheets name chains for nft"):
        load(str(path))


@pytest.mark.parametrize(
    ("families", "first"),
    [
        ("ipv4", 'meta nfproto ipv6 counter return comment "IPv4 alone is intercepted"'),
        ("ipv6", 'meta nfproto ipv4 counter return comment "IPv6 alone is intercepted"'),
        ("dual", ""),
    ],
)
def test_the_other_family_may_be_let_go_first(families: str, first: str) -> None:
    sheet = read(f"other_family_returns = true\n{SHEET}", "mine.toml")
    ruleset = build(sheet, config(ip_families=families), HostFacts(has_ipv6=True))
    text = nftables.text(nftables.lower(ruleset, sheet.dialect))
    assert text.count("nfproto") == (1 if first else 0)
    assert [line for line in text.splitlines() if "nfproto" in line] == (
        [f"\t\t{first}"] if first else []
    )
    # What iptables holds needs none: it has a table for each.
    for family in (Family.IP, Family.IP6):
        assert "alone" not in iptables.text(iptables.lower(ruleset, family))


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
    path.write_bytes(b"\xef\xbb\xbf" + SHEET.encode())
    assert load(str(path)).name == "mine"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            row('{ match = "-p tcp", action = "-j DROP", why = "x", first = true },'),
            "first is for rows of built-in chains",
        ),
        (
            SHEET.replace(
                'why = "in" },\n',
                'why = "in" },\n'
                '  { match = "-p udp", action = "-j RETURN", why = "x", first = true },\n',
            ),
            "rows that are first stand before those that are not",
        ),
    ],
)
def test_first_is_for_the_head_of_a_chain_that_is_shared(text: str, fault: str) -> None:
    with pytest.raises(SheetError, match=fault):
        built(text)


@pytest.mark.parametrize("content", [b"\xff\xfe", SHEET.encode("utf-16")])
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
    rules(name).validate()
