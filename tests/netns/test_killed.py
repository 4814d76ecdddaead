"""Killed at any instant while connections are made: none escapes, and the next run converges."""

from __future__ import annotations

import random
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING, NamedTuple, Self

import pytest

from tests.lab.paths import PROGRAM, RulePath, by_chain, done_well, dump
from tests.lab.pod import CLIENT, FAR, POD, Pod
from tests.lab.traffic import Recorder, connect, recorder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.netns import Namespace

pytestmark = pytest.mark.root

_KILLS = 200
_AT_MOST = 1.5
"""Of the time one takes; so that some are killed at their end, and some never."""

_APP, _OUT, _IN = 8080, (15001, 25001), (15006, 25006)


class Turns(NamedTuple):
    """Two configurations that capture the same connections in different ways."""

    name: str
    one: tuple[str, ...]
    other: tuple[str, ...]

    def __str__(self) -> str:
        return self.name


TURNS = (
    Turns(
        "ports",
        ("--exclude-outbound-ports", "3000-3100"),
        ("--outbound-port", "25001", "--inbound-port", "25006", "--capture-dns", "all"),
    ),
    Turns("modes", ("--mode", "redirect"), ("--mode", "tproxy", "--drop-invalid")),
)


class Prober:
    """Connects to the pod and from it, one after the other, until it is stopped.

    Args:
        pod: in which a proxy may take connections at some ports, out of it and into it.
        out: those ports.
        into: those ports.
        versions: of IP.
    """

    def __init__(
        self,
        pod: Pod,
        out: tuple[int, ...] = _OUT,
        into: tuple[int, ...] = _IN,
        versions: tuple[int, ...] = (4, 6),
    ) -> None:
        self._pod, self._out, self._into, self._versions = pod, out, into, versions
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.escaped: list[str] = []
        self.failed: list[str] = []
        self.made = 0

    def _run(self) -> None:
        ways: list[tuple[Namespace, dict[int, str], int, tuple[int, ...]]] = [
            (self._pod.pod, FAR, 80, self._out),
            (self._pod.client, POD, _APP, self._into),
        ]
        while not self._stop.is_set():
            for start, to, port, proxy in ways:
                for version in self._versions:
                    # As root: a thread that changes its user changes that of all.
                    answer = connect(start, to[version], port, uid=0, gid=0)
                    self.made += 1
                    if "error" in answer:
                        self.failed.append(f"{start.role} -> {to[version]}: {answer}")
                    elif answer["port"] not in proxy:
                        self.escaped.append(f"{start.role} -> {to[version]}: {answer}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


@pytest.fixture
def world(pod: Pod) -> Iterator[Pod]:
    recorders = [Recorder(pod.pod, *_OUT, *_IN), Recorder(pod.outside, 80)]
    with recorder(pod.pod, _APP):
        yield pod
    for one in recorders:
        one.close()


@pytest.mark.parametrize("turns", TURNS, ids=str)
def test_no_connection_escapes_and_a_plain_run_converges(
    world: Pod, rule_path: RulePath, turns: Turns
) -> None:
    dice = random.Random(f"{rule_path} {turns}")
    install = ("install", *rule_path.flags)
    before = dump(world.pod)
    done_well(*install, *turns.other, namespace=world.pod)
    started = time.monotonic()
    done_well(*install, *turns.one, namespace=world.pod)
    longest_s = _AT_MOST * (time.monotonic() - started)
    wanted = dump(world.pod)
    ended = []
    with Prober(world) as prober:
        for turn in range(_KILLS // len(TURNS)):
            flags = turns.one if turn % 2 else turns.other
            process = subprocess.Popen(
                [PROGRAM, *install, *flags, "--netns", world.pod.path],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            time.sleep(dice.uniform(0, longest_s))
            process.send_signal(signal.SIGKILL)
            ended.append(process.wait())
    assert not prober.escaped
    # Killed between mangle and nat, both capture, until the next run: a client that comes again
    # from the same port meanwhile may have to try twice.
    few = prober.made // 50 if turns.name == "modes" else 0
    assert len(prober.failed) <= few, prober.failed
    assert prober.made > _KILLS
    # Both have happened, or the test tries nothing.
    assert {0, -signal.SIGKILL} == set(ended)
    done_well(*install, *turns.one, namespace=world.pod)
    assert by_chain(dump(world.pod)) == by_chain(wanted)
    assert done_well("status", namespace=world.pod).stdout.startswith("in-sync")
    done_well("uninstall", namespace=world.pod)
    assert dump(world.pod) == before
    assert connect(world.client, POD[4], _APP)["peer"] == CLIENT[4]
