"""What fails half-way is undone: in one backend or in several, and in the same places."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.lab.host import Host
from tests.lab.paths import (
    IPTABLES_LEGACY,
    IPTABLES_NFT,
    NFTABLES,
    RulePath,
    by_chain,
    done_well,
    dump,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.pod import Pod

pytestmark = pytest.mark.root

_FAILS = 'case "$*" in *list*) exec $real "$@";; esac\ncat >/dev/null; echo no >&2; exit 1'


@pytest.mark.parametrize("path", [IPTABLES_NFT, IPTABLES_LEGACY], ids=str)
def test_ours_come_back_where_they_were(pod: Pod, tmp_path: Path, path: RulePath) -> None:
    """Between two foreign rules, one of which decides: behind it ours would not be asked."""

    def foreign(operation: str, port: str) -> None:
        rule = ("-p", "tcp", "--dport", port, "-j", "ACCEPT")
        pod.pod.run(path.name, "-t", "nat", operation, "PREROUTING", *rule)

    foreign("-A", "1")
    done_well("install", *path.flags, namespace=pod.pod)
    foreign("-A", "2")
    before = dump(pod.pod)
    host = Host(tmp_path)
    host.replace(f"ip6tables-{path.name.removeprefix('iptables-')}-restore", _FAILS)
    done = host.interceptor(
        *("install", "--netns", pod.pod.path, *path.flags),
        *("--include-inbound-ports=", "--exclude-outbound-ports", "5"),
    )
    assert done.code == 1, done
    assert by_chain(dump(pod.pod)) == by_chain(before)


@pytest.mark.parametrize("holder", [IPTABLES_NFT, IPTABLES_LEGACY], ids=str)
@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_several_backends_are_changed_together(
    pod: Pod, tmp_path: Path, holder: RulePath, command: str
) -> None:
    """The new rules are in force, the old ones cannot be removed: the new ones go again."""
    done_well("install", *holder.flags, namespace=pod.pod)
    if command == "uninstall":
        # Both hold rules of ours; nft's are removed first.
        script = done_well("render", *NFTABLES.flags, namespace=pod.pod).stdout
        pod.pod.run("nft", "-f", "-", stdin=script)
    before = dump(pod.pod)
    host = Host(tmp_path)
    host.replace(f"ip6{holder.name.removeprefix('ip')}-restore", _FAILS)
    flags = NFTABLES.flags if command == "install" else ()
    done = host.interceptor(command, "--netns", pod.pod.path, *flags)
    assert done.code == 1, done
    assert by_chain(dump(pod.pod)) == by_chain(before)


def test_auto_goes_on_to_the_next_backend(pod: Pod, tmp_path: Path) -> None:
    """What a kernel lacks shows when it is asked; check has tried it too, and agrees."""
    words = "Error: Could not process rule: No such file or directory"
    host = Host(tmp_path)
    host.replace(
        "nft",
        f'case "$*" in *list*|*version*) exec $real "$@";; esac\n'
        f'cat >/dev/null; echo "/dev/stdin:6:3-30: {words}" >&2; exit 1',
    )
    checked = host.interceptor("check", "--netns", pod.pod.path, "--output", "json")
    installed = host.interceptor("install", "--netns", pod.pod.path, "--output", "json")
    assert checked.json["backend"] == installed.json["backend"] == "iptables-nft"
    assert "nftables: the kernel lacks a feature" in installed.json["passed_over"][0]
    assert "passed over nftables" in installed.stderr
    assert done_well("status", namespace=pod.pod).stdout.startswith("in-sync")


def test_when_no_backend_will_do_all_reasons_are_said(pod: Pod, tmp_path: Path) -> None:
    before = dump(pod.pod)
    host = Host(tmp_path)
    for tool in ("nft", "iptables-nft-restore", "iptables-legacy-restore"):
        host.replace(tool, "cat >/dev/null; echo Operation not permitted >&2; exit 1")
    done = host.interceptor("install", "--netns", pod.pod.path)
    assert done.code == 4, done
    assert all(
        f"{name}: " in done.stderr for name in ("nftables", "iptables-nft", "iptables-legacy")
    )
    assert by_chain(dump(pod.pod)) == by_chain(before)


def test_ten_thousand_networks_are_gone_in_time(pod: Pod, tmp_path: Path) -> None:
    """One rule a network, in iptables; replaced and removed within the usual time limit."""
    networks = [f"10.{n >> 8}.{n & 255}.0/24" for n in range(10_000)]
    config = tmp_path / "many.toml"
    before = dump(pod.pod)
    for some in (networks, networks[1:]):
        config.write_text(f'exclude_outbound_cidrs = "{",".join(some)}"\n')
        done_well("install", *IPTABLES_NFT.flags, "--config", str(config), namespace=pod.pod)
    done_well("install", *NFTABLES.flags, "--config", str(config), namespace=pod.pod)
    done_well("install", *IPTABLES_NFT.flags, "--config", str(config), namespace=pod.pod)
    done_well("uninstall", namespace=pod.pod)
    assert by_chain(dump(pod.pod)) == by_chain(before)


@pytest.mark.parametrize("path", [IPTABLES_NFT, IPTABLES_LEGACY], ids=str)
def test_what_is_not_understood_comes_back_too(pod: Pod, tmp_path: Path, path: RulePath) -> None:
    """Somebody put rules into our chains that nobody here reads."""
    done_well("install", *path.flags, namespace=pod.pod)
    for rule in (
        ("-p", "tcp", "!", "--syn", "-j", "ACCEPT"),
        ("-p", "tcp", "-m", "string", "--string", "two words", "--algo", "bm", "-j", "ACCEPT"),
    ):
        pod.pod.run(path.name, "-t", "nat", "-A", "INTERCEPTOR_OUTBOUND", *rule)
    before = dump(pod.pod)
    host = Host(tmp_path)
    host.replace(f"ip6tables-{path.name.removeprefix('iptables-')}-restore", _FAILS)
    done = host.interceptor("install", "--netns", pod.pod.path, *path.flags, "--proxy-uid", "7")
    assert done.code == 1, done
    assert "undoing" not in done.stderr
    assert by_chain(dump(pod.pod)) == by_chain(before)


def test_two_calls_come_back_on_both_sides_of_a_foreign_rule(pod: Pod, tmp_path: Path) -> None:
    sheet = tmp_path / "two.toml"
    sheet.write_text(
        'format = 1\nname = "two"\nsummary = "two calls"\nprefix = "INTERCEPTOR_TWO_"\n'
        "[chains.nat]\nOUTPUT = [\n"
        '  { match = "-p tcp --dport 1", action = "-j INTERCEPTOR_TWO_A", why = "one" },\n'
        '  { match = "-p tcp --dport 2", action = "-j INTERCEPTOR_TWO_A", why = "two" },\n]\n'
        'INTERCEPTOR_TWO_A = [{ match = "-p tcp", action = "-j ACCEPT", why = "all" }]\n'
    )
    flags = (*IPTABLES_NFT.flags, "--ip-families", "dual")
    done_well("install", "--sheet", str(sheet), "--unproven", *flags, namespace=pod.pod)
    rule = ("-p", "tcp", "--dport", "9", "-j", "ACCEPT")
    pod.pod.run("iptables-nft", "-t", "nat", "-I", "OUTPUT", "2", *rule)
    before = dump(pod.pod)
    host = Host(tmp_path)
    host.replace("ip6tables-nft-restore", _FAILS)
    done = host.interceptor("install", "--netns", pod.pod.path, *flags)
    assert done.code == 1, done
    assert by_chain(dump(pod.pod)) == by_chain(before)


def test_a_tools_children_end_with_it(pod: Pod, tmp_path: Path) -> None:
    """Else one of them could change rules after all was undone."""
    host = Host(tmp_path)
    late = f"cat >{tmp_path}/in; (sleep 2; $real -f {tmp_path}/in) & wait"
    host.replace("nft", f'case "$*" in *list*) exec $real "$@";; esac\n{late}')
    done = host.interceptor("install", "--netns", pod.pod.path, *NFTABLES.flags, "--timeout", "1")
    assert done.code == 1, done
    time.sleep(2.5)
    assert "interceptor" not in dump(pod.pod)
