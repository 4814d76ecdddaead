"""A sheet somebody wrote, through every backend: also one that has no NAT in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab.paths import RulePath, by_chain, done_well, dump, interceptor

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.pod import Pod

pytestmark = pytest.mark.root

_HEAD = 'format = 1\nname = "mine"\nsummary = "a sheet of mine"\nprefix = "INTERCEPTOR_MINE_"\n'
_CHAINS = {
    "nat": """
[chains.nat]
OUTPUT = [{ match = "-p tcp --dport 80", action = "-j INTERCEPTOR_MINE_WEB", why = "the web" }]
INTERCEPTOR_MINE_WEB = [
  { match = "-p tcp", action = "-j REDIRECT --to-ports {outbound_port}", why = "to the proxy" },
]
""",
    "filter": """
[chains.filter]
INPUT = [{ match = "-p tcp", action = "-j INTERCEPTOR_MINE_GUARD", why = "guarded" }]
INTERCEPTOR_MINE_GUARD = [
  { match = "-p tcp --dport {inbound_port}", action = "-j DROP", why = "not from outside" },
]
""",
    "security": """
[chains.security]
OUTPUT = [{ match = "-p tcp", action = "-j INTERCEPTOR_MINE_GUARD", why = "guarded" }]
INTERCEPTOR_MINE_GUARD = [{ match = "-d {localhost}", action = "-j ACCEPT", why = "at home" }]

[sets.networks]
localhost = "{loopback_cidr} + ::1/128"
""",
    "several": """
[chains.raw]
OUTPUT = [{ match = "-p tcp", action = "-j INTERCEPTOR_MINE_A", why = "a" }]
INTERCEPTOR_MINE_A = [{ match = "-p tcp --dport 1", action = "-j ACCEPT", why = "one" }]

[chains.mangle]
PREROUTING = [{ match = "-p tcp", action = "-j INTERCEPTOR_MINE_B", why = "b" }]
INTERCEPTOR_MINE_B = [{ match = "-p tcp --dport 2", action = "-j ACCEPT", why = "two" }]
""",
}


@pytest.mark.parametrize("tables", _CHAINS)
def test_bare_commands_know_it_again(
    pod: Pod, rule_path: RulePath, tmp_path: Path, tables: str
) -> None:
    sheet = tmp_path / "mine.toml"
    sheet.write_text(_HEAD + _CHAINS[tables])
    before = dump(pod.pod)
    flags = ("--sheet", str(sheet), "--unproven", *rule_path.flags)
    done_well("install", *flags, "--ip-families", "dual", namespace=pod.pod)
    assert "INTERCEPTOR_MINE" in dump(pod.pod).upper().replace("-", "_")
    again = done_well(
        "install", *flags, "--ip-families", "dual", "--output", "json", namespace=pod.pod
    )
    assert not again.json["changed"]
    told = done_well("status", "--sheet", str(sheet), namespace=pod.pod)
    assert told.stdout.startswith("in-sync: mine")
    bare = interceptor("status", namespace=pod.pod)
    assert bare.code == 2
    assert f"made from the sheet {str(sheet)!r}" in bare.stderr
    changed = done_well(
        "install", *flags, "--ip-families", "ipv4", "--output", "json", namespace=pod.pod
    )
    assert changed.json["changed"]
    done_well("status", "--sheet", str(sheet), namespace=pod.pod)
    done_well("uninstall", namespace=pod.pod)
    assert by_chain(dump(pod.pod)) == by_chain(before)


def test_what_a_sheet_says_it_breaks_does_not_stop_it(pod: Pod, tmp_path: Path) -> None:
    sheet = tmp_path / "mine.toml"
    sheet.write_text(_HEAD + _CHAINS["filter"])
    flags = ("--sheet", str(sheet), "--backend", "nftables")
    refused = interceptor("install", *flags, namespace=pod.pod)
    assert (refused.code, "error: loop-free: " in refused.stderr) == (2, True), refused
    known = interceptor("prove", *flags[:2], "--output", "json")
    broken = [p["id"] for p in known.json["properties"] if not p["holds"]]
    reasons = "".join(f'{name} = "guards only"\n' for name in broken)
    sheet.write_text(f"{_HEAD}[breaks]\n{reasons}{_CHAINS['filter']}")
    done_well("install", *flags, namespace=pod.pod)
    assert "(mine: guards only)" in interceptor("prove", *flags[:2]).stdout
    sheet.write_text(f'{_HEAD}[breaks]\nloops = "x"\n{_CHAINS["filter"]}')
    wrong = interceptor("install", *flags, "--inbound-port", "9", namespace=pod.pod)
    assert (wrong.code, "[breaks] names 'loops'" in wrong.stderr) == (2, True), wrong


def test_from_one_sheet_to_another(pod: Pod, rule_path: RulePath, tmp_path: Path) -> None:
    sheet = tmp_path / "mine.toml"
    sheet.write_text(_HEAD + _CHAINS["filter"])
    before = dump(pod.pod)
    done_well("install", *rule_path.flags, namespace=pod.pod)
    sidecar = dump(pod.pod)
    done_well("install", "--sheet", str(sheet), "--unproven", *rule_path.flags, namespace=pod.pod)
    assert "redirect" not in dump(pod.pod).lower()
    done_well("install", *rule_path.flags, namespace=pod.pod)
    assert by_chain(dump(pod.pod)) == by_chain(sidecar)
    done_well("uninstall", namespace=pod.pod)
    assert by_chain(dump(pod.pod)) == by_chain(before)
