"""Ids are numbers before a kernel tool is started, so that no look-up of a name can hang one."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.lab.paths import RulePath, done_well, interceptor

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.pod import Pod

pytestmark = pytest.mark.root


def without_answers(directory: Path) -> tuple[str, ...]:
    """Give what to put before a command so that whoever looks a name up waits for ever."""
    silent = directory / "silent"
    os.mkfifo(silent)
    mount = f'mount --bind {silent} /etc/nsswitch.conf && exec "$@"'
    return ("/usr/bin/unshare", "--mount", "/bin/sh", "-c", mount, "sh")


def test_nobody_is_asked_for_a_name(pod: Pod, tmp_path: Path, rule_path: RulePath) -> None:
    prefix = without_answers(tmp_path)
    with pytest.raises(subprocess.TimeoutExpired):
        # Who asks does wait.
        subprocess.run([*prefix, "/usr/bin/id", "somebody"], timeout=1, check=False)
    flags = ("--proxy-uid", "1337,0", "--proxy-gid", "5", "--capture-dns", "all")
    for command in (("install", *rule_path.flags, *flags), ("status",), ("uninstall",)):
        done = interceptor(
            *(*command, "--timeout", "20"),
            namespace=pod.pod,
            prefix=prefix,
            # Python looks for the home of its user, if nobody says where that is.
            environment={"HOME": "/root"},
        )
        assert done.code == 0, done


def test_names_are_numbers_in_what_is_written(pod: Pod, rule_path: RulePath) -> None:
    flags = ("--proxy-uid", "root", "--proxy-gid", "daemon", "--exclude-outbound-uids", "nobody")
    dry = done_well("install", *rule_path.flags, *flags, "--dry-run", namespace=pod.pod).stdout
    assert "owner 0" in dry or "skuid 0" in dry
    done_well("install", *rule_path.flags, *flags, namespace=pod.pod)
    listed = "".join(
        pod.pod.run(*tool)
        for tool in (
            ("nft", "--stateless", "--numeric", "list", "ruleset"),
            ("iptables-nft-save",),
            ("iptables-legacy-save",),
        )
    )
    # The record has them as numbers too: who reads it may know other names.
    for name in ("root", "daemon", "nobody"):
        assert f" {name}" not in listed
        assert f"={name}" not in listed
