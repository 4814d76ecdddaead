"""Sheet kuma from the command line: installed, verified, drifted, taken over, left, removed."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.lab.envoy import Proxy, running_envoy
from tests.lab.http import fetch, web_server
from tests.lab.left import LEFT
from tests.lab.netns import namespaces
from tests.lab.paths import RULE_PATHS, RulePath, by_chain, done_well, dump, interceptor
from tests.lab.pod import CLIENT, FAR, OUTSIDE, POD, POD_SIDE, Pod
from tests.netns.test_takeover import prepare

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.root

KUMA = 5678
EVERYTHING = (
    *("--capture-dns", "all", "--drop-invalid", "--exclude-inbound-ports", "9090"),
    *("--exclude-inbound-cidrs", "192.168.7.0/24", "--exclude-outbound-cidrs", "10.9.0.0/16"),
    *("--exclude-outbound-ports", "3306", "--exclude-outbound-uids", "4300"),
    *("--option", "exclude_outbound_ports_for_uids=tcp:3306:4200-4201,udp:53:4201"),
    *("--option", "vnet=docker0:172.17.0.0/16,br+:fd17::/64"),
)
"""Whatever can be had at once."""
LEFT_WITH = (
    *("--sheet", "kuma", "--ip-families", "dual", "--capture-dns", "all", "--drop-invalid"),
    *("--option", "vnet=docker0:172.17.0.0/16,docker0:fd17::/64"),
)
"""Settings that mean what ``LEFT`` has of Kuma, but for DNS over TCP."""


@pytest.mark.parametrize("flags", [(), EVERYTHING], ids=["default", "everything"])
def test_it_is_verified_in_sync_and_leaves_nothing(
    pod: Pod, rule_path: RulePath, flags: tuple[str, ...]
) -> None:
    before = dump(pod.pod)
    install = ("install", "--sheet", "kuma", *rule_path.flags, *flags, "--output", "json")
    assert done_well(*install, namespace=pod.pod).json["changed"]
    assert not done_well(*install, namespace=pod.pod).json["changed"]
    assert "::6/128" in pod.pod.run("ip", "-6", "address", "show", "dev", "lo")
    assert done_well("status", namespace=pod.pod).stdout.startswith("in-sync: kuma")
    verified = done_well("verify", "--output", "json", namespace=pod.pod).json
    assert verified["ok"]
    assert any("uid 5678" in connection["what"] for connection in verified["connections"])
    done_well("uninstall", namespace=pod.pod)
    assert dump(pod.pod) == before


def test_a_rule_less_is_drift_and_is_put_back(pod: Pod, rule_path: RulePath) -> None:
    install = ("install", "--sheet", "kuma", *rule_path.flags, "--capture-dns", "all")
    done_well(*install, namespace=pod.pod)
    whole = dump(pod.pod)
    if rule_path.name == "nftables":
        pod.pod.run("nft", "flush", "chain", "inet", "interceptor", "kuma-mesh-outbound-redirect")
    else:
        pod.pod.run(rule_path.name, "-t", "nat", "-F", "KUMA_MESH_OUTBOUND_REDIRECT")
    found = interceptor("status", "--output", "json", namespace=pod.pod)
    assert (found.code, [f["kind"] for f in found.json["findings"]]) == (3, ["missing-rule"])
    assert interceptor("verify", namespace=pod.pod).code == 126
    done_well(*install, namespace=pod.pod)
    assert by_chain(dump(pod.pod)) == by_chain(whole)


@pytest.mark.parametrize("tool", ["iptables-nft", "iptables-legacy"])
def test_a_rule_of_others_between_ours_is_told_of(pod: Pod, tool: str) -> None:
    variant = tool.removeprefix("iptables-")
    flags = ("--backend", "iptables", "--iptables-variant", variant, "--capture-dns", "all")
    done_well("install", "--sheet", "kuma", *flags, namespace=pod.pod)
    rule = ("OUTPUT", "3", "-p", "tcp", "--dport", "7", "-j", "ACCEPT")
    pod.pod.run(tool, "-t", "nat", "-I", *rule)
    found = interceptor("status", "--output", "json", namespace=pod.pod)
    assert [f["kind"] for f in found.json["findings"]] == ["foreign-before"]


@pytest.mark.parametrize("tool", LEFT["kuma"].tools)
@pytest.mark.parametrize("path", RULE_PATHS, ids=str)
def test_what_kumactl_left_is_taken_over(path: RulePath, tool: str) -> None:
    with namespaces("left") as (namespace,):
        before = prepare(namespace, tool, foreign=True)
        LEFT["kuma"].put(namespace, tool)
        done_well("install", *LEFT_WITH, *path.flags, namespace=namespace)
        assert "some reason" not in dump(namespace)
        assert done_well("status", namespace=namespace).stdout.startswith("in-sync: kuma")
        done_well("uninstall", namespace=namespace)
        assert dump(namespace) == before


@pytest.mark.parametrize("tool", LEFT["kuma"].tools)
def test_what_kumactl_left_means_what_the_sheet_does(tool: str) -> None:
    """The dump is of a Kuma that did not yet leave DNS over TCP alone."""
    with namespaces("left") as (namespace,):
        prepare(namespace, tool, foreign=False)
        LEFT["kuma"].put(namespace, tool)
        compared = ("diff", "live", "config", *LEFT_WITH, "--output", "json")
        changes = interceptor(*compared, namespace=namespace).json["changes"]
        assert changes
        assert all("tcp" in c["where"] and " port 53" in c["where"] for c in changes), changes


@contextmanager
def hammered(pod: Pod, count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Connect to ports nobody listens at, both ways, while a proxy takes what is captured."""
    argv = [sys.executable, "-m", "tests.lab.hammer"]
    with pod.pod:
        proxy = subprocess.Popen([*argv, "serve", "15001", "15006"], stdin=-1, stdout=-1)
    callers = []
    with proxy:
        assert proxy.stdin is not None
        assert proxy.stdout is not None
        assert proxy.stdout.readline() == b"ready\n"
        for namespace, host in ((pod.pod, FAR), (pod.client, POD)):
            with namespace:
                called = [*argv, "call", host[4], host[6], str(count)]
                callers.append(subprocess.Popen(called, stdout=-1, stderr=-1, user=1000))
        try:
            yield callers
        finally:
            for caller in callers:
                caller.kill()
                caller.communicate()
            proxy.stdin.close()


