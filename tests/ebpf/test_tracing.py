"""Decisions told as they are made, and what is counted of them."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from interceptor.backends.ebpf.reasons import REASONS
from interceptor.system.cookie import cookie
from tests.lab.pod import CLIENT, FAR, POD, PROXY_UID, Pod
from tests.lab.traffic import Recorder, connect, recorder

if TYPE_CHECKING:
    from interceptor.backends.ebpf.tracing import Decision
    from tests.lab.ebpf import Lab

pytestmark = pytest.mark.root

_LOCALHOST = {4: "127.0.0.1", 6: "::1"}


def _all(machine: Lab, pod: Pod, number: int) -> list[Decision]:
    with machine.traced(cookie(pod.pod._descriptor)) as tracing:
        connect(pod.pod, FAR[number], 80)
        connect(pod.pod, FAR[number], 443, uid=1337)
        connect(pod.pod, FAR[number], 53, protocol="udp", gid=7)
        connect(pod.client, POD[number], 8080)
        connect(pod.client, POD[number], 22)
        found: list[Decision] = []
        while more := tracing.wait(0.2):
            found += more
        return found


@pytest.mark.parametrize("number", [4, 6])
def test_each_decision_is_told_and_counted(pod: Pod, by_either: Lab, number: int) -> None:
    by_either.put(pod.pod, "--capture-dns", "all")
    with (
        recorder(pod.pod, 15001, 15006, 22),
        recorder(pod.outside, 443),
        closing(Recorder(pod.pod, 15053, protocol="udp", on=_LOCALHOST, uid=PROXY_UID)),
    ):
        found = _all(by_either, pod, number)
        counted = by_either.counted(pod.pod)
        connect(pod.pod, FAR[number], 80)
        with by_either.traced() as tracing:
            assert tracing.wait(0) == []
    assert [
        (d.inbound, d.protocol, str(d.address), d.port, d.verdict, d.reason) for d in found
    ] == [
        (False, "tcp", FAR[number], 80, "outbound", "network"),
        (False, "tcp", FAR[number], 443, "direct", "proxy-user"),
        (False, "udp", FAR[number], 53, "dns", "dns"),
        (True, "tcp", POD[number], 8080, "inbound", "inbound"),
        (True, "tcp", POD[number], 22, "direct", "kept-port"),
    ]
    assert [d.uid for d in found[:3]] == [1000, 1337, 1000]
    assert [d.gid for d in found[:3]] == [1000, 1000, 7]
    assert {d.pid for d in found} == {os.getpid(), 0}
    assert {str(d.source) for d in found[3:]} == {CLIENT[number]}
    for name in ("network", "proxy-user", "dns", "inbound", "kept-port"):
        assert counted[name] == 1
    assert set(counted) <= set(REASONS)


def test_another_pods_decisions_are_not_told(pod: Pod, machine: Lab) -> None:
    machine.put(pod.pod)
    with machine.traced(1) as tracing:
        connect(pod.pod, FAR[4], 80)
        assert tracing.wait(0) == []
