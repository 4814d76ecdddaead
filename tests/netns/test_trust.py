"""Whoever is root in a pod must not lead, hold up or fool whoever is root on the node."""

from __future__ import annotations

import fcntl
import os
import pty
import subprocess
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from tests.lab.paths import (
    IPTABLES_LEGACY,
    IPTABLES_NFT,
    PROGRAM,
    RulePath,
    done_well,
    dump,
    interceptor,
)

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


@pytest.mark.parametrize("line", ["proxy_uid~=!!!", "proxy_uid~=eJwDAAAAAAE=", "proxy_uid"])
def test_a_broken_record_stops_nobody(pod: Pod, line: str) -> None:
    before = dump(pod.pod)
    done_well("install", *IPTABLES_NFT.flags, namespace=pod.pod)
    rewrite_record(pod, line)
    assert interceptor("status", namespace=pod.pod).code in (0, 2, 3)
    done_well("install", *IPTABLES_NFT.flags, namespace=pod.pod)
    assert done_well("status", namespace=pod.pod).stdout.startswith("in-sync")
    done_well("uninstall", namespace=pod.pod)
    assert dump(pod.pod) == before


@pytest.mark.parametrize("path", [IPTABLES_NFT, IPTABLES_LEGACY], ids=str)
@pytest.mark.parametrize("character", ["\r", "\n", "\f", "\x1c", "\u2028", "\x85", '"', "\\"])
def test_no_comment_of_others_stops_anybody(pod: Pod, path: RulePath, character: str) -> None:
    comment = f"be{character}fore -A {character} after"
    rule = ("-p", "udp", "-m", "comment", "--comment", comment, "-j", "ACCEPT")
    pod.pod.run(path.name, "-t", "nat", "-A", "PREROUTING", *rule)
    before = dump(pod.pod)
    done_well("install", *path.flags, namespace=pod.pod)
    assert done_well("status", namespace=pod.pod).stdout.startswith("in-sync")
    done_well("uninstall", namespace=pod.pod)
    assert dump(pod.pod) == before


def test_no_comment_of_others_reaches_a_terminal_raw(pod: Pod) -> None:
    done_well("install", *IPTABLES_NFT.flags, namespace=pod.pod)
    rule = ("-p", "tcp", "-m", "comment", "--comment", "\x1b]0;mine\x07", "-j", "ACCEPT")
    pod.pod.run("iptables-nft", "-t", "nat", "-I", "OUTPUT", *rule)
    ours, terminal = pty.openpty()
    with subprocess.Popen(
        [PROGRAM, "status", "--netns", pod.pod.path], stdout=terminal, stderr=terminal
    ) as status:
        os.close(terminal)
        status.wait()
        said = os.read(ours, 1 << 16)
    os.close(ours)
    assert b"OUTPUT rule 1" in said
    assert b"\x1b]0" not in said


def test_chains_in_a_tangle_hold_nobody_up(pod: Pod) -> None:
    """More ways through others' chains than could ever be gone, and deeper than Python goes."""
    names = [f"T{n}" for n in range(1500)]
    jumps = [f"-A {one} -j {other}\n" * 2 for one, other in pairwise(names)]
    text = "".join(
        ["*nat\n", *(f":{name} -\n" for name in names), *jumps, "-A OUTPUT -j T0\nCOMMIT\n"]
    )
    pod.pod.run("iptables-legacy-restore", "--noflush", stdin=text)
    done_well("install", *IPTABLES_LEGACY.flags, "--timeout", "20", namespace=pod.pod)
    assert done_well("status", "--timeout", "20", namespace=pod.pod).stdout.startswith("in-sync")


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
