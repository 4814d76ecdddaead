"""Rules of ours in a language this host cannot speak: never overlooked, never built upon."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.lab.host import TOOLS, Host
from tests.lab.paths import (
    IPTABLES_LEGACY,
    IPTABLES_NFT,
    NFTABLES,
    RulePath,
    done_well,
    dump,
    interceptor,
)
from tests.lab.waiting import becomes

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.pod import Pod

pytestmark = pytest.mark.root


class Hidden(NamedTuple):
    """Where ours are, what the host has, and what must be said."""

    path: RulePath
    tools: tuple[str, ...]
    says: str


def _without(part: str) -> tuple[str, ...]:
    return tuple(tool for tool in TOOLS if part not in tool)


_CASES = [
    Hidden(NFTABLES, TOOLS[1:], "rules of ours are in nftables, inet interceptor"),
    Hidden(IPTABLES_NFT, ("nft",), "rules of ours are in iptables-nft, ip nat and ip6 nat"),
    Hidden(IPTABLES_NFT, _without("ip6tables-nft"), "rules of ours are in iptables-nft"),
    Hidden(
        IPTABLES_LEGACY,
        _without("legacy"),
        "rules of ours may be in iptables-legacy, ip nat and ip6 nat",
    ),
]


@pytest.mark.parametrize("case", _CASES, ids=lambda case: f"{case.path}-{len(case.tools)}")
class TestHidden:
    """What is out of sight is named by every command, and nothing is changed beside it."""

    @pytest.mark.parametrize("command", ["install", "uninstall"])
    def test_changes_are_refused(
        self, pod: Pod, tmp_path: Path, case: Hidden, command: str
    ) -> None:
        done_well("install", *case.path.flags, namespace=pod.pod)
        before = dump(pod.pod)
        done = Host(tmp_path, case.tools).interceptor(command, "--netns", pod.pod.path)
        assert done.code == 4
        assert case.says in done.stderr
        assert "cannot be looked at: there is no" in done.stderr
        assert len(done.stderr.splitlines()) == 2
        assert dump(pod.pod) == before

    def test_status_is_uncertain(self, pod: Pod, tmp_path: Path, case: Hidden) -> None:
        done_well("install", *case.path.flags, namespace=pod.pod)
        host = Host(tmp_path, case.tools)
        argv = ("status", "--netns", pod.pod.path)
        done = host.interceptor(*argv, "--output", "json")
        assert (done.code, done.json["state"]) == (3, "uncertain")
        [finding] = done.json["findings"]
        assert (finding["kind"], finding["where"]) == ("unseen", case.path.name)
        assert case.says in finding["what"]
        human = host.interceptor(*argv)
        assert human.stdout.startswith("uncertain")
        assert case.says in human.stdout

    def test_check_agrees_with_install(self, pod: Pod, tmp_path: Path, case: Hidden) -> None:
        done_well("install", *case.path.flags, namespace=pod.pod)
        done = Host(tmp_path, case.tools).interceptor("check", "--netns", pod.pod.path)
        assert done.code == 3
        assert case.says in done.stdout


def test_other_peoples_tables_hide_nothing(pod: Pod, tmp_path: Path) -> None:
    """nf_tables tells the names of chains: none of ours, so iptables-nft is not missed."""
    pod.pod.run("iptables-nft", "-t", "nat", "-N", "THEIRS")
    before = dump(pod.pod)
    host = Host(tmp_path, ("nft",))
    for command in ("install", "status", "uninstall"):
        done = host.interceptor(command, "--netns", pod.pod.path)
        assert done.code == 0, done
    assert dump(pod.pod) == before


def test_legacy_tables_without_net_raw(pod: Pod) -> None:
    """The privilege to look at iptables-legacy is missing, not the tool."""
    done_well("install", *IPTABLES_LEGACY.flags, namespace=pod.pod)
    with pod.pod:
        done = interceptor(
            "uninstall", prefix=("setpriv", "--bounding-set=-net_raw", "--inh-caps=-all")
        )
    assert done.code == 4
    assert "may be in iptables-legacy" in done.stderr
    assert "NET_RAW" in done.stderr


@pytest.mark.parametrize("chain", ["INTERCEPTOR_OUTBOUND", "THEIRS"])
def test_a_table_that_iptables_cannot_print(pod: Pod, chain: str) -> None:
    """iptables-nft-save leaves it out as a whole and says so in a comment."""
    done_well("install", *IPTABLES_NFT.flags, namespace=pod.pod)
    pod.pod.run("nft", "-f", "-", stdin="add chain ip nat THEIRS\n")
    rule = f"add rule ip nat {chain} numgen random mod 2 0 accept\n"
    pod.pod.run("nft", "-f", "-", stdin=rule)
    before = dump(pod.pod)
    status = interceptor("status", "--output", "json", namespace=pod.pod)
    assert (status.code, status.json["state"]) == (3, "uncertain")
    for command in ("uninstall", "install"):
        done = interceptor(command, namespace=pod.pod)
        assert done.code == 4
        assert "iptables-nft-save cannot print table ip nat" in done.stderr
    assert dump(pod.pod) == before


_AS_ANOTHER_USER = """
import ctypes, os
from interceptor.operations.site import Site
from interceptor.system.deadline import Deadline
assert not Site(Deadline(9)).hidden()
# PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP: the capabilities stay, but for those left out before.
assert ctypes.CDLL(None).prctl(28, 4, 0, 0, 0) == 0
os.setgroups([])
os.setresgid(1000, 1000, 1000)
os.setresuid(1000, 1000, 1000)
print(*Site(Deadline(9)).hidden().values())
"""


def test_legacy_tables_without_leave_to_read_their_names(pod: Pod) -> None:
    """The list of tables is for user 0 alone, whatever capabilities others have."""
    done_well("install", *IPTABLES_LEGACY.flags, namespace=pod.pod)
    kept = ("--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all")
    said = pod.pod.run("/usr/bin/setpriv", *kept, sys.executable, "-c", _AS_ANOTHER_USER)
    assert "rules of ours may be in iptables-legacy" in said
    assert "Permission denied" in said


def test_a_table_that_is_nfts_is_not_written_to_by_iptables(pod: Pod) -> None:
    rule = "ip daddr 10.96.0.1 tcp dport 443 dnat to 10.0.0.5:6443"
    base = "type nat hook output priority -100;"
    pod.pod.run("nft", "-f", "-", stdin=f"table ip nat {{ chain OUTPUT {{ {base} {rule}; }}; }}\n")
    before = dump(pod.pod)
    done = interceptor("install", *IPTABLES_NFT.flags, namespace=pod.pod)
    assert done.code == 4
    assert "iptables-nft-save cannot print table ip nat" in done.stderr
    assert dump(pod.pod) == before
    done_well("install", namespace=pod.pod)
    done_well("uninstall", namespace=pod.pod)
    assert dump(pod.pod) == before


@pytest.mark.parametrize("flags", ["dormant", "owner"])
def test_tables_of_others_with_flags_are_in_nobodys_way(pod: Pod, flags: str) -> None:
    """For some of them nft prints JSON that breaks off."""
    done_well("install", *NFTABLES.flags, namespace=pod.pod)
    keeper = ["/usr/bin/ip", "netns", "exec", pod.pod.name, "/usr/sbin/nft", "-i"]
    with subprocess.Popen(keeper, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as nft:
        assert nft.stdin is not None
        nft.stdin.write(f"add table ip theirs {{ flags {flags}; }}\n".encode())
        nft.stdin.flush()
        assert becomes(lambda: "theirs" in pod.pod.run("nft", "list", "tables"))
        for command in ("status", "install", "uninstall", "install", "status"):
            done_well(command, namespace=pod.pod)
        nft.stdin.close()
        nft.wait()
