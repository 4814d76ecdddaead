"""The proxy: not there, there before, there again, there several times; and a real Envoy."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.lab.ebpf import lab_machine
from tests.lab.envoy import running_envoy
from tests.lab.http import fetch, web_server
from tests.lab.pod import APP_UID, CLIENT, FAR, POD, POD_SIDE, PROXY_UID, Pod
from tests.lab.traffic import connect, endpoint, original_destination, recorder
from tests.lab.waiting import becomes

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.ebpf import Lab

pytestmark = pytest.mark.root

_ELSEWHERE = """
import socket, sys
made = []
for family in (socket.AF_INET, socket.AF_INET6):
    s = socket.socket(family)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    s.bind(("", 15006))
    s.listen()
    made.append(s)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("number", [4, 6])
def test_without_a_proxy_connections_are_refused(pod: Pod, machine: Lab, number: int) -> None:
    with recorder(pod.pod, 8080, 22), recorder(pod.outside, 80):
        machine.put(pod.pod)
        refused = {"error": "ConnectionRefusedError"}
        assert connect(pod.client, POD[number], 8080) == refused
        assert connect(pod.pod, FAR[number], 80) == refused
        assert connect(pod.pod, POD[number], 8080, uid=PROXY_UID) == refused
        assert connect(pod.client, POD[number], 22)["port"] == 22
        assert connect(pod.pod, FAR[number], 80, uid=PROXY_UID)["who"] == "outside"
        assert machine.counted(pod.pod)["no-listener"] == 1
        assert machine.map("pending").keys() == []


@pytest.mark.parametrize("number", [4, 6])
def test_a_proxy_that_comes_goes_and_comes_again(pod: Pod, machine: Lab, number: int) -> None:
    with recorder(pod.pod, 8080):
        machine.put(pod.pod)
        for _ in range(3):
            with recorder(pod.pod, 15006, 15001):
                answer = connect(pod.client, POD[number], 8080)
                assert (answer["port"], answer["original"]) == (15006, endpoint(POD[number], 8080))
                assert connect(pod.pod, FAR[number], 80)["port"] == 15001
            assert connect(pod.client, POD[number], 8080) == {"error": "ConnectionRefusedError"}
            assert machine.map("listeners").keys() == []


