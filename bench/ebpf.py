"""Connections that are intercepted by each backend, and what it takes to begin and to end that."""

from __future__ import annotations

import os
import statistics
import struct
import subprocess
import tempfile
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.install import bare_tool, clear_rules
from bench.timing import Connections, Contender, percentile, race, show, show_connections
from tests.lab.ebpf import config_for, lab_machine
from tests.lab.envoy import running_envoy
from tests.lab.netns import namespaces
from tests.lab.paths import IPTABLES_LEGACY, IPTABLES_NFT, NFTABLES, RulePath, done_well
from tests.lab.pod import FAR, POD, Pod, new_pod

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from tests.lab.netns import Namespace

_SOURCE = Path(__file__).with_name("both_ends.c")
_DIRECT, _EBPF = "direct", "eBPF"
_WAYS: dict[str, RulePath | None] = {
    _DIRECT: None,
    _EBPF: None,
    **{path.name: path for path in (NFTABLES, IPTABLES_NFT, IPTABLES_LEGACY)},
}
_APP, _FAR_PORT, _OUTBOUND, _INBOUND = 8080, 80, 15001, 15006
_ONE_BY_ONE_MS, _MANY_MS = 120, 150
_MANY = 8
_AWAKE_US = 300
"""Not beside Envoy, which has the same core."""
_CPUS = sorted(os.sched_getaffinity(0))
_CLIENT_CPU, _SERVER_CPU = _CPUS[0], _CPUS[-1]


class _Call(NamedTuple):
    """One kind of connection: from where, to where, and to where without any interception."""

    title: str
    is_inbound: bool
    directly: tuple[str, int]
    until: str

    @property
    def to(self) -> tuple[str, int]:
        return (POD[4], _APP) if self.is_inbound else (FAR[4], _FAR_PORT)


_NO_OP = (
    _Call(
        "outbound, a proxy that does nothing (direct: to its own port), until connected",
        is_inbound=False,
        directly=("127.0.0.1", _OUTBOUND),
        until="connect",
    ),
    _Call(
        "inbound, a proxy that does nothing (direct: to its own port), until connected",
        is_inbound=True,
        directly=(POD[4], _INBOUND),
        until="connect",
    ),
)
_THROUGH_ENVOY = (
    _Call(
        "outbound, Envoy (direct: no proxy at all), until the first byte from the far end",
        is_inbound=False,
        directly=(FAR[4], _FAR_PORT),
        until="byte",
    ),
    _Call(
        "inbound, Envoy (direct: no proxy at all), until the first byte from the app",
        is_inbound=True,
        directly=(POD[4], _APP),
        until="byte",
    ),
)


def bench(rounds: int) -> None:
    """Print latency and rate of short connections, each way in turn, round by round."""
    print(
        f"""
short IPv4 connections, closed by a reset
  client on CPU {_CLIENT_CPU}, servers and proxy on CPU {_SERVER_CPU}, before all others (SCHED_RR)
  p50 and p99: one after the other, {_ONE_BY_ONE_MS} ms a round
  per second: {_MANY} at once, each until its first byte, {_MANY_MS} ms a round
  median of {rounds} rounds, in which all have a turn; BPF programs are there in eBPF's alone"""
    )
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        program = _built(folder)
        pods = {name: stack.enter_context(new_pod()) for name in _WAYS}
        for name, path in _WAYS.items():
            if path is not None:
                done_well("install", *path.flags, namespace=pods[name].pod)
        with ExitStack() as proxies:
            for pod in pods.values():
                proxies.enter_context(
                    _serving(program, pod.pod, _OUTBOUND, _INBOUND, awake_us=_AWAKE_US)
                )
            _measure(program, pods, _NO_OP, rounds)
        for name, pod in pods.items():
            stack.enter_context(_serving(program, pod.pod, _APP))
            stack.enter_context(_serving(program, pod.outside, _FAR_PORT))
            if name != _DIRECT:
                logs = folder / name
                logs.mkdir()
                with _only_on(_SERVER_CPU):
                    stack.enter_context(running_envoy(pod.pod, logs))
        _measure(program, pods, _THROUGH_ENVOY, rounds)


