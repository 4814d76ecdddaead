"""Sheet kuma: its text in nft, and exactly which properties it breaks, by configuration.

``pytest tests/unit/test_kuma.py --update-goldens`` rewrites the texts; read the difference.
"""

from __future__ import annotations

import json
import re

import pytest

from interceptor.cli.main import run
from interceptor.errors import ConfigError
from interceptor.sheets.loader import load
from tests.lab.cases import GOLDENS
from tests.lab.kuma import CASES
from tests.unit.common import rules

TEXTS = (
    *("default", "all DNS", "DNS, zones not split", "excluded ports", "excluded addresses"),
    *("ports excluded for users", "excluded users", "included ports", "nothing inbound"),
    *("nothing outbound", "networks behind interfaces", "invalid packets"),
)
_ONE_FAMILY = "vnet=docker0:172.17.0.0/16"
_FAULTS: dict[str, tuple[tuple[str, ...], set[str]]] = {
    "default": ((), set()),
    "IPv4 only": (("--ip-families", "ipv4"), set()),
    "all DNS": (("--capture-dns", "all"), {"self-calls", "capture-total"}),
    "DNS, zones not split": (
        ("--capture-dns", "all", "--option", "skip_dns_conntrack_zone_split=true"),
        {"self-calls", "capture-total"},
    ),
    "DNS, the call inserted": (
        (
            *("--capture-dns", "all"),
            *("--option", "redirect_outbound_insert_instead_of_append=true"),
        ),
        {"self-calls", "capture-total"},
    ),
    "DNS is an excluded port": (
        ("--capture-dns", "all", "--exclude-outbound-ports", "53"),
        {"self-calls", "untouched"},
    ),
    "excluded inbound ports": (("--exclude-inbound-ports", "9090"), {"self-calls"}),
    "excluded sources": (("--exclude-inbound-cidrs", "10.1.0.0/16"), {"self-calls"}),
    "excluded outbound ports": (("--exclude-outbound-ports", "3306"), {"self-calls"}),
    "excluded destinations": (("--exclude-outbound-cidrs", "10.0.0.0/8"), {"self-calls"}),
    "excluded users": (("--exclude-outbound-uids", "4300"), set()),
    "one destination inside another": (
        ("--exclude-outbound-cidrs", "10.0.0.0/8,10.1.0.0/16"),
        {"self-calls", "no-dead-rule", "no-shadowed-rule"},
    ),
    "ports excluded for users": (
        ("--option", "exclude_outbound_ports_for_uids=tcp:22:1-5"),
        {"capture-total"},
    ),
    "included inbound ports": (("--include-inbound-ports", "80"), {"loop-free"}),
    "included and excluded inbound ports": (
        ("--include-inbound-ports", "80,443", "--exclude-inbound-ports", "443"),
        {"loop-free", "self-calls", "exceptions-hold"},
    ),
    "included outbound ports": (
        ("--include-outbound-ports", "443", "--include-outbound-cidrs", ""),
        set(),
    ),
    "nothing inbound": (("--include-inbound-ports", ""), {"loop-free"}),
    "nothing outbound": (
        ("--include-outbound-cidrs", ""),
        {"self-calls", "no-unreachable-chain"},
    ),
    "a network of one family": (
        ("--option", _ONE_FAMILY),
        {"capture-total", "untouched", "families-alike"},
    ),
    "invalid packets": (("--drop-invalid",), set()),
}


@pytest.mark.parametrize("name", _FAULTS)
def test_it_breaks_what_kuma_breaks_and_nothing_else(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags, broken = _FAULTS[name]
    families = () if "--ip-families" in flags else ("--ip-families", "dual")
    code = run(["prove", "--sheet", "kuma", *families, *flags, "--output", "json"])
    proven = json.loads(capsys.readouterr().out)["properties"]
    assert {one["id"] for one in proven if not one["holds"]} == broken
    assert code == (3 if broken else 0)


def test_every_reason_it_gives_is_needed() -> None:
    assert set(load("kuma").breaks) == set().union(*(broken for _, broken in _FAULTS.values()))


@pytest.mark.parametrize("name", TEXTS)
def test_text_in_nft(
    name: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    case = CASES[name]
    families = ("--ip-families", "dual")
    assert run(["render", "--sheet", "kuma", "--backend", "nftables", *families, *case.flags]) == 0
    text = capsys.readouterr().out
    path = GOLDENS / "kuma" / (re.sub(r"\W+", "-", name) + ".nft")
    if request.config.getoption("--update-goldens"):
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"include_outbound_cidrs": "10.0.0.0/8"}, "includes no networks, only ports"),
        ({"include_outbound_ports": "443"}, "empty include_outbound_cidrs as well"),
        ({"mode": "tproxy"}, "sheet kuma has no --mode: it redirects"),
        ({"proxy_gid": "7"}, "sheet kuma has no --proxy-gid: its proxy is known by its user"),
        ({"exclude_interfaces": "eth1"}, "sheet kuma has no --exclude-interfaces"),
        ({"options": "vnet=docker0"}, "is not of the form interface:network"),
        (
            {"options": "exclude_outbound_ports_for_uids=icmp:1:1"},
            "'icmp' is none of tcp, udp",
        ),
    ],
)
def test_what_kuma_cannot_do_is_refused(settings: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        rules("kuma", **settings)
