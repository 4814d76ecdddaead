"""Install, change and uninstall on every rule path: what is promised of them."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.lab.host import Host
from tests.lab.paths import (
    IPTABLES_LEGACY,
    IPTABLES_NFT,
    NFTABLES,
    PROGRAM,
    RulePath,
    done_well,
    dump,
    interceptor,
)
from tests.lab.pod import FAR, FAR_OTHER, Pod
from tests.lab.traffic import connect, recorder
from tests.lab.waiting import becomes

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.root

_BUSY_FLAGS = (
    *("--exclude-inbound-ports", ",".join(map(str, range(2000, 2080, 2)))),
    *("--exclude-outbound-cidrs", "10.9.0.0/16,fd09::/32", "--proxy-uid", "1337,4000-4010"),
    *("--exclude-interfaces", "eth7,docker+", "--exempt-mark", "0x1/0xff"),
)

_FOREIGN = """\
*nat
:THEIRS - [0:0]
-A PREROUTING -p udp -m udp --dport 53 -m comment --comment "their \\"quoted\\" rule" -j THEIRS
-A OUTPUT -d 127.0.0.11/32 -j THEIRS
-A THEIRS -p udp -j DNAT --to-destination 127.0.0.1:5353
COMMIT
*filter
-A INPUT -p tcp -m tcp --dport 1 -j REJECT --reject-with tcp-reset
COMMIT
"""


def plant_foreign_rules(pod: Pod, path: RulePath) -> None:
    """Put somebody else's rules where ours will go."""
    variant = "legacy" if path is IPTABLES_LEGACY else "nft"
    pod.pod.run(f"iptables-{variant}-restore", "--noflush", stdin=_FOREIGN)
    pod.pod.run("nft", "-f", "-", stdin="add table inet theirs\n")
    pod.pod.run("nft", "-f", "-", stdin="add chain inet theirs c\n")
    pod.pod.run("nft", "-f", "-", stdin="add rule inet theirs c tcp dport 9 accept\n")


def test_a_second_install_changes_nothing(pod: Pod, rule_path: RulePath) -> None:
    first = done_well(
        "install", *rule_path.flags, *_BUSY_FLAGS, "--output", "json", namespace=pod.pod
    )
    after_first = dump(pod.pod)
    second = done_well(
        "install", *rule_path.flags, *_BUSY_FLAGS, "--output", "json", namespace=pod.pod
    )
    assert first.json["changed"]
    status = done_well("status", "--output", "json", namespace=pod.pod).json
    counted = (first.json["chains"], first.json["rules"])
    assert counted == (status["chains"], status["rules"])
    assert first.json["steps"]
    assert not second.json["changed"]
    assert not second.json["steps"]
    assert dump(pod.pod) == after_first


def test_the_namespace_is_as_it_was(pod: Pod, rule_path: RulePath) -> None:
    before = dump(pod.pod)
    done_well("install", *rule_path.flags, *_BUSY_FLAGS, namespace=pod.pod)
    assert dump(pod.pod) != before
    done_well("install", *rule_path.flags, namespace=pod.pod)
    done_well("uninstall", namespace=pod.pod)
    assert dump(pod.pod) == before
    again = done_well("uninstall", namespace=pod.pod)
    assert again.stdout.startswith("nothing of ours")


def test_foreign_rules_survive_byte_for_byte(pod: Pod, rule_path: RulePath) -> None:
    plant_foreign_rules(pod, rule_path)
    before = dump(pod.pod)
    done_well("install", *rule_path.flags, *_BUSY_FLAGS, namespace=pod.pod)
    done_well("install", *rule_path.flags, namespace=pod.pod)
    with_ours = dump(pod.pod)
    assert 'their \\"quoted\\" rule' in with_ours
    done_well("uninstall", namespace=pod.pod)
    assert dump(pod.pod) == before