def _measure(program: str, pods: dict[str, Pod], calls: tuple[_Call, ...], rounds: int) -> None:
    for call in calls:
        singly: dict[str, list[list[float]]] = {name: [] for name in pods}
        rates: dict[str, list[float]] = {name: [] for name in pods}
        for _ in range(rounds):
            for name, pod in pods.items():
                to = call.directly if name == _DIRECT else call.to
                client = pod.client if call.is_inbound else pod.pod
                with _enforced(name, pod):
                    took, _ = _run(program, client, to, _ONE_BY_ONE_MS, 1, call.until)
                    _, rate = _run(program, client, to, _MANY_MS, _MANY, "byte")
                singly[name].append(took)
                rates[name].append(rate)
        show_connections(
            call.title,
            [
                Connections(
                    name,
                    statistics.median(percentile(one, 50) for one in singly[name]),
                    statistics.median(percentile(one, 99) for one in singly[name]),
                    statistics.median(rates[name]),
                )
                for name in pods
            ],
            beside=_DIRECT,
        )


def _enforced(name: str, pod: Pod) -> AbstractContextManager[object]:
    """Have eBPF in its turn alone: at the root of the cgroup tree everybody pays for it."""
    return _enrolled(pod) if name == _EBPF else nullcontext()


@contextmanager
def _enrolled(pod: Pod) -> Iterator[None]:
    with lab_machine() as machine:
        machine.put(pod.pod)
        yield


def _built(folder: Path) -> str:
    to = str(folder / "both_ends")
    argv = ("/usr/bin/gcc", "-O2", "-pthread", str(_SOURCE), "-o", to)
    subprocess.run(argv, check=True)
    return to


@contextmanager
def _only_on(cpu: int) -> Iterator[None]:
    """Have what is started meanwhile stay on one core, before all others there."""
    os.sched_setaffinity(0, {cpu})
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        os.sched_setaffinity(0, _CPUS)


@contextmanager
def _serving(program: str, namespace: Namespace, *ports: int, awake_us: int = 0) -> Iterator[None]:
    argv = (program, "serve", *map(str, (_SERVER_CPU, awake_us, *ports)))
    with namespace:
        server = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with server:
        try:
            assert server.stdout is not None  # noqa: S101 - mypy cannot know
            server.stdout.readline()
            yield
        finally:
            server.kill()


def _run(
    program: str, client: Namespace, to: tuple[str, int], ms: int, threads: int, until: str
) -> tuple[list[float], float]:
    """Give how long each connection took, in microseconds, and how many a second there were."""
    host, port = to
    argv = (program, "call", str(_CLIENT_CPU), host, str(port), str(ms), str(threads), until)
    with client:
        done = subprocess.run(argv, stdout=subprocess.PIPE, check=True)
    (elapsed,) = struct.unpack_from("=Q", done.stdout)
    took = [one / 1e3 for (one,) in struct.iter_unpack("=I", done.stdout[8:])]
    return took, len(took) / elapsed * 1e9


def bench_enabling(rounds: int) -> None:
    """Print what it takes to begin and to end with a pod, for both families."""
    flags = ("--ip-families", "dual")
    with lab_machine() as machine, lab_machine() as fresh, namespaces("bench") as (namespace,):
        config = config_for(namespace, flags)
        netns = namespace._descriptor  # noqa: SLF001 - tests.lab is this project's own
        machine.load()
        tools = [
            Contender(
                f"{path}: {'nft -f' if path is NFTABLES else 'iptables-restore, twice'}",
                bare_tool(path, namespace, flags),
                lambda: clear_rules(namespace),
            )
            for path in (NFTABLES, IPTABLES_NFT, IPTABLES_LEGACY)
        ]
        times = race(
            [
                *tools,
                Contender(
                    "eBPF: enable, the machine's first pod",
                    lambda: fresh.enable(netns, config),
                    lambda: fresh.unload(even_if_used=True),
                ),
                Contender(
                    "eBPF: enable, another pod",
                    lambda: machine.enable(netns, config),
                    lambda: machine.drop(namespace),
                ),
                Contender(
                    "eBPF: disable",
                    lambda: machine.drop(namespace),
                    lambda: machine.enable(netns, config),
                ),
            ],
            rounds,
        )
        clear_rules(namespace)
    show(
        "one pod, both families; the tools with the start of their process, eBPF within Python",
        times,
        beside=tools[0].name,
    )
