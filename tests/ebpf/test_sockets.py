"""Sockets of all kinds: what an app may do with one, and what it is told of it."""

from __future__ import annotations

import errno
import json
import select
import socket
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.ebpf import Lab, lab_machine
from tests.lab.pod import FAR, FAR_OTHER, OUTSIDE, POD, POD_SIDE, PROXY_UID, Pod, new_pod
from tests.lab.traffic import Recorder, as_user, endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_MPTCP = 262
_FASTOPEN, _FASTOPEN_CONNECT, _MSG_FASTOPEN = 23, 30, 0x20000000


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with lab_machine() as made:
        yield made


@pytest.fixture(scope="module")
def world(lab: Lab) -> Iterator[Pod]:
    with new_pod() as made:
        made.pod.sysctl("ipv4/tcp_fastopen", "1027")
        recorders = [
            Recorder(made.pod, 15001, 15006, 8080),
            Recorder(
                made.pod, 15053, protocol="udp", on={4: "127.0.0.1", 6: "::1"}, uid=PROXY_UID
            ),
            Recorder(made.outside, 80),
            Recorder(made.outside, 53, 80, protocol="udp"),
        ]
        lab.put(made.pod, "--capture-dns", "all")
        yield made
        for recorder in recorders:
            recorder.close()
        assert lab.map("pending").keys() == []


def _answer(client: socket.socket) -> dict[str, Any]:
    data = b""
    while more := client.recv(4096):
        data += more
    return dict(json.loads(data))


def _socket(pod: Pod, family: int, kind: int = socket.SOCK_STREAM, protocol: int = 0) -> Any:
    with pod.pod:
        made = socket.socket(family, kind, protocol)
    made.settimeout(3)
    return made


def _connect(client: socket.socket, to: tuple[str, int]) -> None:
    with as_user(1000, 1000):
        client.connect(to)


@pytest.mark.parametrize("number", [4, 6])
def test_the_app_sees_whom_it_called_and_the_pods_address(world: Pod, number: int) -> None:
    with _socket(world, _FAMILY[number]) as client:
        _connect(client, (FAR[number], 80))
        assert client.getpeername()[:2] == (FAR[number], 80)
        assert client.getsockname()[0] == POD_SIDE[number]
        answer = _answer(client)
    assert answer["original"] == endpoint(FAR[number], 80)
    assert answer["peer"] == POD_SIDE[number]


def test_a_socket_of_both_families(world: Pod) -> None:
    with _socket(world, socket.AF_INET6) as client:
        _connect(client, (f"::ffff:{FAR[4]}", 80))
        assert client.getpeername()[:2] == (f"::ffff:{FAR[4]}", 80)
        answer = _answer(client)
    assert (answer["port"], answer["original"]) == (15001, endpoint(FAR[4], 80))


@pytest.mark.parametrize("number", [4, 6])
@pytest.mark.parametrize("source", [POD, POD_SIDE])
def test_a_source_the_app_chose(world: Pod, number: int, source: dict[int, str]) -> None:
    with _socket(world, _FAMILY[number]) as client:
        client.bind((source[number], 0))
        _connect(client, (FAR[number], 80))
        assert client.getsockname()[0] == source[number]
        answer = _answer(client)
    assert (answer["port"], answer["peer"]) == (15001, source[number])
    assert answer["original"] == endpoint(FAR[number], 80)


@pytest.mark.parametrize("number", [4, 6])
def test_a_connect_that_does_not_wait(world: Pod, number: int) -> None:
    with _socket(world, _FAMILY[number]) as client:
        client.setblocking(False)  # noqa: FBT003 - Python's
        with as_user(1000, 1000):
            assert client.connect_ex((FAR[number], 80)) in (0, errno.EINPROGRESS)
        assert select.select([], [client], [], 3)[1]
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        client.settimeout(3)
        assert _answer(client)["original"] == endpoint(FAR[number], 80)


@pytest.mark.parametrize("number", [4, 6])
@pytest.mark.parametrize("way", ["sendto", "connect"])
def test_data_in_the_first_packet(world: Pod, number: int, way: str) -> None:
    for _ in range(2):
        with _socket(world, _FAMILY[number]) as client, as_user(1000, 1000):
            if way == "connect":
                client.setsockopt(socket.IPPROTO_TCP, _FASTOPEN_CONNECT, 1)
                client.connect((FAR[number], 80))
                client.send(b"early")
            else:
                # One with a time limit would not wait, and say so.
                client.settimeout(None)
                client.sendto(b"early", _MSG_FASTOPEN, (FAR[number], 80))
            answer = client.recv(4096)
        assert json.loads(answer)["original"] == endpoint(FAR[number], 80)


@pytest.mark.parametrize("number", [4, 6])
def test_mptcp(world: Pod, number: int) -> None:
    with _socket(world, _FAMILY[number], socket.SOCK_STREAM, _MPTCP) as client:
        _connect(client, (FAR[number], 80))
        assert _answer(client)["original"] == endpoint(FAR[number], 80)


@pytest.mark.parametrize("nowhere", ["0.0.0.0", "::", "::ffff:0.0.0.0"])  # noqa: S104
def test_to_connect_to_no_address_is_to_connect_to_localhost(world: Pod, nowhere: str) -> None:
    with _socket(world, socket.AF_INET6 if ":" in nowhere else socket.AF_INET) as client:
        _connect(client, (nowhere, 8080))
        assert _answer(client)["port"] == 8080


def test_a_socket_used_again_forgets_where_it_was_going(world: Pod) -> None:
    with _socket(world, socket.AF_INET, socket.SOCK_DGRAM) as client:
        _connect(client, (OUTSIDE[4], 53))
        assert client.getpeername() == (OUTSIDE[4], 53)
        _connect(client, (OUTSIDE[4], 80))
        assert client.getpeername() == (OUTSIDE[4], 80)
        client.send(b"?")
        assert json.loads(client.recv(4096))["who"] == "outside"


@pytest.mark.parametrize("family", ["ipv4", "ipv6", "mapped"])
@pytest.mark.parametrize("way", ["connected", "unconnected"])
def test_a_query_is_answered_by_whom_it_asked(world: Pod, family: str, way: str) -> None:
    number = 6 if family == "ipv6" else 4
    begin = "::ffff:" if family == "mapped" else ""
    kind = socket.AF_INET if family == "ipv4" else socket.AF_INET6
    with _socket(world, kind, socket.SOCK_DGRAM) as client:
        for far in (OUTSIDE, FAR, FAR_OTHER):
            asked = (begin + far[number], 53)
            with as_user(1000, 1000):
                if way == "connected":
                    client.connect(asked)
                    client.send(b"?")
                else:
                    client.sendto(b"?", asked)
            data, sender = client.recvfrom(4096)
            assert json.loads(data)["port"] == 15053
            assert sender[:2] == asked


def test_other_datagrams_on_the_same_socket(world: Pod) -> None:
    with _socket(world, socket.AF_INET, socket.SOCK_DGRAM) as client:
        with as_user(1000, 1000):
            client.sendto(b"?", (FAR[4], 53))
        assert client.recvfrom(4096)[1] == (FAR[4], 53)
        with as_user(1000, 1000):
            client.sendto(b"?", (OUTSIDE[4], 80))
        data, sender = client.recvfrom(4096)
        assert json.loads(data)["who"] == "outside"
        assert sender == (OUTSIDE[4], 80)