def test_foreign_rules_after_ours_survive(pod: Pod, rule_path: RulePath) -> None:
    done_well("install", *rule_path.flags, namespace=pod.pod)
    plant_foreign_rules(pod, rule_path)
    done_well("install", *rule_path.flags, *_BUSY_FLAGS, namespace=pod.pod)
    done_well("uninstall", namespace=pod.pod)
    left = dump(pod.pod)
    assert "INTERCEPTOR" not in left
    assert "interceptor" not in left
    assert "127.0.0.11" in left
    assert 'their \\"quoted\\" rule' in left


def test_a_table_somebody_uses_meanwhile_stays(pod: Pod) -> None:
    done_well("install", *IPTABLES_NFT.flags, namespace=pod.pod)
    pod.pod.run("iptables-nft", "-t", "nat", "-N", "THEIRS")
    done_well("uninstall", namespace=pod.pod)
    assert "chain THEIRS" in dump(pod.pod)
    assert "table ip6" not in dump(pod.pod)


@pytest.mark.parametrize("second", [NFTABLES, IPTABLES_NFT, IPTABLES_LEGACY], ids=str)
def test_another_backend_takes_over_and_leaves_nothing(
    pod: Pod, rule_path: RulePath, second: RulePath
) -> None:
    before = dump(pod.pod)
    done_well("install", *rule_path.flags, namespace=pod.pod)
    done_well("install", *second.flags, namespace=pod.pod)
    status = done_well("status", "--output", "json", namespace=pod.pod).json
    assert (status["state"], status["backend"]) == ("in-sync", second.name)
    done_well("uninstall", namespace=pod.pod)
    assert dump(pod.pod) == before


def test_auto_keeps_the_backend_that_holds_our_rules(pod: Pod, rule_path: RulePath) -> None:
    done_well("install", *rule_path.flags, namespace=pod.pod)
    again = done_well("install", "--output", "json", namespace=pod.pod)
    assert again.json["backend"] == rule_path.name
    assert not again.json["changed"]


def test_auto_takes_nftables_where_nothing_is(pod: Pod) -> None:
    done = done_well("install", "--output", "json", namespace=pod.pod)
    assert done.json["backend"] == "nftables"


@pytest.mark.parametrize("holder", [IPTABLES_NFT, IPTABLES_LEGACY], ids=str)
def test_the_variant_that_holds_rules_wins(pod: Pod, holder: RulePath) -> None:
    plant_foreign_rules(pod, holder)
    done = done_well("install", "--backend", "iptables", "--output", "json", namespace=pod.pod)
    assert done.json["backend"] == holder.name


def test_dry_run_touches_nothing(pod: Pod, rule_path: RulePath) -> None:
    before = dump(pod.pod)
    legacy_before = pod.pod.run("cat", "/proc/net/ip_tables_names")
    planned = done_well("install", "--dry-run", *rule_path.flags, namespace=pod.pod)
    assert "15006" in planned.stdout
    assert dump(pod.pod) == before
    assert pod.pod.run("cat", "/proc/net/ip_tables_names") == legacy_before


def test_a_failing_second_family_undoes_the_first(
    pod: Pod, tmp_path: Path, rule_path: RulePath
) -> None:
    if rule_path is NFTABLES:
        tool, words = "nft", "Error: Could not process rule: No buffer space available"
    else:
        variant = rule_path.name.removeprefix("iptables-")
        tool, words = f"ip6tables-{variant}-restore", "ip6tables-restore: line 3 failed"
    host = Host(tmp_path)
    passes = 'case "$*" in "-j list ruleset") exec $real "$@";; esac'
    host.replace(tool, f'{passes}\necho "{words}" >&2\nexit 1')
    plant_foreign_rules(pod, rule_path)
    before = dump(pod.pod)
    done = host.interceptor("install", "--netns", pod.pod.path, *rule_path.flags)
    assert done.code == 1
    assert tool in done.stderr
    assert dump(pod.pod) == before


