"""What a host lacks is named, with what to do, as exit code 4; nothing is changed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.lab.paths import (
    IPTABLES_LEGACY,
    IPTABLES_NFT,
    NFTABLES,
    Done,
    RulePath,
    done_well,
    dump,
    interceptor,
)

if TYPE_CHECKING:
    from tests.lab.pod import Pod

pytestmark = pytest.mark.root

_SBIN = Path("/usr/sbin")
_ALL = (
    "nft",
    *(
        f"{f}-{v}-{o}"
        for f in ("iptables", "ip6tables")
        for v in ("nft", "legacy")
        for o in ("save", "restore")
    ),
)


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
    return tuple(tool for tool in _ALL if not any(part in tool for part in parts))


_CASES = [
    Lack("no tools at all", None, (), "", "", "no kernel language for rules", "install nftables"),
    Lack("no nft", NFTABLES, _ALL[1:], "", "", "there is no nft", "install nftables"),
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
        _ALL,
        "nft",
        "/dev/stdin:4:3-30: Error: Could not process rule: No such file or directory",
        "the kernel lacks a feature for this rule: meta l4proto tcp counter jump",
        "load its netfilter module",
    ),
    Lack(
        "no owner match in the kernel, iptables-nft",
        IPTABLES_NFT,
        _ALL,
        "iptables-nft-restore",
        "iptables-restore v1.8.9 (nf_tables): \nline 12: RULE_APPEND failed "
        "(No such file or directory): rule in chain INTERCEPTOR_OUTBOUND",
        "the kernel lacks a feature for this rule: -A INTERCEPTOR_",
        "load its netfilter module",
    ),
    Lack(
        "no nat table in the kernel, iptables-legacy",
        IPTABLES_LEGACY,
        _ALL,
        "iptables-legacy-restore",
        "iptables-restore v1.8.9 (legacy): iptables-restore: unable to initialize table 'nat'",
        "the kernel lacks what iptables-legacy-restore needs",
        "load the netfilter NAT modules",
    ),
    Lack(
        "no owner extension installed",
        IPTABLES_NFT,
        _ALL,
        "iptables-nft-restore",
        "iptables-restore v1.8.9 (nf_tables): Couldn't load match `owner':No such file",
        "iptables-nft-restore has no extension 'owner'",
        "install a complete iptables",
    ),
    Lack(
        "no nf_tables in the kernel",
        NFTABLES,
        _ALL,
        "nft list",
        "netlink: Error: cache initialization failed: Protocol not supported",
        "the kernel lacks what nft needs",
        "another --backend",
    ),
]


def _equip(directory: Path, lack: Lack) -> Path:
    """Make a /usr/sbin with the tools a host has; one may fail, listing or writing."""
    sbin, real = directory / "sbin", directory / "real"
    for made in (sbin, real):
        made.mkdir()
    for tool in lack.tools:
        shutil.copy2(_SBIN / tool, sbin / tool)
    if lack.failing:
        name, _, when = lack.failing.partition(" ")
        (sbin / name).rename(real / name)
        passes = "" if when else f'case "$*" in *list*) exec {real / name} "$@";; esac'
        script = f"#!/bin/sh\n{passes}\ncat >&2 <<'END'\n{lack.words}\nEND\nexit 1\n"
        (sbin / name).write_text(script)
        (sbin / name).chmod(0o755)
    return sbin


def _on_host(sbin: Path, *arguments: str) -> Done:
    """Run the program where /usr/sbin is another, in a mount namespace of its own."""
    mount = f'mount --bind {sbin} /usr/sbin && exec "$@"'
    return interceptor(*arguments, prefix=("unshare", "--mount", "/bin/sh", "-c", mount, "sh"))


@pytest.mark.parametrize("lack", _CASES, ids=lambda lack: lack.what.replace(" ", "-"))
def test_what_is_missing_is_named(pod: Pod, lack: Lack, tmp_path: Path) -> None:
    before = dump(pod.pod)
    flags = lack.path.flags if lack.path else ()
    done = _on_host(
        _equip(tmp_path, lack),
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
    done = _on_host(
        _equip(tmp_path, lack),
        *("install", "--netns", pod.pod.path, "--output", "json"),
    )
    assert done.json["backend"] == "iptables-legacy"
    assert done_well("status", namespace=pod.pod).stdout.startswith("in-sync")


@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_tools_without_a_variant_in_their_name_are_recognised(
    pod: Pod, tmp_path: Path, variant: str
) -> None:
    """As before iptables 1.8, and on hosts that ship only one of the two."""
    sbin = tmp_path / "sbin"
    sbin.mkdir()
    for family in ("iptables", "ip6tables"):
        for operation in ("", "-save", "-restore"):
            shutil.copy2(_SBIN / f"{family}-{variant}{operation}", sbin / f"{family}{operation}")
    done = _on_host(sbin, "install", "--netns", pod.pod.path, "--output", "json")
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
        done = _on_host(
            _equip(tmp_path, lack),
            *("check", "--netns", pod.pod.path, *flags, "--ip-families", "dual"),
            *("--output", "json"),
        )
        assert done.code == 3, done
        assert done.json["backend"] is None
        answers = [f for f in done.json["features"] if f["answer"] == "no" and f["needed"]]
        assert any(lack.says in feature["detail"] for feature in answers)

    def test_one_backend_may_lack_if_another_works(self, pod: Pod, tmp_path: Path) -> None:
        lack = next(lack for lack in _CASES if lack.what == "no nft")
        done = _on_host(
            _equip(tmp_path, lack), "check", "--netns", pod.pod.path, "--output", "json"
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
