"""Settings: one row for each field, layers that win in order, and files of each kind."""

from __future__ import annotations

import json
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, get_type_hints

import pytest

from interceptor import values
from interceptor.cli.main import run
from interceptor.config import OWN_NETNS, Config
from interceptor.layers import DEFAULTS, Layer, resolve
from interceptor.settings import SETTINGS, Scope, recorded_settings, show
from tests.unit.common import config

if TYPE_CHECKING:
    from pathlib import Path


def test_there_is_one_row_for_each_field() -> None:
    assert tuple(sorted(SETTINGS)) == tuple(sorted(Config.__struct_fields__))


@pytest.mark.parametrize("name", SETTINGS)
def test_a_row_is_complete_and_reads_what_it_shows(name: str) -> None:
    row = SETTINGS[name]
    assert row.help
    assert row.flag == (row.repeated or "--" + name.replace("_", "-"))
    assert row.environment == "INTERCEPTOR_" + name.upper()
    value = row.parse(row.default)
    assert row.parse(show(value)) == value
    assert row.is_switch or row.metavar


def test_every_field_has_the_type_its_row_gives() -> None:
    hints = get_type_hints(Config, localns={**vars(values), "IPv4Network": IPv4Network})
    for name, row in SETTINGS.items():
        assert isinstance(row.parse(row.default), hints[name]), name


def test_later_layers_win_and_say_so() -> None:
    weak = Layer({"inbound_port": "1", "outbound_port": "2"}, lambda key: f"file: {key}")
    strong = Layer({"inbound_port": "3"}, lambda key: f"flag {key}", given=True)
    resolved = resolve([DEFAULTS, weak, strong])
    assert (resolved.config.inbound_port, resolved.config.outbound_port) == (3, 2)
    assert resolved.origins["inbound_port"] == "flag inbound_port"
    assert resolved.origins["outbound_port"] == "file: outbound_port"
    assert resolved.origins["tunnel_port"] == "default"
    assert resolved.given == {"inbound_port"}
    assert resolved.policy_given
    assert not resolve([DEFAULTS, Layer({"netns": "/x"}, str, given=True)]).policy_given


def test_what_is_recorded_is_policy_that_differs() -> None:
    given = config(inbound_port="16006", exclude_outbound_cidrs="10.0.0.0/8", timeout="5")
    assert recorded_settings(given) == {
        "inbound_port": "16006",
        "exclude_outbound_cidrs": "10.0.0.0/8",
    }
    assert resolve([DEFAULTS, Layer(recorded_settings(given), str)]).config == config(
        inbound_port="16006", exclude_outbound_cidrs="10.0.0.0/8"
    )


def test_what_differs_from_a_sheets_own_default_is_recorded_too() -> None:
    given = config(exclude_inbound_ports="", outbound_port="16001")
    sheets = {"exclude_inbound_ports": "9090", "outbound_port": "16001"}
    recorded = recorded_settings(given, sheets)
    assert recorded == {"exclude_inbound_ports": ""}
    assert resolve([DEFAULTS, Layer(sheets, str), Layer(recorded, str)]).config == given


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.toml", 'inbound_port = 7\nexclude_inbound_ports = [80, "90-99"]\nverify = true\n'),
        ("c.yaml", "inbound_port: 7\nexclude_inbound_ports: [80, 90-99]\nverify: true\n"),
        ("c.yml", "inbound_port: '7'\nexclude_inbound_ports: 80,90-99\nverify: yes\n"),
        ("c.json", '{"inbound_port": 7, "exclude_inbound_ports": "80,90-99", "verify": true}'),
        ("config", 'inbound_port = 7\nexclude_inbound_ports = "80,90-99"\nverify = true\n'),
        ("config2", "inbound_port: 7\nexclude_inbound_ports: 80,90-99\nverify: true\n"),
        ("config3", '{"inbound_port": 7, "exclude_inbound_ports": ["80", "90-99"], "verify": 1}'),
    ],
)
def test_a_file_of_any_kind(
    name: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert run(["config", "show", "--config", str(path), "--output", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["inbound_port"] == {"value": "7", "origin": f"{path}: inbound_port"}
    assert shown["exclude_inbound_ports"]["value"] == "80,90-99"
    assert shown["verify"]["value"] == "true"


def test_flags_beat_environment_beats_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "c.toml"
    path.write_text("inbound_port = 1\noutbound_port = 1\ntunnel_port = 1\n")
    monkeypatch.setenv("INTERCEPTOR_CONFIG", str(path))
    monkeypatch.setenv("INTERCEPTOR_INBOUND_PORT", "2")
    monkeypatch.setenv("INTERCEPTOR_OUTBOUND_PORT", "2")
    monkeypatch.setenv("INTERCEPTOR_OUTPUT", "json")
    assert run(["config", "show", "--inbound-port", "3"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["inbound_port"] == {"value": "3", "origin": "--inbound-port"}
    assert shown["outbound_port"] == {"value": "2", "origin": "INTERCEPTOR_OUTBOUND_PORT"}
    assert shown["tunnel_port"] == {"value": "1", "origin": f"{path}: tunnel_port"}
    assert shown["proxy_uid"] == {"value": "1337", "origin": "default"}


def test_a_switch_can_be_switched_off_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("INTERCEPTOR_DRY_RUN", "true")
    assert run(["config", "show", "--no-dry-run", "--output", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["dry_run"] == {"value": "false", "origin": "--dry-run"}


def test_empty_is_the_empty_list(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--include-inbound-ports", "", "--include-outbound-cidrs=", "--output", "json"]
    assert run(["config", "show", *argv]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["include_inbound_ports"]["value"] == ""
    assert shown["include_outbound_cidrs"]["value"] == ""


def test_people_see_the_origin_when_they_ask(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", "show", "--inbound-port", "3"]) == 0
    assert "--inbound-port" not in capsys.readouterr().out
    assert run(["config", "show", "--origin", "--inbound-port", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert ["inbound_port", "3", "--inbound-port"] in [line.split() for line in lines]


def test_the_own_namespace_has_a_path() -> None:
    assert config().netns == OWN_NETNS
    assert not config().is_elsewhere
    assert not config(netns=OWN_NETNS).is_elsewhere
    assert config(netns="/run/netns/x").is_elsewhere


def test_every_scope_is_offered_somewhere() -> None:
    assert {row.scope for row in SETTINGS.values()} == set(Scope)
