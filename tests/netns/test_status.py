"""status names what somebody did to the rules behind our back."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.lab.paths import (
    IPTABLES_LEGACY,
    IPTABLES_NFT,
    NFTABLES,
    RULE_PATHS,
    RulePath,
    done_well,
    interceptor,
)

if TYPE_CHECKING:
    from tests.lab.pod import Pod

pytestmark = pytest.mark.root


class Sabotage(NamedTuple):
    """What somebody does, in each tool's words, and how status must call it."""

    what: str
    iptables: tuple[str, ...]
    nft: str
    kind: str
    where: str


_CASES = [
    Sabotage(
        "deletes a rule",
        ("-D", "INTERCEPTOR_INBOUND", "1"),
        "flush chain inet interceptor interceptor-proxy",
        "missing-rule",
        "",
    ),
    Sabotage(
        "adds a rule to a chain of ours",
        ("-A", "INTERCEPTOR_INBOUND", "-p", "tcp", "--dport", "99", "-j", "RETURN"),
        "add rule inet interceptor interceptor-inbound tcp dport 99 return",
        "extra-rule",
        "rule 3",
    ),
    Sabotage(
        "deletes the jump",
        ("-F", "PREROUTING"),
        "flush chain inet interceptor nat-prerouting",
        "missing-rule",
        "prerouting",
    ),
    Sabotage(
        "empties what we jump to",
        ("-F", "INTERCEPTOR_OUT_REDIRECT"),
        "flush chain inet interceptor interceptor-out-redirect",
        "missing-rule",
        "rule 1",
    ),
    Sabotage(
        "adds a chain that looks like ours",
        ("-N", "INTERCEPTOR_MORE"),
        "add chain inet interceptor interceptor-more",
        "extra-chain",
        "",
    ),
]


@pytest.mark.parametrize("path", RULE_PATHS, ids=str)
@pytest.mark.parametrize("case", _CASES, ids=lambda case: case.what.replace(" ", "-"))
def test_sabotage_is_named_and_mended(pod: Pod, path: RulePath, case: Sabotage) -> None:
    done_well("install", *path.flags, namespace=pod.pod)
    if path is NFTABLES:
        pod.pod.run("nft", "-f", "-", stdin=case.nft + "\n")
    else:
        pod.pod.run(path.name, "-t", "nat", *case.iptables)
    found = interceptor("status", "--output", "json", namespace=pod.pod)
    assert found.code == 3
    assert found.json["state"] == "drifted"
    assert any(
        finding["kind"].startswith(case.kind) and case.where in finding["where"].lower()
        for finding in found.json["findings"]
    ), found.json["findings"]
    human = interceptor("status", namespace=pod.pod)
    assert human.code == 3
    assert all(finding["where"] in human.stdout for finding in found.json["findings"])
    repaired = done_well("install", *path.flags, "--output", "json", namespace=pod.pod)
    assert repaired.json["changed"]
    done_well("status", namespace=pod.pod)


@pytest.mark.parametrize("path", [IPTABLES_NFT, IPTABLES_LEGACY], ids=str)
def test_a_moved_rule_is_named(pod: Pod, path: RulePath) -> None:
    done_well("install", *path.flags, namespace=pod.pod)
    listed = pod.pod.run(path.name, "-t", "nat", "-S", "INTERCEPTOR_INBOUND").splitlines()
    pod.pod.run(path.name, "-t", "nat", "-D", "INTERCEPTOR_INBOUND", "1")
    pod.pod.run("sh", "-c", f"{path.name} -t nat {listed[1]}")
    found = interceptor("status", "--output", "json", namespace=pod.pod)
    assert found.code == 3
    kinds = [finding["kind"] for finding in found.json["findings"]]
    assert kinds == ["moved-rule"]


@pytest.mark.parametrize("path", [IPTABLES_NFT, IPTABLES_LEGACY], ids=str)
@pytest.mark.parametrize(
    ("rule", "named"),
    [
        (("-p", "tcp", "-j", "ACCEPT"), "shadowed"),
        (("-p", "tcp", "-j", "DNAT", "--to-destination", "127.0.0.1:1"), "shadowed"),
        (("-p", "tcp", "--dport", "9", "-j", "ACCEPT"), "foreign-before"),
        (("-p", "udp", "-j", "ACCEPT"), ""),
        (("-j", "LOG"), ""),
    ],
    ids=["accept", "dnat", "one-port", "udp", "log"],
)
def test_a_foreign_rule_before_ours_is_named_if_it_decides(
    pod: Pod, path: RulePath, rule: tuple[str, ...], named: str
) -> None:
    done_well("install", *path.flags, namespace=pod.pod)
    pod.pod.run(path.name, "-t", "nat", "-I", "PREROUTING", "1", *rule)
    found = interceptor("status", "--output", "json", namespace=pod.pod)
    kinds = [finding["kind"] for finding in found.json["findings"]]
    assert kinds == ([named] if named else [])
    assert found.code == (3 if named else 0)


