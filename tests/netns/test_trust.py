"""Whoever is root in a pod must not lead, hold up or fool whoever is root on the node."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

import pytest

from tests.lab.paths import IPTABLES_NFT, done_well, dump, interceptor

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.pod import Pod

pytestmark = pytest.mark.root


def rewrite_record(pod: Pod, *lines: str) -> None:
    """Put other lines into the record."""
    for line in lines:
        pod.pod.run(
            *("iptables-nft", "-t", "nat", "-A", "INTERCEPTOR_RECORD"),
            *("-m", "comment", "--comment", line, "-j", "RETURN"),
        )


def test_a_record_names_no_file_to_open(pod: Pod, tmp_path: Path) -> None:
    """Neither a pipe, on which the reader would wait for ever, nor a file of the node's."""
    pipe = tmp_path / "sheet.toml"
    os.mkfifo(pipe)
    done_well("install", *IPTABLES_NFT.flags, namespace=pod.pod)
    rewrite_record(pod, f"sheet={pipe}")
    for command in ("status", "verify"):
        done = interceptor(command, "--timeout", "5", namespace=pod.pod)
        assert done.code == 2
        assert "a record is not trusted to name files" in done.stderr
    done_well("uninstall", namespace=pod.pod)


@pytest.mark.parametrize(
    "line", ["proxy_uid~=!!!", "proxy_uid~=eJwDAAAAAAE=", "interceptor=\\x1b[31m"], ids=str
)
def test_a_broken_record_stops_nobody(pod: Pod, line: str) -> None:
    before = dump(pod.pod)
    done_well("install", *IPTABLES_NFT.flags, namespace=pod.pod)
    rewrite_record(pod, line)
    status = interceptor("status", namespace=pod.pod)
    assert status.code in (0, 2, 3)
    assert "\x1b" not in status.stdout + status.stderr
    done_well("install", *IPTABLES_NFT.flags, namespace=pod.pod)
    assert done_well("status", namespace=pod.pod).stdout.startswith("in-sync")
    done_well("uninstall", namespace=pod.pod)
    assert "INTERCEPTOR" not in dump(pod.pod) or dump(pod.pod) == before


def test_a_held_lock_does_not_hide_what_is_there(pod: Pod) -> None:
    """Any process in a pod may sit on its namespace's lock; looking goes on without it."""
    done_well("install", namespace=pod.pod)
    held = os.open(pod.pod.path, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = done_well("status", namespace=pod.pod)
        assert done.stdout.startswith("in-sync")
        assert "looking without it" in done.stderr
        assert interceptor("uninstall", "--timeout", "0.3", namespace=pod.pod).code == 1
    finally:
        os.close(held)


def test_a_path_that_is_a_pipe_is_no_namespace(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    done = interceptor("status", "--netns", str(pipe))
    assert done.code == 2
    assert f"{pipe} is no network namespace" in done.stderr
