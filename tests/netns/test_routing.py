"""Routing rules, local routes and an address: added, missed, undone, left to others."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pytest

from interceptor.backends.routing import AddStep, RemoveStep
from interceptor.backends.step import RemovalStep, ToolStep
from interceptor.errors import CommandError
from interceptor.names import Family
from interceptor.operations.install import install
from interceptor.operations.site import Site
from interceptor.sheets.loader import load
from interceptor.system import rtnetlink
from interceptor.system.deadline import Deadline
from tests.lab.netns import namespaces
from tests.lab.paths import RULE_PATHS, RulePath, by_chain, done_well, dump, interceptor
from tests.unit.common import config

if TYPE_CHECKING:
    from tests.lab.netns import Namespace
    from tests.lab.pod import Pod

pytestmark = pytest.mark.root

TPROXY = ("--mode", "tproxy")
_OLD = {"mode": "tproxy", "tproxy_route_table": "77"}
LOST = {
    "missing-ip-rule": ("ip -4 rule del fwmark 1337 lookup 133", "ip -6 rule del fwmark 1337"),
    "missing-route": (
        "ip -4 route flush table 133",
        "ip -6 route flush table 133",
    ),
    "missing-address": ("ip -6 address del ::6/128 dev lo",),
}


@pytest.mark.parametrize("kind", LOST)
def test_status_names_what_is_missing_and_install_mends_it(
    pod: Pod, rule_path: RulePath, kind: str
) -> None:
    done_well("install", *rule_path.flags, *TPROXY, namespace=pod.pod)
    meant = dump(pod.pod)
    assert done_well("status", namespace=pod.pod).stdout.startswith("in-sync")
    for command in LOST[kind]:
        pod.pod.run(*command.split())
        found = interceptor("status", "--output", "json", namespace=pod.pod)
        assert found.code == 3
        assert {f["kind"] for f in found.json["findings"]} == {kind}
    assert len(found.json["findings"]) == len(LOST[kind])
    done_well("install", *rule_path.flags, *TPROXY, namespace=pod.pod)
    assert by_chain(dump(pod.pod)) == by_chain(meant)


def test_what_somebody_else_made_serves_and_stays(pod: Pod) -> None:
    pod.pod.run("ip", "rule", "add", "fwmark", "1337", "lookup", "133")
    pod.pod.run("ip", "route", "add", "local", "default", "dev", "lo", "table", "133")
    pod.pod.run("ip", "-6", "address", "add", "::6/128", "dev", "lo")
    pod.pod.run("ip", "-6", "rule", "add", "fwmark", "1337/0xff", "lookup", "133")
    before = dump(pod.pod)
    done_well("install", *TPROXY, namespace=pod.pod)
    assert pod.pod.run("ip", "rule").count("0x539") == 1
    assert done_well("status", namespace=pod.pod).stdout.startswith("in-sync")
    done_well("uninstall", namespace=pod.pod)
    assert dump(pod.pod) == before


def test_what_a_killed_run_left_is_seen_and_removed(pod: Pod) -> None:
    """Rules are gone and routes are not: as between the last two steps of uninstall."""
    before = dump(pod.pod)
    done_well("install", *TPROXY, namespace=pod.pod)
    pod.pod.run("nft", "flush", "ruleset")
    found = interceptor("status", namespace=pod.pod)
    assert (found.code, found.stdout.count("extra-routing")) == (3, 5)
    done_well("uninstall", namespace=pod.pod)
    assert dump(pod.pod) == before
    assert done_well("uninstall", namespace=pod.pod).stdout.startswith("nothing of ours")


def test_another_mark_and_table_replace_the_old_ones(pod: Pod, rule_path: RulePath) -> None:
    before = dump(pod.pod)
    done_well("install", *rule_path.flags, *TPROXY, namespace=pod.pod)
    other = (*TPROXY, "--tproxy-mark", "0x77", "--tproxy-route-table", "77")
    done_well("install", *rule_path.flags, *other, namespace=pod.pod)
    rules = pod.pod.run("ip", "rule") + pod.pod.run("ip", "-6", "rule")
    assert (rules.count("0x77"), rules.count("0x539")) == (2, 0)
    assert pod.pod.run("ip", "route", "show", "table", "77").startswith("local default")
    assert pod.pod.run("ip", "route", "show", "table", "133", check=False) == ""
    done_well("install", *rule_path.flags, namespace=pod.pod)
    assert "lookup 77" not in pod.pod.run("ip", "rule")
    done_well("uninstall", namespace=pod.pod)
    assert dump(pod.pod) == before


def test_with_ipv6_off_the_address_is_neither_wanted_nor_missed(pod: Pod) -> None:
    for where in ("all", "default", "lo"):
        pod.pod.sysctl(f"ipv6/conf/{where}/disable_ipv6", "1")
    done_well("install", "--ip-families", "dual", namespace=pod.pod)
    assert done_well("status", namespace=pod.pod).stdout.startswith("in-sync")
    pod.pod.sysctl("ipv6/conf/lo/disable_ipv6", "0")
    assert "missing-address" in interceptor("status", namespace=pod.pod).stdout


def test_dry_run_shows_commands_that_do_the_same(pod: Pod) -> None:
    planned = done_well("install", *TPROXY, "--dry-run", namespace=pod.pod).stdout
    commands = [line[2:].split() for line in planned.splitlines() if line.startswith("# ip ")]
    assert len(commands) == 5
    for command in commands:
        pod.pod.run(*command)
    with pod.pod:
        there = rtnetlink.look()
    done = done_well("install", *TPROXY, "--output", "json", namespace=pod.pod)
    assert not [step for step in done.json["steps"] if step["argv"][:1] == ["ip"]]
    with pod.pod:
        assert set(rtnetlink.look()) == set(there)


def test_what_is_there_is_seen_as_ip_shows_it() -> None:
    with namespaces("look") as (namespace,):
        for family in ("-4", "-6"):
            namespace.run("ip", family, "rule", "add", "fwmark", "7", "lookup", "5000")
            namespace.run("ip", family, "rule", "add", "fwmark", "8/0xf", "lookup", "5000")
            namespace.run("ip", family, "rule", "add", "fwmark", "9", "iif", "lo", "lookup", "9")
            namespace.run("ip", family, "rule", "add", "not", "fwmark", "10", "lookup", "9")
            namespace.run("ip", family, "rule", "add", "from", "all", "lookup", "9")
            route = ("local", "default", "dev", "lo", "table", "5000", "proto", "99")
            namespace.run("ip", family, "route", "add", *route)
        namespace.run("ip", "address", "add", "10.5.5.5/32", "dev", "lo")
        namespace.run("ip", "address", "add", "10.6.6.6/24", "dev", "lo")
        with namespace:
            found = rtnetlink.look()
    # The kernel gives each the place before the last one's.
    assert sorted(map(str, found)) == [
        "ip -4 address 10.5.5.5/32 dev lo",
        "ip -4 route local default dev lo table 5000",
        "ip -4 rule fwmark 0x7 pref 32765 lookup 5000",
        "ip -4 rule fwmark 0x8/0xf pref 32764 lookup 5000",
        "ip -6 route local default dev lo table 5000",
        "ip -6 rule fwmark 0x7 pref 32765 lookup 5000",
        "ip -6 rule fwmark 0x8/0xf pref 32764 lookup 5000",
    ]
    assert {one.protocol for one in found} == {0, 99}
    assert {one.family for one in found} == {Family.IP, Family.IP6}


@pytest.mark.parametrize(
    "old", [{}, {"mode": "tproxy", "tproxy_route_table": "77"}], ids=["", "old"]
)
@pytest.mark.parametrize("path", RULE_PATHS, ids=str)
def test_a_failure_at_any_step_leaves_what_was(
    pod: Pod, path: RulePath, old: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each table of each family, each route, each rule and the address fails once."""
    backend = dict(zip(("backend", "iptables_variant"), path.flags[1::2], strict=False))
    if old:
        change(pod.pod, **backend, **old)
    before = by_chain(dump(pod.pod))
    failed = 0
    for failing in count():
        with monkeypatch.context() as patch:
            fail_at(patch, failing)
            try:
                change(pod.pod, **backend, mode="tproxy", capture_dns="all", drop_invalid="true")
                break
            except CommandError:
                failed += 1
                assert by_chain(dump(pod.pod)) == before, f"step {failing}"
    # Two rules, two routes and, where nothing was, an address; and one or two tools.
    assert failed >= (5 if old else 6)


def change(namespace: Namespace, **settings: str) -> None:
    """Install in this process, in a namespace."""
    deadline = Deadline(30)
    with namespace:
        install(config(**settings), load("sidecar"), Site(deadline), deadline)


def fail_at(patch: pytest.MonkeyPatch, number: int) -> None:
    """Make the step of a number fail, counted from 0, before it does anything, and no other."""
    taken = count()
    for kind in (AddStep, RemoveStep, ToolStep, RemovalStep):
        real = kind.apply

        def apply(self: object, deadline: Deadline, real: object = real) -> None:
            if next(taken) == number:
                raise CommandError("this step was told to fail")
            real(self, deadline)  # type: ignore[operator]

        patch.setattr(kind, "apply", apply)