def test_a_proxy_that_was_there_before(pod: Pod, machine: Lab) -> None:
    with pod.pod:
        proxy = subprocess.Popen(
            [sys.executable, "-c", _ELSEWHERE], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
    with proxy:
        assert proxy.stdout is not None
        assert proxy.stdin is not None
        assert proxy.stdout.readline() == b"ready\n"
        assert machine.put(pod.pod).unreachable == 0
        for number in (4, 6):
            with pod.client:
                family = socket.AF_INET if number == 4 else socket.AF_INET6
                client = socket.socket(family)
            with client:
                client.settimeout(2)
                client.connect((POD[number], 8080))
        proxy.stdin.close()


def test_several_listeners_share_what_comes(pod: Pod, machine: Lab) -> None:
    machine.put(pod.pod)
    with ExitStack() as stack:
        listeners = []
        for _ in range(4):
            with pod.pod:
                made = stack.enter_context(socket.socket())
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            made.bind(("", 15006))
            made.listen(64)
            made.setblocking(False)  # noqa: FBT003 - Python's
            listeners.append(made)
        shares = _shares(pod, listeners)
        assert sum(shares) == 64
        assert all(shares), shares
        # Those that stay take all, whichever was named first.
        for closed in (listeners.pop(0), listeners.pop(1)):
            closed.close()
        assert sum(_shares(pod, listeners)) == 64


def _shares(pod: Pod, listeners: list[socket.socket]) -> list[int]:
    for _ in range(64):
        with pod.client:
            client = socket.socket()
        with client:
            client.settimeout(2)
            client.connect((POD[4], 8080))
    counts = []
    for listener in listeners:
        taken = 0
        while True:
            try:
                listener.accept()[0].close()
            except BlockingIOError:
                break
            taken += 1
        counts.append(taken)
    return counts


def test_a_proxy_that_listens_for_both_families_at_once(pod: Pod, machine: Lab) -> None:
    machine.put(pod.pod)
    with pod.pod:
        listener = socket.create_server(
            ("::", 15006), family=socket.AF_INET6, dualstack_ipv6=True, backlog=8
        )
    with listener:
        listener.settimeout(3)
        for number in (4, 6):
            with pod.client:
                client = socket.socket(socket.AF_INET if number == 4 else socket.AF_INET6)
            with client:
                client.settimeout(2)
                client.connect((POD[number], 8080))
                connection, peer = listener.accept()
                with connection:
                    assert peer[0].removeprefix("::ffff:") == CLIENT[number]
                    if number == 6:
                        assert original_destination(connection) == endpoint(POD[6], 8080)
                    else:
                        raw = connection.getsockopt(socket.SOL_IP, 80, 16)
                        assert raw[2:8] == (8080).to_bytes(2) + socket.inet_aton(POD[4])
                        with pytest.raises(OSError, match=r"No such file|Protocol not available"):
                            connection.getsockopt(socket.IPPROTO_IPV6, 80, 28)


def test_fifty_thousand_are_never_mixed_up(pod: Pod, machine: Lab) -> None:
    _hammer(pod, machine, 17000)


def test_nor_by_the_other_loader(pod: Pod) -> None:
    with lab_machine("bcc") as machine:
        _hammer(pod, machine, 3000)


def _hammer(pod: Pod, machine: Lab, count: int) -> None:
    machine.put(pod.pod)
    argv = [sys.executable, "-m", "tests.lab.hammer"]
    with pod.pod:
        proxy = subprocess.Popen([*argv, "serve", "15001", "15006"], stdin=-1, stdout=-1)
    with proxy:
        assert proxy.stdin is not None
        assert proxy.stdout is not None
        assert proxy.stdout.readline() == b"ready\n"
        callers = []
        for namespace, hosts in (
            (pod.pod, [FAR[4], FAR[6]]),
            (pod.pod, [FAR[4], FAR[6]]),
            (pod.client, [POD[4], POD[6]]),
        ):
            with namespace:
                called = [*argv, "call", *hosts, str(count)]
                callers.append(subprocess.Popen(called, stdout=subprocess.PIPE))
        for caller in callers:
            wrong, _ = caller.communicate(timeout=100)
            assert (caller.returncode, wrong) == (0, b"")
        assert machine.counted(pod.pod)["network"] == 2 * count
        proxy.stdin.close()
    assert machine.map("pending").keys() == []


def test_a_real_envoy_both_ways(pod: Pod, by_either: Lab, tmp_path: Path) -> None:
    pod.pod.address("lo", "::6/128")
    by_either.put(pod.pod)
    with (
        running_envoy(pod.pod, tmp_path) as envoy,
        web_server(pod.pod, 8080),
        web_server(pod.outside, 80),
    ):
        seen = 0
        for number in (4, 6):
            handover = {4: "127.0.0.6", 6: "::6"}[number]
            assert fetch(pod.client, POD[number], 8080, uid=APP_UID) == (
                f"hello from pod, you are {handover}"
            )
            assert fetch(pod.pod, FAR[number], 80, uid=APP_UID) == (
                f"hello from outside, you are {POD_SIDE[number]}"
            )
            assert fetch(pod.pod, FAR[number], 80, uid=PROXY_UID).startswith("hello from outside")
            assert fetch(pod.pod, POD[number], 8080, uid=APP_UID).startswith("hello from pod")
            entries = envoy.log(seen + 2)[seen:]
            seen += len(entries)
            assert {(e["listener"], e["upstream"]) for e in entries} == {
                ("inbound", endpoint(POD[number], 8080)),
                ("outbound", endpoint(FAR[number], 80)),
            }
            froms = {e["listener"]: e["from"] for e in entries}
            assert CLIENT[number] in froms["inbound"]
            assert POD_SIDE[number] in froms["outbound"]
    assert becomes(lambda: by_either.map("pending").keys() == [])