def test_from_kuma_to_sidecar_and_back_nothing_escapes(pod: Pod, rule_path: RulePath) -> None:
    """Connections that escape find nobody: the port is closed."""
    before = dump(pod.pod)
    kuma = ("install", "--sheet", "kuma", *rule_path.flags)
    sidecar = ("install", "--sheet", "sidecar", *rule_path.flags)
    done_well(*kuma, namespace=pod.pod)
    with hammered(pod, 1_000_000) as callers:
        for install in (sidecar, kuma, (*kuma, "--capture-dns", "all"), sidecar):
            done_well(*install, namespace=pod.pod)
        for caller in callers:
            assert caller.poll() is None, caller.communicate()
    assert "kuma_mesh" not in dump(pod.pod).lower().replace("-", "_")
    assert done_well("status", namespace=pod.pod).stdout.startswith("in-sync: sidecar")
    done_well("uninstall", namespace=pod.pod)
    assert dump(pod.pod) == before


def test_a_real_envoy_both_ways(pod: Pod, rule_path: RulePath, tmp_path: Path) -> None:
    proxy = Proxy(uid=KUMA, gid=KUMA)
    with (
        web_server(pod.pod, 8080),
        web_server(pod.outside, 80),
        running_envoy(pod.pod, tmp_path, proxy) as envoy,
    ):
        done_well("install", "--sheet", "kuma", *rule_path.flags, namespace=pod.pod)
        for version, brackets in ((4, "{}"), (6, "[{}]")):
            handover = {4: "127.0.0.6", 6: "::6"}[version]
            seen = len(envoy.log(0))
            body = fetch(pod.client, POD[version], 8080)
            [inbound] = envoy.log(seen + 1)[seen:]
            assert body == f"hello from pod, you are {handover}"
            assert inbound["listener"] == "inbound"
            assert inbound["from"].startswith(brackets.format(CLIENT[version]))
            assert inbound["upstream"] == f"{brackets.format(POD[version])}:8080"
            body = fetch(pod.pod, FAR[version], 80, uid=1000)
            [outbound] = envoy.log(seen + 2)[seen + 1 :]
            assert body == f"hello from outside, you are {POD_SIDE[version]}"
            assert outbound["listener"] == "outbound"
            assert outbound["upstream"] == f"{brackets.format(FAR[version])}:80"
            body = fetch(pod.pod, POD[version], 8080, uid=KUMA)
            [own] = envoy.log(seen + 3)[seen + 2 :]
            assert body == f"hello from pod, you are {handover}"
            assert own["listener"] == "inbound"
            # The proxy's own, and the app's to its own pod, pass it by.
            seen += 3
            for host, port, uid in (
                (OUTSIDE[version], 80, KUMA),
                (POD[version], 8080, 1000),
            ):
                assert fetch(pod.pod, host, port, uid=uid).startswith("hello from")
            assert envoy.log(seen + 1, timeout_s=0.3)[seen:] == []
