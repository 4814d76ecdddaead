"""A command that is a fork does what a real execution does, and is as mortal."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab.ebpf_node import ebpf_node
from tests.lab.netns import namespaces
from tests.lab.paths import PROGRAM, Done, done_well, interceptor
from tests.lab.vm import forked
from tests.lab.waiting import becomes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.netns import Namespace
    from tests.lab.vm.forked import Serving

_PATH = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
_RELATIVE = "here.toml"


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    """One server for all; nothing of it is left."""
    with forked.forkserver() as made:
        yield made
    assert not Path(made.address).exists()
    assert not Path(f"/proc/{made.process}").exists()


@pytest.fixture
def served(server: Serving, monkeypatch: pytest.MonkeyPatch) -> Serving:
    """Have this process ask for forks."""
    monkeypatch.setenv(forked.ADDRESS, server.address)
    return server


def commands(server: Serving) -> list[int]:
    """Give the commands that run: the server's children."""
    path = Path(f"/proc/{server.process}/task/{server.process}/children")
    return [int(one) for one in path.read_text().split()]


def real_and_forked(
    server: Serving, *arguments: str, stdin: str = "", environment: dict[str, str] | None = None
) -> tuple[Done, Done]:
    """Give what a real execution leaves, and what a fork."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(forked.ADDRESS, raising=False)
        real = interceptor(*arguments, stdin=stdin, environment=environment)
        patch.setenv(forked.ADDRESS, server.address)
        return real, interceptor(*arguments, stdin=stdin, environment=environment)


@pytest.mark.parametrize(
    ("arguments", "stdin", "environment", "code"),
    [
        (("--version",), "", {}, 0),
        (("--help",), "", {"COLUMNS": "60"}, 0),
        (("sheets",), "", {}, 0),
        (("render", "--backend", "nftables"), "", {}, 0),
        (("config", "show", "--output", "json"), "", {"INTERCEPTOR_INBOUND_PORT": "15007"}, 0),
        (("config", "show", "--config", "-"), "inbound_port = 15008\n", {}, 0),
        (("config", "show", "--config", "-"), "wrong = 1\n", {}, 2),
        (("explain", "outbound", "--to", "203.0.113.1:80"), "", {}, 0),
        (("nonsense",), "", {}, 2),
        (("install", "--inbound-port", "99999", "--output", "json"), "", {}, 2),
        (("status", "--netns", "/proc/none"), "", {}, 2),
        (("diff", "config", "sheet:ö"), "", {}, 2),
    ],
)
def test_it_leaves_what_a_real_execution_leaves(
    server: Serving,
    arguments: tuple[str, ...],
    stdin: str,
    environment: dict[str, str],
    code: int,
) -> None:
    real, fork = real_and_forked(server, *arguments, stdin=stdin, environment=environment)
    assert fork == real
    assert fork.code == code, fork


def test_what_is_long_comes_through_whole(server: Serving) -> None:
    networks = ",".join(f"10.{n >> 8}.{n & 255}.1/32" for n in range(9000))
    config = f'exclude_outbound_cidrs = "{networks}"\n'
    real, fork = real_and_forked(
        server, "render", "--backend", "nftables", "--config", "-", stdin=config
    )
    assert fork == real
    assert "10.35.39.1" in fork.stdout


@pytest.mark.usefixtures("served")
def test_it_runs_where_it_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / _RELATIVE).write_text("inbound_port = 15009\n")
    monkeypatch.chdir(tmp_path)
    assert "15009" in interceptor("config", "show", "--config", _RELATIVE).stdout
    monkeypatch.chdir("/")
    assert interceptor("config", "show", "--config", _RELATIVE).code == 2


@pytest.mark.usefixtures("served")
def test_the_environment_is_that_of_the_call_alone() -> None:
    for port in ("15007", "15010"):
        done = interceptor("config", "show", environment={"INTERCEPTOR_INBOUND_PORT": port})
        assert port in done.stdout
    assert "15010" not in interceptor("config", "show").stdout


@pytest.mark.usefixtures("served")
def test_it_is_a_fork_only_where_it_makes_no_difference() -> None:
    assert forked.bears(_PATH)
    assert not forked.bears({**_PATH, "LC_ALL": "C"})
    assert not forked.bears({**_PATH, "PYTHONUTF8": "0"})
    assert forked.mounts(()) is not None
    assert forked.mounts(("/usr/bin/nsenter", "--mount=/proc/1/ns/mnt")) == "/proc/1/ns/mnt"
    assert forked.mounts(("setpriv", "--no-new-privs")) is None
    assert forked.mounts(("/usr/bin/nsenter", "--net=/proc/1/ns/net")) is None


def _call(*arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    return forked.run([PROGRAM, *arguments], stdin="", environment=_PATH, timeout=timeout)


def test_calls_leave_no_descriptors_open(served: Serving) -> None:
    def held() -> list[int]:
        return [len(os.listdir(f"/proc/{one}/fd")) for one in (served.process, os.getpid())]

    interceptor("--version")
    before = held()
    for _ in range(5):
        interceptor("--version")
    # The server may have been about to let go of the first.
    assert becomes(lambda: all(now <= then for now, then in zip(held(), before, strict=True)))


@pytest.mark.root
@pytest.mark.usefixtures("served")
def test_it_works_in_the_threads_namespaces() -> None:
    def installed(namespace: Namespace, port: str) -> str:
        with namespace:
            assert _call("install", "--inbound-port", port).returncode == 0
            return namespace.run("nft", "list", "ruleset")

    with namespaces("one", "two", "three") as there, ThreadPoolExecutor(3) as pool:
        ports = ("15106", "15206", "15306")
        for port, rules in zip(ports, pool.map(installed, there, ports), strict=True):
            assert [one for one in ports if one in rules] == [port]


@pytest.mark.root
@pytest.mark.usefixtures("served")
def test_it_works_in_another_mount_namespace() -> None:
    with namespaces("pod") as (pod,), ebpf_node() as node:
        node.done_well("install", "--backend", "ebpf", namespace=pod)
        assert len(node.records) == 1
        assert interceptor("status", namespace=pod).code == 3, "not on this node"
        node.done_well("uninstall", namespace=pod)


@pytest.mark.root
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_can_be_killed(served: Serving, sent: signal.Signals) -> None:
    """SIGTERM and SIGINT end ``trace`` in order, as they do where it is executed."""
    with namespaces("pod") as (pod,), ThreadPoolExecutor(1) as pool:
        done_well("install", namespace=pod)
        call = pool.submit(_call, "trace", "--netns", pod.path)
        assert becomes(lambda: len(commands(served)) == 1 and "trace" in _rules(pod))
        os.kill(commands(served)[0], sent)
        expected = {signal.SIGKILL: -9, signal.SIGTERM: 0, signal.SIGINT: 0}
        assert call.result(60).returncode == expected[sent]
        assert commands(served) == []


def _rules(pod: Namespace) -> str:
    return pod.run("nft", "list", "ruleset")


@pytest.mark.root
def test_a_time_limit_ends_it(served: Serving) -> None:
    with namespaces("pod") as (pod,):
        done_well("install", namespace=pod)
        begun = time.monotonic()
        with pytest.raises(subprocess.TimeoutExpired):
            _call("trace", "--netns", pod.path, timeout=2)
        assert time.monotonic() - begun < 30
        assert commands(served) == []
        assert interceptor("status", namespace=pod).code == 0, "others are not disturbed"


@pytest.mark.root
def test_nothing_outlives_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    with namespaces("pod") as (pod,), ThreadPoolExecutor(1) as pool:
        with forked.forkserver() as made:
            monkeypatch.setenv(forked.ADDRESS, made.address)
            done_well("install", namespace=pod)
            call = pool.submit(_call, "trace", "--netns", pod.path)
            assert becomes(lambda: len(commands(made)) == 1)
            [command] = commands(made)
        assert not Path(f"/proc/{command}").exists()
        with pytest.raises(RuntimeError, match="is gone"):
            call.result(60)


def test_without_a_server_all_is_executed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(forked.ADDRESS, raising=False)
    assert not forked.bears(_PATH)