@pytest.mark.parametrize(
    "statement",
    [
        "limit rate 1/day",
        "quota over 10 mbytes",
        "log",
        "ct count over 5",
        "ip dscp set 1",
        "meta mark set 1",
        "fib daddr type local",
    ],
)
def test_a_statement_slipped_into_a_rule_is_named(pod: Pod, statement: str) -> None:
    """A rule of ours with something more in it does something else."""
    done_well("install", *NFTABLES.flags, "--ip-families", "ipv4", namespace=pod.pod)
    chain = "inet interceptor interceptor-in-redirect"
    listed = pod.pod.run("nft", "--handle", "list", "chain", *chain.split())
    line = next(line for line in listed.splitlines() if "redirect to" in line)
    rule, _, handle = line.strip().rpartition(" # handle ")
    rule = re.sub(r"counter packets \d+ bytes \d+", f"{statement} counter", rule)
    pod.pod.run("nft", "-f", "-", stdin=f"replace rule {chain} handle {handle} {rule}\n")
    found = interceptor("status", "--output", "json", namespace=pod.pod)
    assert found.code == 3, pod.pod.run("nft", "list", "ruleset")
    kinds = {finding["kind"] for finding in found.json["findings"]}
    # What goes on with the next statement counts as a rule of its own before ours.
    assert "extra-rule" in kinds
    done_well("install", *NFTABLES.flags, "--ip-families", "ipv4", namespace=pod.pod)
    done_well("status", namespace=pod.pod)
    assert statement not in pod.pod.run("nft", "list", "chain", *chain.split())


def test_a_dormant_table_is_named_and_woken(pod: Pod) -> None:
    done_well("install", *NFTABLES.flags, namespace=pod.pod)
    pod.pod.run("nft", "-f", "-", stdin="add table inet interceptor { flags dormant; }\n")
    found = interceptor("status", "--output", "json", namespace=pod.pod)
    assert found.code == 3
    assert [finding["kind"] for finding in found.json["findings"]] == ["changed-table"]
    done_well("install", *NFTABLES.flags, namespace=pod.pod)
    done_well("status", namespace=pod.pod)
    assert "dormant" not in pod.pod.run("nft", "list", "tables")


def test_a_dormant_table_of_iptables_is_named_and_not_used(pod: Pod) -> None:
    """It is not ours to wake; where the choice is ours, another language takes over."""
    done_well("install", *IPTABLES_NFT.flags, namespace=pod.pod)
    pod.pod.run("nft", "-f", "-", stdin="add table ip nat { flags dormant; }\n")
    found = interceptor("status", "--output", "json", namespace=pod.pod)
    assert found.code == 3
    [finding] = found.json["findings"]
    assert (finding["kind"], finding["where"]) == ("changed-table", "ip nat")
    refused = interceptor("install", *IPTABLES_NFT.flags, namespace=pod.pod)
    assert refused.code == 4
    assert "table ip nat is dormant" in refused.stderr
    assert "wake it with nft add table ip nat" in refused.stderr
    done = done_well("install", "--output", "json", namespace=pod.pod)
    assert (done.json["backend"], done.json["removed_from"]) == ("nftables", ["iptables-nft"])
    done_well("status", namespace=pod.pod)


def test_a_dormant_table_can_be_woken_as_the_hint_says(pod: Pod) -> None:
    done_well("install", *IPTABLES_NFT.flags, namespace=pod.pod)
    pod.pod.run("nft", "-f", "-", stdin="add table ip nat { flags dormant; }\n")
    pod.pod.run("nft", "add", "table", "ip", "nat")
    done_well("status", namespace=pod.pod)


