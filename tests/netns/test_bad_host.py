"""What a host lacks is named, with what to do, as exit code 4; nothing is changed."""

from __future__ import annotations

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

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.pod import Pod

pytestmark = pytest.mark.root


class Lack(NamedTuple):
    """Tools this host has, one that fails with words of its own, and what must be said."""

    what: str
    path: RulePath | None
    tools: tuple[str, ...]
    failing: str
    words: str
    says: str
    hint: str


def _without(*parts: str) -> tuple[str, ...]:
    return tuple(tool for tool in TOOLS if not any(part in tool for part in parts))


_CASES = [
    Lack("no tools at all", None, (), "", "", "no kernel language for rules", "install nftables"),
    Lack("no nft", NFTABLES, TOOLS[1:], "", "", "there is no nft", "install nftables"),
    Lack("no iptables", IPTABLES_NFT, ("nft",), "", "", "there is no iptables-nft", "install"),
    Lack(
        "no legacy", IPTABLES_LEGACY, _without("legacy"), "", "", "no iptables-legacy", "install"
    ),
    Lack(
        "no ip6tables", IPTABLES_NFT, _without("ip6"), "", "", "no ip6tables", "--ip-families ipv4"
    ),
    Lack(
        "no redirect in the kernel, nftables",
        NFTABLES,
        TOOLS,
        "nft",
        "/dev/stdin:6:3-30: Error: Could not process rule: No such file or directory",
        "the kernel lacks a feature for this rule: meta l4proto tcp counter jump",
        "load its netfilter module",
    ),
    Lack(
        "no owner match in the kernel, iptables-nft",
        IPTABLES_NFT,
        TOOLS,
        "iptables-nft-restore",
        "iptables-restore v1.8.9 (nf_tables): \nline 12: RULE_APPEND failed "
        "(No such file or directory): rule in chain INTERCEPTOR_OUTBOUND",
        "the kernel lacks a feature for this rule: -A INTERCEPTOR_",
        "load its netfilter module",
    ),
    Lack(
        "no nat table in the kernel, iptables-legacy",
        IPTABLES_LEGACY,
        TOOLS,
        "iptables-legacy-restore",
        "iptables-restore v1.8.9 (legacy): iptables-restore: unable to initialize table 'nat'",
        "the kernel lacks what iptables-legacy-restore needs",
        "load the netfilter NAT modules",
    ),
    Lack(
        "no owner extension installed",
        IPTABLES_NFT,
        TOOLS,
        "iptables-nft-restore",
        "iptables-restore v1.8.9 (nf_tables): Couldn't load match `owner':No such file",
        "iptables-nft-restore has no extension 'owner'",
        "install a complete iptables",
    ),
    Lack(
        "no nf_tables in the kernel",
        NFTABLES,
        TOOLS,
        "nft list",
        "netlink: Error: cache initialization failed: Protocol not supported",
        "the kernel lacks what nft needs",
        "another --backend",
    ),
]


def _host(directory: Path, lack: Lack) -> Host:
    """Make a host that lacks something; a tool that fails may do so listing or writing."""
    host = Host(directory, lack.tools)
    if lack.failing:
        tool, _, when = lack.failing.partition(" ")
        passes = "" if when else 'case "$*" in *list*) exec $real "$@";; esac'
        host.replace(tool, f"{passes}\ncat >&2 <<'END'\n{lack.words}\nEND\nexit 1")
    return host


@pytest.mark.parametrize("lack", _CASES, ids=lambda lack: lack.what.replace(" ", "-"))
def test_what_is_missing_is_named(pod: Pod, lack: Lack, tmp_path: Path) -> None:
    before = dump(pod.pod)
    flags = lack.path.flags if lack.path else ()
    done = _host(tmp_path, lack).interceptor(
        *("install", "--netns", pod.pod.path, *flags, "--ip-families", "dual"),
    )
    assert done.code == 4, done
    assert lack.says in done.stderr
    assert lack.hint in done.stderr
    assert len(done.stderr.splitlines()) == 2
    assert dump(pod.pod) == before


def test_auto_falls_back_to_what_works(pod: Pod, tmp_path: Path) -> None:
    """No nft and no iptables-nft: iptables-legacy."""
    lack = Lack("only legacy", None, _without("nft"), "", "", "", "")
    done = _host(tmp_path, lack).interceptor(
        *("install", "--netns", pod.pod.path, "--output", "json"),
    )
    assert done.json["backend"] == "iptables-legacy"
    assert done_well("status", namespace=pod.pod).stdout.startswith("in-sync")


