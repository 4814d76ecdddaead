"""Many installations at once, in many namespaces and in one: all converge, none waits in vain."""

from __future__ import annotations

import fcntl
import subprocess
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.lab.netns import namespaces
from tests.lab.paths import PROGRAM, RulePath, done_well

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.lab.netns import Namespace
    from tests.lab.pod import Pod

pytestmark = pytest.mark.root

_NAMESPACES, _IN_ONE = 50, 20
_TIMEOUT_S = 60


def start(namespace: Namespace, *flags: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [PROGRAM, "install", "--netns", namespace.path, *flags],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def ends(processes: Sequence[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    """Give the exit code of each, and what it complained of."""
    said = [process.communicate(timeout=_TIMEOUT_S)[1] for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, said, strict=True)]


def test_fifty_namespaces_at_once(rule_path: RulePath) -> None:
    """The lock of one more is held all the while: nobody but who works there waits for it."""
    with namespaces(*["many"] * (_NAMESPACES + 1)) as (held, *others), ExitStack() as stack:
        lock = stack.enter_context(open(held.path, "rb"))
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = start(held, *rule_path.flags, "--timeout", str(_TIMEOUT_S))
        done = ends([start(other, *rule_path.flags) for other in others])
        assert done == [(0, "")] * _NAMESPACES
        assert waiting.poll() is None
        fcntl.flock(lock, fcntl.LOCK_UN)
        assert ends([waiting]) == [(0, "")]
        for namespace in (held, others[0], others[-1]):
            assert done_well("status", namespace=namespace).stdout.startswith("in-sync")


def test_twenty_in_one_namespace(pod: Pod, rule_path: RulePath) -> None:
    """What is there afterwards is what one of them meant, whole."""
    meant = [
        ("--inbound-port", str(20000 + number), "--capture-dns", ("off", "all")[number % 2])
        for number in range(_IN_ONE)
    ]
    done = ends([start(pod.pod, *rule_path.flags, *flags) for flags in meant])
    assert done == [(0, "")] * _IN_ONE
    assert done_well("status", namespace=pod.pod).stdout.startswith("in-sync")
    done_well("uninstall", namespace=pod.pod)