def test_a_hanging_tool_is_ended_and_undone(pod: Pod, tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.replace("ip6tables-nft-restore", "exec sleep 60")
    before = dump(pod.pod)
    done = host.interceptor(
        "install", "--netns", pod.pod.path, *IPTABLES_NFT.flags, "--timeout", "1"
    )
    assert done.code == 1
    assert "ip6tables-nft-restore: not done within 1 seconds" in done.stderr
    assert dump(pod.pod) == before


def test_ctrl_c_leaves_nothing_half_done(pod: Pod, tmp_path: Path) -> None:
    """It waits until what was begun is done."""
    done_well("install", *IPTABLES_NFT.flags, namespace=pod.pod)
    wanted = dump(pod.pod)
    done_well("uninstall", namespace=pod.pod)
    began = tmp_path / "began"
    host = Host(tmp_path)
    host.replace("ip6tables-nft-restore", f'touch {began}\nsleep 1\nexec $real "$@"')
    process = host.start("install", "--netns", pod.pod.path, *IPTABLES_NFT.flags)
    assert becomes(began.exists)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert dump(pod.pod) == wanted


def test_a_tool_outlives_its_killed_parent_under_the_lock(pod: Pod, tmp_path: Path) -> None:
    """The next run waits until the tool that was started is done, and then sets things right."""
    began = tmp_path / "began"
    host = Host(tmp_path)
    host.replace("ip6tables-nft-restore", f'touch {began}\nsleep 1\nexec $real "$@"')
    process = host.start("install", "--netns", pod.pod.path, *IPTABLES_NFT.flags)
    assert becomes(began.exists)
    process.kill()
    process.wait()
    hurried = interceptor("uninstall", "--timeout", "0.2", namespace=pod.pod)
    assert "which holds this namespace's lock" in hurried.stderr
    done_well("uninstall", namespace=pod.pod)
    # Had it not waited, the tool would write its rules now.
    time.sleep(1.2)
    assert "INTERCEPTOR" not in dump(pod.pod)


def test_one_lock_for_each_namespace(pod: Pod) -> None:
    """Held through one path to the namespace, it is met through another; others are free."""
    held = os.open(pod.pod.path, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        waiting = interceptor("install", "--timeout", "0.3", namespace=pod.pod)
        assert waiting.code == 1
        assert f"process {os.getpid()}, which holds this namespace's lock" in waiting.stderr
        done_well("install", "--timeout", "10", namespace=pod.outside)
    finally:
        os.close(held)
    done_well("install", namespace=pod.pod)


def test_iptables_legacy_does_not_wait_for_the_hosts_lock(pod: Pod) -> None:
    """The host's /run/xtables.lock is somebody else's business when we work in a pod."""
    with open("/run/xtables.lock", "w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done_well("install", *IPTABLES_LEGACY.flags, "--timeout", "5", namespace=pod.pod)


def test_in_its_own_namespace_it_needs_no_path(pod: Pod, rule_path: RulePath) -> None:
    pod.pod.run(PROGRAM, "install", *rule_path.flags)
    assert pod.pod.run(PROGRAM, "status").startswith("in-sync")
    pod.pod.run(PROGRAM, "uninstall")
    assert interceptor("status", namespace=pod.pod).code == 3


@pytest.mark.parametrize("count", [300, 10_000], ids=["nftables-hundreds", "nftables-thousands"])
def test_many_networks_are_one_lookup(pod: Pod, count: int) -> None:
    networks = ",".join(f"10.{n >> 8}.{n & 255}.{n % 251}/32" for n in range(count))
    config = f'exclude_outbound_cidrs = "{networks},{FAR[4]}"\n'
    done = interceptor(
        *("install", "--config", "-", *NFTABLES.flags, "--output", "json"),
        namespace=pod.pod,
        stdin=config,
    )
    assert done.code == 0, done.stderr
    # Those of the sheet, some once for each family; none of a network.
    assert done.json["rules"] <= 15
    with recorder(pod.pod, 15001), recorder(pod.outside, 80):
        assert connect(pod.pod, FAR[4], 80)["who"] == "outside"
        assert connect(pod.pod, FAR_OTHER[4], 80)["port"] == 15001
    assert done_well("status", namespace=pod.pod).stdout.startswith("in-sync")
    done_well("uninstall", namespace=pod.pod)