@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_tools_without_a_variant_in_their_name_are_recognised(
    pod: Pod, tmp_path: Path, variant: str
) -> None:
    """As before iptables 1.8, and on hosts that ship only one of the two."""
    host = Host(tmp_path, ())
    for family in ("iptables", "ip6tables"):
        for operation in ("", "-save", "-restore"):
            host.add(f"{family}-{variant}{operation}", f"{family}{operation}")
    done = host.interceptor("install", "--netns", pod.pod.path, "--output", "json")
    assert done.code == 0, done
    assert done.json["backend"] == f"iptables-{variant}"
    assert done_well("status", namespace=pod.pod).stdout.startswith("in-sync")


_UNPRIVILEGED = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-all")


@pytest.mark.parametrize("command", ["install", "status", "uninstall"])
def test_without_net_admin_nothing_is_tried(pod: Pod, rule_path: RulePath, command: str) -> None:
    done_well("install", *rule_path.flags, namespace=pod.pod)
    before = dump(pod.pod)
    with pod.pod:
        flags = rule_path.flags if command == "install" else ()
        done = interceptor(command, *flags, prefix=_UNPRIVILEGED)
    assert done.code == 4
    assert "CAP_NET_ADMIN" in done.stderr
    assert "run as root" in done.stderr
    assert dump(pod.pod) == before


def test_a_namespace_that_may_not_be_entered(pod: Pod) -> None:
    done = interceptor(
        "status",
        namespace=pod.pod,
        prefix=("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-all"),
    )
    assert done.code == 4
    assert "may not be entered" in done.stderr
    assert "CAP_SYS_ADMIN" in done.stderr


@pytest.mark.parametrize("path", [IPTABLES_NFT, IPTABLES_LEGACY], ids=str)
def test_a_user_namespace_without_the_proxys_id(path: RulePath) -> None:
    """As in a rootless container: iptables cannot match a user that is not there."""
    done = interceptor(
        "install", *path.flags, prefix=("/usr/bin/unshare", "--user", "--map-root-user", "--net")
    )
    assert done.code == 4
    assert "does not know every user and group of the rules" in done.stderr
    assert "uid_map" in done.stderr


class TestCheck:
    """check tries everything in a namespace of its own and says what it found."""

    def test_a_good_host(self, pod: Pod) -> None:
        before = dump(pod.pod)
        done = done_well("check", "--output", "json", namespace=pod.pod)
        assert done.json["backend"] == "nftables"
        tried = {
            f["category"]: f for f in done.json["features"] if f["name"] == "takes these rules"
        }
        assert {name: f["answer"] for name, f in tried.items()} == dict.fromkeys(
            ("nftables", "iptables-nft", "iptables-legacy"), "yes"
        )
        assert dump(pod.pod) == before

    def test_people_see_the_same(self, pod: Pod) -> None:
        facts = done_well("check", "--output", "json", namespace=pod.pod).json
        human = done_well("check", namespace=pod.pod).stdout
        assert all(feature["detail"] in human for feature in facts["features"])
        assert human.count("✓") == len(facts["features"])

    @pytest.mark.parametrize("lack", _CASES, ids=lambda lack: lack.what.replace(" ", "-"))
    def test_a_lack_is_found(self, pod: Pod, lack: Lack, tmp_path: Path) -> None:
        flags = lack.path.flags if lack.path else ()
        done = _host(tmp_path, lack).interceptor(
            *("check", "--netns", pod.pod.path, *flags, "--ip-families", "dual"),
            *("--output", "json"),
        )
        assert done.code == 3, done
        assert done.json["backend"] is None
        answers = [f for f in done.json["features"] if f["answer"] == "no" and f["needed"]]
        assert any(lack.says in feature["detail"] for feature in answers)

    def test_one_backend_may_lack_if_another_works(self, pod: Pod, tmp_path: Path) -> None:
        lack = next(lack for lack in _CASES if lack.what == "no nft")
        done = _host(tmp_path, lack).interceptor(
            "check", "--netns", pod.pod.path, "--output", "json"
        )
        assert done.code == 0
        assert done.json["backend"] == "iptables-nft"

    def test_without_privileges(self, pod: Pod) -> None:
        with pod.pod:
            done = interceptor("check", "--output", "json", prefix=_UNPRIVILEGED)
        assert done.code == 3
        lacking = [f["name"] for f in done.json["features"] if f["answer"] == "no" and f["needed"]]
        assert "CAP_NET_ADMIN" in lacking

    def test_what_cannot_be_tried_is_unknown(self, pod: Pod) -> None:
        """In a container that may change rules but make no namespaces."""
        with pod.pod:
            done = interceptor(
                *("check", "--output", "json"),
                prefix=("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-all"),
            )
        assert done.code == 0
        assert "unknown" in {feature["answer"] for feature in done.json["features"]}
