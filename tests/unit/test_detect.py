"""Which mesh dumps are of, with which settings, and how far they are from its sheet."""

from __future__ import annotations

import re
from time import process_time
from typing import TYPE_CHECKING

import pytest

from interceptor.detection.detect import detect
from interceptor.detection.found import Detected, Layer, Verdict
from interceptor.names import Family
from interceptor.operations.detect import known_sheets
from interceptor.parse import dump, iptables_save
from interceptor.record import Record
from interceptor.render import iptables, nftables
from interceptor.sheets.loader import load
from tests.lab import dumps
from tests.unit.common import SHEET, rules

if TYPE_CHECKING:
    from pathlib import Path

    from interceptor.detection.found import Found
    from interceptor.model import Ruleset

_SHEETS = known_sheets()


def detected(*texts: str) -> Detected:
    tables = tuple(table for text in texts for table in dump.read(text).tables)
    layers = (
        Layer("iptables", "iptables", tuple(t for t in tables if t.family is not Family.INET)),
        Layer("nftables", "nftables", tuple(t for t in tables if t.family is Family.INET)),
    )
    return detect(layers, _SHEETS)


def only(found: Detected) -> Found:
    assert len(found.found) == 1, found
    assert not found.unknown
    return found.found[0]


def text(ruleset: Ruleset, *, verbatim: bool = False) -> str:
    return iptables.text(iptables.lower(ruleset, Family.IP, verbatim=verbatim))


def nft_text(ruleset: Ruleset, sheet: str) -> str:
    return nftables.text(nftables.lower(ruleset, load(sheet).dialect))


_DUMPS = [
    ("istio.ip", "istio", {}),
    ("istio.ip6", "istio", {}),
    ("istio-1.5.ip", "istio-1.5", {}),
    ("istio-0.1.ip", "istio-0.1", {}),
    ("linkerd.ip", "linkerd", {}),
    ("osm.ip", "osm", {}),
    ("osm-old-names.ip", "osm", {}),
    ("osm-pod-ip.ip", "osm", {"option:pod_address": "10.244.0.7"}),
]


@pytest.mark.parametrize(("name", "sheet", "settings"), _DUMPS, ids=[row[0] for row in _DUMPS])
def test_a_dump_is_of_its_mesh(name: str, sheet: str, settings: dict[str, str]) -> None:
    found = only(detected(dumps.small(name)))
    assert (found.sheet, found.verdict, found.findings) == (sheet, Verdict.SAME, ())
    assert dict(found.settings) == settings
    assert found.families == (dumps.family_of(name),)


@pytest.mark.parametrize("name", ["cilium.ip", "host.ip", "host.ip6"])
def test_no_mesh_is_found_where_there_is_none(name: str) -> None:
    assert detected(dumps.small(name)) == Detected()


def test_all_of_a_stacked_pod_are_named_and_the_later_one_is_shadowed() -> None:
    for first, second in (("istio", "linkerd"), ("linkerd", "istio")):
        found = detected(dumps.small(f"stacked-{first}-{second}.ip"))
        verdicts = {one.sheet: one.verdict for one in found.found}
        assert verdicts == {first: Verdict.SAME, second: Verdict.DRIFTED}
        shadowed = next(one for one in found.found if one.sheet == second)
        assert {finding.kind for finding in shadowed.findings} == {"shadowed"}
        assert not found.is_in_sync


_OPTIONS = [
    ("sidecar", {"outbound_port": "1", "proxy_uid": "5,7-9", "exclude_outbound_ports": "81"}),
    ("sidecar", {"mode": "tproxy", "drop_invalid": "true", "tproxy_mark": "77"}),
    ("sidecar", {"capture_dns": "all", "dns_port": "54", "exempt_mark": "0x9/0xff"}),
    ("sidecar", {"capture_dns": "resolv-conf", "exclude_outbound_cidrs": "10.0.0.0/8"}),
    ("sidecar", {"include_outbound_cidrs": "10.0.0.0/8", "exclude_interfaces": "eth1"}),
    ("sidecar", {"include_inbound_ports": "", "exclude_outbound_uids": "3"}),
    ("istio", {"include_inbound_ports": "80,443", "include_outbound_owner_groups": "7,8"}),
    ("istio", {"mode": "tproxy", "virtual_interfaces": "vnet0,vnet1", "proxy_gid": "3,4"}),
    ("istio", {"capture_dns": "resolv-conf", "exclude_outbound_owner_groups": "5"}),
    ("istio-1.5", {"exclude_inbound_ports": "90", "include_outbound_cidrs": "10.0.0.0/8"}),
    ("linkerd", {"exclude_inbound_cidrs": "10.0.0.0/8", "exclude_outbound_ports": "3306"}),
    ("linkerd", {"proxy_gid": "2102"}),
    ("kuma", {"capture_dns": "all", "drop_invalid": "true", "exclude_inbound_ports": "90"}),
    ("consul", {"exclude_outbound_ports": "81", "inbound_port": "20001"}),
    ("osm", {"exclude_outbound_cidrs": "10.0.0.0/8", "exclude_inbound_ports": "90,92"}),
]


