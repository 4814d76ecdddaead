"""A sheet in which everything stands that a sheet can say, on every rule path of a real kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from interceptor.parse import nft_json, nft_text
from tests.lab.everything import FLAGS, OPTIONS, SHEET, TEXT
from tests.lab.paths import RulePath, by_chain, done_well, dump, interceptor

if TYPE_CHECKING:
    from tests.lab.pod import Pod

pytestmark = pytest.mark.root

_ALL = ("--sheet", SHEET, "--unproven", "--ip-families", "dual")
_FOREIGN = """\
*nat
-A OUTPUT -p udp -m udp --dport 9 -m comment --comment "theirs: interceptor: no" -j RETURN
COMMIT
"""


def test_it_is_installed_known_again_and_removed(pod: Pod, rule_path: RulePath) -> None:
    for family in ("iptables", "ip6tables"):
        pod.pod.run(f"{family}-nft-restore", "--noflush", stdin=_FOREIGN)
    before = dump(pod.pod)
    flags = (*_ALL, *rule_path.flags)
    done_well("install", *flags, *FLAGS, namespace=pod.pod)
    told = done_well("status", "--sheet", SHEET, namespace=pod.pod)
    assert told.stdout.startswith("in-sync: everything")
    again = done_well("install", *flags, *FLAGS, "--output", "json", namespace=pod.pod)
    assert not again.json["changed"]
    rules = pod.pod.run("ip", "rule") + pod.pod.run("ip", "-6", "rule")
    assert rules.count("32764:\tfrom all fwmark 0x111/0xfff lookup 100") == 2
    done_well("uninstall", namespace=pod.pod)
    assert by_chain(dump(pod.pod)) == by_chain(before)


def test_what_is_first_comes_before_what_others_have(pod: Pod) -> None:
    for family in ("iptables", "ip6tables"):
        pod.pod.run(f"{family}-nft-restore", "--noflush", stdin=_FOREIGN)
    before = dump(pod.pod)
    flags = (*_ALL, "--backend", "iptables", "--iptables-variant", "nft", *FLAGS)
    done_well("install", *flags, namespace=pod.pod)
    again = (*flags[:-1], flags[-1].replace("fd00:17::/64", "fd00:18::/64"))
    for install in (flags, again):
        done_well("install", *install, namespace=pod.pod)
        saved = pod.pod.run("iptables-nft-save", "-t", "nat").splitlines()
        output = [line for line in saved if line.startswith("-A OUTPUT")]
        theirs = next(n for n, line in enumerate(output) if "theirs" in line)
        ours = ["what some users reach directly" in line for line in output]
        assert ours[:theirs] == [True, True]
        assert not any(ours[theirs:])
        assert done_well("status", "--sheet", SHEET, namespace=pod.pod).stdout.startswith(
            "in-sync"
        )
    done_well("uninstall", namespace=pod.pod)
    assert by_chain(dump(pod.pod)) == by_chain(before)


def test_nfts_text_and_json_of_it_are_read_as_the_same_rules(pod: Pod) -> None:
    done_well("install", *_ALL, "--backend", "nftables", *FLAGS, namespace=pod.pod)
    text = pod.pod.run("nft", "list", "ruleset")
    made = nft_json.parse(pod.pod.run("nft", "-j", "list", "ruleset"))
    assert nft_text.parse(text).tables == made.tables
    live = done_well(
        "explain",
        "outbound",
        "--to",
        "203.0.113.1:53",
        "--proto",
        "udp",
        "--live",
        namespace=pod.pod,
    )
    assert "dnat to 10.0.0.53:15053" in live.stdout


def test_an_option_less_is_drift_and_is_replaced(pod: Pod, rule_path: RulePath) -> None:
    flags = (*_ALL, *rule_path.flags)
    before = dump(pod.pod)
    done_well("install", *flags, *FLAGS, namespace=pod.pod)
    less = (*_ALL, "--option", "vnet=docker0:172.17.0.0/16")
    found = interceptor("status", *_ALL[:2], *less[3:], namespace=pod.pod)
    assert found.code == 3
    assert "extra-rule" in found.stdout
    done_well("install", *less, "--unproven", *rule_path.flags, namespace=pod.pod)
    held = dump(pod.pod)
    assert "172.17.0.0/16" in held
    assert "fd00:17::/64" not in held
    assert "eth7" not in held
    assert done_well("status", "--sheet", SHEET, namespace=pod.pod).stdout.startswith("in-sync")
    done_well("uninstall", namespace=pod.pod)
    assert by_chain(dump(pod.pod)) == by_chain(before)


def test_a_rule_lost_from_a_built_in_chain_is_missed(pod: Pod) -> None:
    flags = (*_ALL, "--backend", "iptables", "--iptables-variant", "nft")
    done_well("install", *flags, *FLAGS, namespace=pod.pod)
    lost = next(
        line for line in pod.pod.run("iptables-nft-save").splitlines() if "--to-source" in line
    )
    pod.pod.run(
        "iptables-nft-restore", "--noflush", stdin=f"*nat\n{lost.replace('-A', '-D')}\nCOMMIT\n"
    )
    found = interceptor("status", "--sheet", SHEET, "--output", "json", namespace=pod.pod)
    assert [f["kind"] for f in found.json["findings"]] == ["missing-rule"]
    done_well("install", *flags, *FLAGS, namespace=pod.pod)
    assert done_well("status", "--sheet", SHEET, namespace=pod.pod).stdout.startswith("in-sync")


def test_options_come_from_a_file_and_the_environment_too(pod: Pod) -> None:
    table = "\n".join(f'{name} = "{value}"' for name, value in OPTIONS.items())
    config = f'sheet = "{SHEET}"\nunproven = true\nip_families = "dual"\n[options]\n{table}\n'
    planned = [
        interceptor("render", *_ALL[:2], *_ALL[3:], *FLAGS),
        interceptor("render", "--config", "-", stdin=config.replace("unproven = true\n", "")),
    ]
    assert planned[0].code == 0, planned[0].stderr
    assert planned[0].stdout == planned[1].stdout
    given = {"INTERCEPTOR_OPTIONS": TEXT, "INTERCEPTOR_SHEET": SHEET}
    from_environment = interceptor("render", "--ip-families", "dual", environment=given)
    assert from_environment.stdout == planned[0].stdout
    assert interceptor("install", "--config", "-", stdin=config, namespace=pod.pod).code == 0
    assert done_well("status", "--sheet", SHEET, namespace=pod.pod).stdout.startswith("in-sync")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--option", "nobody=1"), "--option: sheet everything has no option 'nobody'"),
        (("--option", "side_port=x"), "--option: option side_port: 'x' is no port"),
        (("--option", "vnet=docker0"), "'docker0' is not of the form interface:network"),
        (("--option", "left=icmp:1:1"), "protocol: 'icmp' is none of tcp, udp"),
        (("--option", "dns_address=10.0.0.0/8"), "is not one address, or one of each family"),
        (("--option", "strictness"), "'strictness' is not of the form name=value"),
        (("--option", "a=1;b=2"), "one name and value at a time"),
        (("--capture-dns", "all"), "--capture-dns: sheet everything has no --capture-dns: it"),
    ],
)
def test_what_the_sheet_does_not_have_is_refused_by_name(
    pod: Pod, flags: tuple[str, ...], says: str
) -> None:
    before = dump(pod.pod)
    done = interceptor("install", *_ALL, *flags, namespace=pod.pod)
    assert (done.code, says in done.stderr) == (2, True), done.stderr
    assert dump(pod.pod) == before


def test_a_sheet_without_options_refuses_them() -> None:
    done = interceptor("render", "--option", "vnet=docker0:10.0.0.0/8")
    assert (done.code, "sheet sidecar has no option 'vnet'" in done.stderr) == (2, True)
    assert "it has none" in done.stderr
