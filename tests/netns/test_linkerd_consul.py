"""The sheets ``linkerd`` and ``consul`` through the command line, from install to uninstall."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab.left import LEFT
from tests.lab.paths import (
    IPTABLES_LEGACY,
    IPTABLES_NFT,
    NFTABLES,
    RULE_PATHS,
    RulePath,
    by_chain,
    done_well,
    dump,
    interceptor,
)
from tests.lab.traffic import recorder
from tests.netns.test_install import plant_foreign_rules
from tests.netns.test_killed import Prober

if TYPE_CHECKING:
    from tests.lab.pod import Pod

pytestmark = pytest.mark.root

_OPTIONS = {
    "linkerd": (
        *("--proxy-gid", "2102", "--exclude-inbound-cidrs", "192.0.2.0/28,fd99::/64"),
        *("--exclude-inbound-ports", "4190,4191,22", "--include-inbound-ports", "80,8080-8090"),
    ),
    "consul": (
        *("--ip-families", "dual", "--exclude-inbound-ports", "21000,20300-20310"),
        *("--exclude-outbound-ports", "443", "--exclude-outbound-cidrs", "10.99.0.0/16,fd99::/64"),
        *("--option", "dns_address=10.2.0.2,fd02::2"),
    ),
}
_WAYS = [
    pytest.param(name, flags, id=f"{name}, {what}")
    for name, more in _OPTIONS.items()
    for what, flags in (("its defaults", ()), ("its options", more))
]


@pytest.mark.parametrize(("name", "flags"), _WAYS)
def test_from_install_to_uninstall(
    pod: Pod, rule_path: RulePath, name: str, flags: tuple[str, ...]
) -> None:
    plant_foreign_rules(pod, rule_path)
    before = dump(pod.pod)
    install = ("install", "--sheet", name, *rule_path.flags, *flags, "--output", "json")
    done_well(*install, namespace=pod.pod)
    assert not done_well(*install, namespace=pod.pod).json["changed"]
    status = done_well("status", "--output", "json", namespace=pod.pod).json
    assert (status["state"], status["sheet"]) == ("in-sync", name)
    assert status["backend"] == rule_path.name
    wanted = {"linkerd": "redirect to 4140", "consul": "redirect to 15001"}[name]
    told = done_well("explain", "outbound", "--to", "203.0.113.1:80", "--live", namespace=pod.pod)
    assert wanted in told.stdout
    assert wanted.split()[-1] in done_well("graph", "--live", namespace=pod.pod).stdout
    done_well("uninstall", namespace=pod.pod)
    assert by_chain(dump(pod.pod)) == by_chain(before)
    assert interceptor("status", namespace=pod.pod).stdout.startswith("absent")


@pytest.mark.parametrize(("name", "flags"), _WAYS)
def test_verify_tries_what_the_sheet_names(
    pod: Pod, rule_path: RulePath, name: str, flags: tuple[str, ...]
) -> None:
    done_well("install", "--sheet", name, *rule_path.flags, *flags, namespace=pod.pod)
    done = done_well("verify", "--output", "json", namespace=pod.pod).json
    seen = {one["seen"] for one in done["connections"]}
    ports = {"linkerd": (4143, 4140), "consul": (20000, 15001)}[name]
    assert {"direct", *(f"redirect to {port}" for port in ports)} <= seen
    # Nobody is where queries go to, and our own listener has none of them.
    assert all(": dnat to " in one for one in done["not_tried"])
    assert bool(done["not_tried"]) is ("--option" in flags)


def test_verify_misses_a_query_that_is_not_sent_on(pod: Pod, rule_path: RulePath) -> None:
    flags = ("--sheet", "consul", "--option", "dns_address=10.2.0.2")
    done_well("install", *rule_path.flags, *flags, namespace=pod.pod)
    done_well("verify", namespace=pod.pod)
    if rule_path is NFTABLES:
        pod.pod.run("nft", "flush", "chain", "inet", "consul_tproxy", "CONSUL_DNS_REDIRECT")
    else:
        pod.pod.run(rule_path.name, "-t", "nat", "-F", "CONSUL_DNS_REDIRECT")
    done = interceptor("verify", "--output", "json", namespace=pod.pod)
    assert done.code == 126
    missed = [one for one in done.json["connections"] if not one["ok"]]
    assert {one["expected"] for one in missed} == {"dnat to 10.2.0.2"}
    assert {one["seen"] for one in missed} == {"direct", "redirect to 15001"}


def test_verify_knows_a_query_that_comes_to_its_own_pod(pod: Pod, rule_path: RulePath) -> None:
    flags = ("--sheet", "consul", "--option", "dns_address=10.2.0.1")
    done_well("install", *rule_path.flags, *flags, namespace=pod.pod)
    with recorder(pod.pod, 53), recorder(pod.pod, 53, protocol="udp"):
        done = done_well("verify", "--output", "json", namespace=pod.pod)
    sent_on = [one["what"] for one in done.json["connections"] if one["seen"].startswith("dnat")]
    assert any(what.startswith("tcp app -> outside:53") for what in sent_on)


@pytest.mark.parametrize("name", _OPTIONS)
def test_a_rule_that_is_lost_is_found_and_comes_back(
    pod: Pod, rule_path: RulePath, name: str
) -> None:
    done_well("install", "--sheet", name, *rule_path.flags, namespace=pod.pod)
    held = dump(pod.pod)
    if rule_path is NFTABLES:
        chain = {
            "linkerd": "interceptor proxy-init-output",
            "consul": "consul_tproxy CONSUL_PROXY_OUTPUT",
        }[name]
        pod.pod.run("nft", "flush", "chain", "inet", *chain.split())
    else:
        chain = {"linkerd": "PROXY_INIT_OUTPUT", "consul": "CONSUL_PROXY_OUTPUT"}[name]
        pod.pod.run(rule_path.name, "-t", "nat", "-D", chain, "1")
    found = interceptor("status", "--output", "json", namespace=pod.pod)
    assert found.code == 3
    kinds = {finding["kind"] for finding in found.json["findings"]}
    assert kinds == {"missing-rule"}
    done_well("install", "--sheet", name, *rule_path.flags, namespace=pod.pod)
    assert by_chain(dump(pod.pod)) == by_chain(held)
    assert done_well("status", namespace=pod.pod).stdout.startswith("in-sync")


@pytest.mark.parametrize("families", ["ipv4", "dual", "ipv6"])
def test_families_can_change_where_the_other_is_let_go_first(pod: Pod, families: str) -> None:
    before = dump(pod.pod)
    flags = ("--sheet", "consul", "--backend", "nftables", "--ip-families", families)
    done_well("install", *flags, namespace=pod.pod)
    held = pod.pod.run("nft", "list", "table", "inet", "consul_tproxy")
    lets_go = {"ipv4": "meta nfproto ipv6 ", "dual": "nothing", "ipv6": "meta nfproto ipv4 "}
    assert held.count(lets_go[families]) == (0 if families == "dual" else 2)
    assert held.count("meta nfproto") == held.count(lets_go[families])
    assert done_well("status", namespace=pod.pod).stdout.startswith("in-sync")
    done_well("install", *flags[:-1], "dual", namespace=pod.pod)
    assert "nfproto" not in pod.pod.run("nft", "list", "table", "inet", "consul_tproxy")
    done_well("uninstall", namespace=pod.pod)
    assert dump(pod.pod) == before


_LEFT = [
    (left, tool) for left in ("linkerd", "consul", "consul in nft") for tool in LEFT[left].tools
]


@pytest.mark.parametrize(("left", "tool"), _LEFT)
@pytest.mark.parametrize("path", RULE_PATHS, ids=str)
def test_from_its_own_tool_by_its_sheet_to_sidecar_and_no_moment_without(
    pod: Pod, path: RulePath, left: str, tool: str
) -> None:
    before = dump(pod.pod)
    name = left.split(maxsplit=1)[0]
    out, into = (4140, 15001), (4143, 20000, 15006)
    # Consul's is for IPv4 alone.
    versions = (4, 6) if name == "linkerd" else (4,)
    with recorder(pod.pod, 8080, *out, *into), recorder(pod.outside, 80):
        LEFT[left].put(pod.pod, tool)
        with Prober(pod, out, into, versions) as prober:
            for sheet in (name, "sidecar", name, "sidecar"):
                done_well("install", "--sheet", sheet, *path.flags, namespace=pod.pod)
                held = dump(pod.pod)
                assert LEFT[left].chains.lower() in held.lower().replace("-", "_") or (
                    sheet == "sidecar"
                )
                assert done_well("status", namespace=pod.pod).stdout.startswith("in-sync")
    assert not prober.escaped
    assert not prober.failed
    assert prober.made > 20
    assert LEFT[left].chains not in dump(pod.pod)
    done_well("uninstall", namespace=pod.pod)
    assert dump(pod.pod) == before


@pytest.mark.parametrize("path", [IPTABLES_NFT, IPTABLES_LEGACY], ids=str)
def test_a_subnet_of_one_family_does_not_stop_the_other(pod: Pod, path: RulePath) -> None:
    flags = ("--sheet", "linkerd", *path.flags, "--exclude-inbound-cidrs", "10.9.0.0/16")
    done_well("install", *flags, namespace=pod.pod)
    saved = pod.pod.run(f"{path.name.replace('iptables', 'ip6tables')}-save")
    assert "-j REDIRECT --to-ports 4143" in saved
    assert "-s 10.9" not in saved