@pytest.mark.parametrize("language", ["iptables", "nftables"])
@pytest.mark.parametrize(("sheet", "chosen"), _OPTIONS, ids=str)
def test_settings_are_found_back(sheet: str, chosen: dict[str, str], language: str) -> None:
    built = rules(sheet, **chosen)
    said = (
        text(built, verbatim=load(sheet).verbatim)
        if language == "iptables"
        else nft_text(built, sheet)
    )
    found = only(detected(said))
    assert (found.sheet, found.verdict) == (sheet, Verdict.SAME), found.findings
    settings = dict(found.settings)
    settings.pop("ip_families", None)
    assert {k: _number(v) for k, v in settings.items()} == chosen


def _number(value: str) -> str:
    return str(int(value, 16)) if re.fullmatch("0x[0-9a-f]+", value) else value


@pytest.mark.parametrize("name", [row[0] for row in _DUMPS])
def test_chains_of_other_names_are_known_by_what_is_in_them(name: str) -> None:
    said = dumps.small(name)
    chains = re.findall(r"(?m)^:(\S+) - ", said)
    for number, chain in enumerate(chains):
        said = re.sub(rf"(?<= ){chain}\b|(?<=^:){chain}\b", f"X{number}", said, flags=re.MULTILINE)
    found = only(detected(said))
    assert (found.sheet, found.verdict) == (dict(zip(*_columns(), strict=True))[name], "in-sync")
    assert len(found.renamed) == len(chains)


def _columns() -> tuple[list[str], list[str]]:
    return [row[0] for row in _DUMPS], [row[1] for row in _DUMPS]


_HANDOVER = "-A ISTIO_OUTPUT -s 127.0.0.6/32 -o lo -j RETURN\n"
_LOCALHOST = "-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN\n"
_OWN = "-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN\n"
_TAKEN = "-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001\n"
_DRIFTS = [
    ("missing", _OWN, "", Verdict.DRIFTED, {"missing-rule"}),
    ("missing, and no packet came to it", _LOCALHOST, "", Verdict.ALIKE, {"missing-rule"}),
    ("changed", _HANDOVER, _HANDOVER.replace("lo", "eth0"), Verdict.DRIFTED, None),
    ("extra", _TAKEN, f"-A ISTIO_REDIRECT -p tcp --dport 9 -j DROP\n{_TAKEN}", "drifted", None),
    (
        "extra, after all",
        _TAKEN,
        f"{_TAKEN}-A ISTIO_REDIRECT -p tcp -j RETURN\n",
        "behaves-as",
        None,
    ),
    ("missing hand-over", _TAKEN, "", Verdict.DRIFTED, {"missing-rule"}),
    ("not called", "-A OUTPUT -j ISTIO_OUTPUT\n", "", Verdict.DRIFTED, {"missing-chain"}),
]


@pytest.mark.parametrize(
    ("before", "after", "verdict", "kinds"),
    [row[1:] for row in _DRIFTS],
    ids=[row[0] for row in _DRIFTS],
)
def test_drift_is_named_rule_by_rule(
    before: str, after: str, verdict: str, kinds: set[str] | None
) -> None:
    said = dumps.small("istio.ip")
    assert before in said
    found = only(detected(said.replace(before, after)))
    assert (found.sheet, found.verdict, dict(found.settings)) == ("istio", verdict, {})
    assert found.findings
    assert kinds is None or {finding.kind for finding in found.findings} == kinds
    assert bool(found.changes) == (verdict == Verdict.DRIFTED)


