"""What is nobody's of ours: other pods, other rules, other questions to the kernel."""

from __future__ import annotations

import ctypes
import socket
import struct

import pytest

from tests.lab.ebpf import Lab, lab_machine
from tests.lab.netns import Namespace, cable, namespaces
from tests.lab.paths import NFTABLES, done_well
from tests.lab.pod import FAR, POD, Pod, new_pod
from tests.lab.traffic import connect, endpoint, recorder

pytestmark = pytest.mark.root


def _fates(pod: Pod) -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = []
    for number in (4, 6):
        for start, to, port, uid in (
            (pod.client, POD, 8080, 1000),
            (pod.client, POD, 22, 1000),
            (pod.pod, FAR, 80, 1000),
            (pod.pod, FAR, 80, 1337),
            (pod.pod, POD, 8080, 1000),
            (pod.pod, POD, 8080, 1337),
        ):
            answer = connect(start, to[number], port, uid=uid)
            found.append((answer.get("who"), answer.get("port"), answer.get("error")))
    return found


def test_a_pod_of_nftables_beside_a_pod_of_ebpf(machine: Lab) -> None:
    """They have the same addresses, and a third pod has nothing."""
    with new_pod() as one, new_pod() as other, new_pod() as third:
        everywhere = (22, 8080, 15001, 15006)
        with (
            recorder(one.pod, *everywhere),
            recorder(other.pod, *everywhere),
            recorder(third.pod, *everywhere),
            recorder(one.outside, 80),
            recorder(other.outside, 80),
            recorder(third.outside, 80),
        ):
            before = _fates(third)
            done_well("install", *NFTABLES.flags, namespace=other.pod)
            machine.put(one.pod)
            assert _fates(one) == _fates(other)
            assert _fates(third) == before
            assert machine.counted(third.pod) == {}
            machine.drop(one.pod)
            assert _fates(one) == before


def test_two_pods_with_the_same_addresses(machine: Lab) -> None:
    with new_pod() as one, new_pod() as other:
        with recorder(one.pod, 15006, 8080), recorder(other.pod, 15006, 8080):
            machine.put(one.pod)
            machine.put(other.pod, "--exclude-inbound-ports", "8080")
            assert connect(one.client, POD[4], 8080)["port"] == 15006
            assert connect(other.client, POD[4], 8080)["port"] == 8080
        with recorder(other.pod, 15006):
            # The proxy of one pod is not the proxy of the other.
            assert connect(one.client, POD[4], 9090) == {"error": "ConnectionRefusedError"}


def test_two_sets_of_programs_at_once(machine: Lab) -> None:
    with lab_machine() as second, new_pod() as one, new_pod() as other:
        machine.put(one.pod)
        second.put(other.pod)
        for pod in (one, other):
            with recorder(pod.pod, 15001, 15006):
                for number in (4, 6):
                    answer = connect(pod.pod, FAR[number], 80)
                    assert answer["original"] == endpoint(FAR[number], 80)
                    answer = connect(pod.client, POD[number], 8080)
                    assert answer["original"] == endpoint(POD[number], 8080)
        assert set(machine.counts()) != set(second.counts())


def _asked(namespace: Namespace) -> dict[str, object]:
    """Ask the kernel many things about a connection that is nobody's of ours."""
    with namespace:
        listener = socket.create_server(("127.0.0.1", 0))
        client = socket.create_connection(listener.getsockname())
    server, _ = listener.accept()
    found: dict[str, object] = {}

    with listener, client, server:
        for size in (16, 28, 128, 4096, 4097, 131072):
            for what, level, name in (
                ("original", socket.SOL_IP, 80),
                ("original6", socket.IPPROTO_IPV6, 80),
                ("type", socket.SOL_SOCKET, socket.SO_TYPE),
                ("congestion", socket.IPPROTO_TCP, socket.TCP_CONGESTION),
                ("unknown", 999, 80),
            ):
                found[f"{what} {size}"] = _raw(server, level, name, size)
            error, length, data = _raw(server, socket.IPPROTO_TCP, socket.TCP_INFO, size)
            found[f"info {size}"] = (error, length, data[:1])
        found["peer"] = server.getpeername() == client.getsockname()
    return found


def _raw(asked: socket.socket, level: int, name: int, size: int) -> tuple[int, int, bytes]:
    """Ask with a buffer of a size: the result, the length that came back, and what was written."""
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(b"\xa5" * size, size)
    length = ctypes.c_uint32(size)
    result = libc.getsockopt(asked.fileno(), level, name, buffer, ctypes.byref(length))
    return (ctypes.get_errno() if result else 0), length.value, buffer.raw


def test_every_other_getsockopt_is_as_it_was() -> None:
    with namespaces("somebody", "pod") as (somebody, inside):
        plain = _asked(somebody)
        with lab_machine() as machine:
            assert _asked(somebody) == plain
            machine.put(inside)
            mine = _asked(inside)
            # In a pod a question for the original destination is answered; nothing else is.
            changed = {name for name in plain if mine[name] != plain[name]}
            assert all(name.startswith("original ") for name in changed)
            assert _asked(somebody) == plain


def test_iptables_legacy_reads_long_tables(machine: Lab) -> None:
    with namespaces("pod") as (inside,):
        rules = "\n".join(f"-A INPUT -p tcp --dport {n} -j ACCEPT" for n in range(1, 3001))
        inside.run("iptables-legacy-restore", stdin=f"*filter\n{rules}\nCOMMIT\n")
        before = inside.run("iptables-legacy-save", "-t", "filter")
        machine.put(inside)
        after = inside.run("iptables-legacy-save", "-t", "filter")
        assert [line for line in after.splitlines() if line[0] == "-"] == [
            line for line in before.splitlines() if line[0] == "-"
        ]
        assert inside.run("iptables-legacy", "-n", "-L", "INPUT").count("ACCEPT") == 3001


def test_connections_that_are_there_go_on(machine: Lab) -> None:
    with namespaces("one", "pod") as (one, inside):
        cable(one, "eth0", inside, "eth0")
        one.address("eth0", "10.9.0.1/24")
        inside.address("eth0", "10.9.0.2/24")
        with inside:
            listener = socket.create_server(("10.9.0.2", 8080))
        with one:
            client = socket.create_connection(("10.9.0.2", 8080))
        server, _ = listener.accept()
        with listener, client, server:
            for change in (lambda: machine.put(inside), lambda: machine.drop(inside)):
                change()
                client.sendall(b"ping")
                assert server.recv(16) == b"ping"
                server.sendall(struct.pack("!I", 7))
                assert client.recv(16) == struct.pack("!I", 7)