@pytest.mark.parametrize("path", [IPTABLES_NFT, IPTABLES_LEGACY], ids=str)
def test_what_decided_before_ours_at_install_is_noted_and_later_ones_are_drift(
    pod: Pod, path: RulePath
) -> None:
    """As the rules by which a container runtime hands over DNS, in a chain of their own."""
    iptables = (path.name, "-t", "nat")
    pod.pod.run(*iptables, "-N", "THEIRS")
    pod.pod.run(*iptables, "-A", "THEIRS", "-p", "tcp", "--dport", "53", "-j", "ACCEPT")
    pod.pod.run(*iptables, "-A", "OUTPUT", "-d", "127.0.0.11", "-j", "THEIRS")
    done = done_well("install", *path.flags, "--output", "json", namespace=pod.pod)
    [warned] = done.json["shadowed"]
    assert warned["where"] == "ip nat OUTPUT rule 1"
    assert f"decides before ours: {warned['where']}: -d 127.0.0.11/32 -j THEIRS" in done.stderr
    noted = done_well("status", "--output", "json", namespace=pod.pod).json
    assert (noted["state"], len(noted["noted"])) == ("in-sync", 1)
    assert "since before install" in done_well("status", namespace=pod.pod).stdout
    again = done_well("install", *path.flags, "--output", "json", namespace=pod.pod)
    assert not again.json["changed"]
    pod.pod.run(*iptables, "-I", "OUTPUT", "1", "-p", "tcp", "-j", "ACCEPT")
    found = interceptor("status", "--output", "json", namespace=pod.pod)
    assert found.code == 3
    [finding] = found.json["findings"]
    assert (finding["kind"], finding["where"]) == ("shadowed", "ip nat OUTPUT rule 1")
    assert len(found.json["noted"]) == 1


@pytest.mark.parametrize("path", [IPTABLES_NFT, IPTABLES_LEGACY], ids=str)
def test_installing_again_does_not_bless_what_takes_everything(pod: Pod, path: RulePath) -> None:
    pod.pod.run(path.name, "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "-j", "ACCEPT")
    done = done_well("install", *path.flags, namespace=pod.pod)
    assert "leaves nothing for ours to decide: ip nat OUTPUT rule 1" in done.stderr
    found = interceptor("status", "--output", "json", namespace=pod.pod)
    assert found.code == 3
    assert [finding["kind"] for finding in found.json["findings"]] == ["shadowed"]


def test_rules_in_two_languages_are_named(pod: Pod) -> None:
    done_well("install", *NFTABLES.flags, namespace=pod.pod)
    text = done_well("render", "--backend", "iptables", namespace=pod.pod).stdout
    pod.pod.run("iptables-nft-restore", "--noflush", stdin=text)
    found = interceptor("status", "--output", "json", namespace=pod.pod)
    assert found.code == 3
    assert [finding["kind"] for finding in found.json["findings"]] == ["stacked"]
    done_well("install", *NFTABLES.flags, namespace=pod.pod)
    done_well("status", namespace=pod.pod)


def test_nothing_installed_is_found(pod: Pod) -> None:
    found = interceptor("status", namespace=pod.pod)
    assert found.code == 3
    assert found.stdout.startswith("absent")


def test_it_compares_with_the_record_or_with_what_it_is_told(
    pod: Pod, rule_path: RulePath
) -> None:
    flags = ("--inbound-port", "16006", "--exclude-outbound-cidrs", "10.0.0.0/8,fd00::/8")
    done_well("install", *rule_path.flags, *flags, namespace=pod.pod)
    recorded = done_well("status", "--output", "json", namespace=pod.pod).json
    assert recorded["compared_with"] == "the record of the installation"
    told = done_well("status", *flags, "--output", "json", namespace=pod.pod).json
    assert told["compared_with"] == "this command's settings"
    assert interceptor("status", "--inbound-port", "15006", namespace=pod.pod).code == 3


def test_an_address_family_that_came_later_is_found(pod: Pod) -> None:
    """With auto, IPv6 is intercepted from the moment it can carry connections."""
    pod.pod.run("ip", "-6", "addr", "flush", "scope", "global")
    done_well("install", namespace=pod.pod)
    assert done_well("status", namespace=pod.pod).stdout.startswith("in-sync")
    pod.pod.address("eth0", "fd01::1/64")
    found = interceptor("status", namespace=pod.pod)
    assert found.code == 3
    assert "missing-rule" in found.stdout


def test_a_record_of_another_version_is_an_error_with_a_way_out(pod: Pod) -> None:
    done_well("install", *IPTABLES_NFT.flags, namespace=pod.pod)
    pod.pod.run(
        *("iptables-nft", "-t", "nat", "-A", "INTERCEPTOR_RECORD"),
        *("-m", "comment", "--comment", "flux_capacitor=on", "-j", "RETURN"),
    )
    found = interceptor("status", namespace=pod.pod)
    assert found.code == 2
    assert "flux_capacitor" in found.stderr
    assert "--config" in found.stderr
    done_well("status", "--inbound-port", "15006", namespace=pod.pod)
    done_well("uninstall", namespace=pod.pod)


def test_names_are_recorded_as_numbers(pod: Pod) -> None:
    done_well("install", "--proxy-uid", "nobody", *NFTABLES.flags, namespace=pod.pod)
    listed = json.loads(pod.pod.run("nft", "-j", "list", "ruleset"))
    comments = [entry["rule"].get("comment") for entry in listed["nftables"] if "rule" in entry]
    assert "proxy_uid=65534" in comments