def test_rules_in_another_order_are_drift_if_packets_fare_otherwise() -> None:
    said = dumps.small("istio.ip")
    moved = said.replace(_OWN, "").replace(_HANDOVER, f"{_OWN}{_HANDOVER}")
    found = only(detected(moved))
    assert (found.sheet, found.verdict) == ("istio", Verdict.DRIFTED)
    assert "moved-rule" in {finding.kind for finding in found.findings}
    idle = said.replace(_LOCALHOST, "").replace(_HANDOVER, f"{_HANDOVER}{_LOCALHOST}")
    assert only(detected(idle)).verdict in (Verdict.ALIKE, Verdict.DRIFTED)


_LOOK_ALIKES = [
    (
        "-A PREROUTING -p tcp -j ISTIO_INBOUND\n"
        "-A ISTIO_INBOUND -p udp -j REDIRECT --to-ports 15006\n"
    ),
    (
        "-A OUTPUT -j ISTIO_OUTPUT\n"
        "-A ISTIO_OUTPUT -p tcp -m tcp --dport 80 -j ISTIO_REDIRECT\n"
        "-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001\n"
    ),
]


@pytest.mark.parametrize("lines", _LOOK_ALIKES)
def test_names_alone_make_no_mesh(lines: str) -> None:
    chains = dict.fromkeys(re.findall(r"ISTIO_\w+", lines))
    declared = "".join(f":{chain} - [0:0]\n" for chain in chains)
    base = ":PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"
    found = detected(f"*nat\n{base}{declared}{lines}COMMIT\n")
    assert not found.found
    assert [one.where.split()[-1] for one in found.unknown] == [[*chains][-1]]


def _recorded(settings: dict[str, str], **installed: str) -> Detected:
    built = iptables.lower(rules(**installed), Family.IP)
    record = Record("9.9", settings)
    return detected(iptables.text(record.added_to(built)))


def test_a_record_is_said_and_checked() -> None:
    found = only(_recorded({"outbound_port": "7"}, outbound_port="7"))
    assert (found.verdict, found.recorded, dict(found.record)) == (Verdict.SAME, "9.9", {})
    found = only(_recorded({"outbound_port": "8"}, outbound_port="7"))
    assert (found.verdict, found.recorded) == (Verdict.DRIFTED, "9.9")
    assert dict(found.settings) == {"outbound_port": "7"}
    assert dict(found.record) == {"outbound_port": "8"}
    assert {finding.kind for finding in found.findings} == {"missing-rule", "extra-rule"}


def test_a_record_of_what_is_not_there_is_not_believed() -> None:
    built = iptables.lower(rules("linkerd"), Family.IP)
    found = only(detected(iptables.text(Record("9.9", {}).added_to(built))))
    assert (found.sheet, found.recorded) == ("linkerd", "")


def test_a_sheet_of_ones_own_is_looked_for_too(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(SHEET)
    sheets = known_sheets([str(path)])
    built = rules(str(path), inbound_port="99")
    tables = iptables_save.parse(text(built), Family.IP).tables
    found = only(detect([Layer("iptables", "iptables", tables)], sheets))
    assert (found.sheet, found.path, dict(found.settings)) == (
        "mine",
        str(path),
        {"inbound_port": "99"},
    )


def test_twenty_thousand_rules_of_others_do_not_disturb() -> None:
    foreign = dump.read(dumps.kube_proxy(2000, 3)).tables
    assert sum(len(chain.rules) for table in foreign for chain in table.chains) > 20000
    mesh = dump.read(dumps.small("istio.ip")).tables[0]
    tables = []
    for table in foreign:
        chains = table.chains
        if table.name == "nat":
            theirs = {chain.name: chain for chain in mesh.chains}
            joined = [
                type(chain)(chain.name, (*chain.rules, *theirs.pop(chain.name).rules), chain.base)
                if chain.name in theirs
                else chain
                for chain in chains
            ]
            chains = (*joined, *theirs.values())
        tables.append(type(table)(table.family, table.name, chains))
    start = process_time()
    found = only(detect([Layer("iptables", "iptables", tuple(tables))], _SHEETS))
    assert (found.sheet, found.verdict) == ("istio", Verdict.SAME)
    assert {finding.kind for finding in found.noted} == {"foreign-before"}
    assert process_time() - start < 5
