"""What trace shows of decisions at sockets, and that nothing is left of it, however it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from interceptor.backends.ebpf.layout import TRACERS
from tests.lab.ebpf_node import EbpfNode, ebpf_node
from tests.lab.paths import Done, interceptor
from tests.lab.pod import CLIENT, FAR, FAR_OTHER, POD, PROXY_UID, Pod, new_pod
from tests.lab.tracer import Tracer
from tests.lab.traffic import Recorder, as_user, connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.netns import Namespace

pytestmark = pytest.mark.root

_APP, _KEPT, _OTHER = 8080, 22, 80
_INBOUND = "inbound ports that are captured"
_OUTBOUND = "destinations that are captured"
_LOCALHOST = {4: "127.0.0.1", 6: "::1"}


class World:
    """A pod with all that listens, on a node of its own."""

    def __init__(self, pod: Pod, node: EbpfNode) -> None:
        self.pod, self.client, self.outside, self.node = pod.pod, pod.client, pod.outside, node

    def run(self, *arguments: str, namespace: Namespace | None = None) -> Done:
        return interceptor(
            *arguments, namespace=namespace or self.pod, prefix=tuple(self.node.prefix)
        )

    def install(self, *settings: str, namespace: Namespace | None = None) -> None:
        done = self.run("install", "--backend", "ebpf", *settings, namespace=namespace)
        assert done.code == 0, done

    def tracer(self, *options: str, output: str = "json") -> Tracer:
        return Tracer(self.pod, *options, output=output, prefix=tuple(self.node.prefix))

    @property
    def places(self) -> list[str]:
        there = self.node.pins / "tracers"
        return sorted(os.listdir(there)) if there.exists() else []


@contextmanager
def _recorded(pod: Pod) -> Iterator[None]:
    with ExitStack() as stack:
        for made in (
            Recorder(pod.pod, 15001, 15006, _APP, _KEPT),
            Recorder(pod.pod, 15053),
            Recorder(pod.pod, 15053, protocol="udp", on=_LOCALHOST, uid=PROXY_UID),
            Recorder(pod.outside, _OTHER, 81),
        ):
            stack.callback(made.close)
        yield


@pytest.fixture
def world(pod: Pod) -> Iterator[World]:
    with ebpf_node() as node, _recorded(pod):
        yield World(pod, node)


def _short(told: dict[str, Any]) -> tuple[str, str, str]:
    return told["direction"], told["fate"], told["why"]


@pytest.mark.parametrize("version", [4, 6])
def test_what_is_decided_is_shown_and_why(world: World, version: int) -> None:
    excluded = ("--exclude-inbound-ports", "8081", "--exclude-outbound-uids", "7")
    world.install("--exclude-outbound-ports", "81", *excluded)
    far, own = FAR[version], POD[version]
    before = time.time()
    with world.tracer() as tracer:
        assert connect(world.pod, far, _OTHER)["port"] == 15001
        sent = tracer.next()
        assert _short(sent) == ("outbound", "redirect to 15001", _OUTBOUND)
        assert (sent["destination"], sent["destination_port"]) == (far, _OTHER)
        assert (sent["uid"], sent["gid"], sent["pid"]) == (1000, 1000, os.getpid())
        assert (sent["source"], sent["source_port"], sent["path"]) == (None, None, [])
        assert sent["command"]
        for to, port, uid, fate, why in (
            (far, 81, 1000, "direct", "outbound ports you excluded"),
            (far, _OTHER, 7, "direct", "users you excluded"),
            (far, _OTHER, PROXY_UID, "direct", "made by the proxy: its user"),
            (_LOCALHOST[version], _APP, 1000, "direct", "the app talking to its own pod"),
            (own, _APP, 1000, "direct", "the app talking to its own pod"),
            (own, _APP, PROXY_UID, "redirect to 15006", _SELF),
        ):
            connect(world.pod, to, port, uid=uid)
            told = tracer.next()
            assert _short(told) == ("outbound", fate, why)
            assert (told["destination"], told["destination_port"]) == (to, port)
            assert told["uid"] == uid
        assert connect(world.client, own, _APP)["port"] == 15006
        captured = tracer.next()
        assert _short(captured) == ("inbound", "redirect to 15006", _INBOUND)
        assert (captured["source"], captured["destination"]) == (CLIENT[version], own)
        assert captured["source_port"] > 0
        assert {captured[key] for key in ("uid", "gid", "pid", "command")} == {None}
        for port in (_KEPT, 8081):
            connect(world.client, own, port)
            assert _short(tracer.next()) == ("inbound", "direct", _LEFT)
        assert tracer.end() == (0, "", "10 decisions, none lost\n")
    assert before <= _seconds(sent["time"]) + 0.001 <= _seconds(captured["time"]) + 0.001
    assert _seconds(captured["time"]) <= time.time()
    assert not world.places


_SELF = "the proxy calling its own pod counts as inbound"
_LEFT = "inbound ports you excluded, or SSH, tunnel, health and telemetry ports"


def _seconds(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


def test_an_address_that_is_mapped_is_the_address(world: World) -> None:
    world.install()
    with world.tracer() as tracer, world.pod, as_user(1000, 1000):
        with socket.socket(socket.AF_INET6) as client:
            client.connect((f"::ffff:{FAR[4]}", _OTHER))
        told = tracer.next()
    assert (told["destination"], told["fate"]) == (FAR[4], "redirect to 15001")


def test_a_source_that_was_chosen_is_shown(world: World) -> None:
    world.install()
    with world.tracer() as tracer, world.pod, as_user(1000, 1000):
        with socket.socket() as client:
            client.bind((POD[4], 0))
            chosen = client.getsockname()[1]
            client.connect((FAR[4], _OTHER))
        told = tracer.next()
    assert (told["source"], told["source_port"]) == (POD[4], chosen)


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_dns_is_shown_where_it_is_captured(world: World, protocol: str) -> None:
    def ask(uid: int, port: int = 53) -> None:
        connect(world.pod, FAR[4], port, uid=uid, protocol=protocol, timeout_s=0.2)

    world.install("--capture-dns", "all")
    with world.tracer("--port", "53") as tracer:
        ask(1000)
        app = tracer.next()
        assert (app["protocol"], app["fate"]) == (protocol, "redirect to 15053")
        assert (app["why"], app["uid"]) == ("DNS queries that are captured", 1000)
        ask(PROXY_UID)
        proxys = tracer.next()
        did = "asked" if protocol == "udp" else "made"
        assert (proxys["fate"], proxys["why"]) == ("direct", f"{did} by the proxy: its user")
        ask(1000, 54)
        world.install("--proxy-uid", "2000", "--capture-dns", "all", "--dns-port", "5353")
        ask(1000)
        later = tracer.next()
        assert (later["destination_port"], later["fate"]) == (53, "redirect to 5353")
        world.install()
        ask(1000)
        if protocol == "tcp":
            assert tracer.next()["fate"] == "redirect to 15001"
        assert tracer.end()[1] == ""


def test_what_nobody_listens_for_is_refused_and_shown(pod: Pod) -> None:
    with ebpf_node() as node, world_tracer(World(pod, node)) as (world, tracer):
        assert connect(world.client, POD[4], _APP) == {"error": "ConnectionRefusedError"}
        told = tracer.next()
        assert _short(told) == (
            "inbound",
            "drop",
            "nobody listens on the inbound port of the proxy",
        )
        # Outbound it is the connection to the proxy that is refused, after the decision.
        assert connect(world.pod, FAR[4], _OTHER) == {"error": "ConnectionRefusedError"}
        assert _short(tracer.next()) == ("outbound", "redirect to 15001", _OUTBOUND)


@contextmanager
def world_tracer(world: World) -> Iterator[tuple[World, Tracer]]:
    world.install()
    with world.tracer() as tracer:
        yield world, tracer


def test_options_leave_out(world: World) -> None:
    world.install()
    for options, wanted in (
        (("--inbound",), [_APP, _KEPT]),
        (("--outbound",), [_OTHER]),
        (("--port", f"1-79,{_OTHER}"), [_OTHER, _KEPT]),
        (("--inbound", "--count", "1"), [_APP]),
    ):
        with world.tracer(*options) as tracer:
            connect(world.client, POD[4], _APP)
            connect(world.pod, FAR[4], _OTHER)
            connect(world.client, POD[4], _KEPT)
            assert [tracer.next()["destination_port"] for _ in wanted] == wanted
            ended = None if "--count" in options else signal.SIGTERM
            words = f"{len(wanted)} decision{'s' * (len(wanted) > 1)}, none lost\n"
            assert tracer.end(ended) == (0, "", words)
    with world.tracer("--for", "0.2") as tracer:
        assert tracer.end(None) == (0, "", "0 decisions, none lost\n")
    assert not world.places


def test_people_see_a_line_at_once(world: World) -> None:
    world.install()
    with world.tracer("--verbose", output="human") as tracer:
        assert tracer.begun == f"tracing {world.pod.path}; Ctrl-C ends it\n"
        connect(world.client, POD[4], _APP)
        asked = time.monotonic()
        line = tracer.line()
        assert time.monotonic() - asked < 2
        words = f"{POD[4]}:{_APP}  -  redirect to 15006  {_INBOUND}"
        assert words in line, line
        connect(world.pod, FAR[6], _OTHER)
        line = tracer.line()
        found = re.search(r"outbound  tcp  -> \[(.*)\]:80 +uid 1000 (.*)  redirect", line)
        assert found, line
        assert (found[1], bool(found[2].strip())) == (FAR[6], True)
        assert tracer.end()[1] == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_told_to_end_it_ends_well(world: World, number: int) -> None:
    world.install()
    with world.tracer() as tracer:
        assert world.places == ["0"]
        started = time.monotonic()
        assert tracer.end(number) == (0, "", "0 decisions, none lost\n")
        assert time.monotonic() - started < 5
    assert not world.places
    with world.node.machine() as machine:
        assert machine.held()
        for slot in range(TRACERS):
            key = slot.to_bytes(4, "little")
            assert machine.map("traces").get(key) == bytes(16)
            assert machine.map("rings").get(key) is None


def test_each_of_two_sees_what_it_asked_for(world: World) -> None:
    world.install()
    with new_pod() as other, _recorded(other):
        theirs = World(other, world.node)
        theirs.install()
        with world.tracer() as one, world.tracer() as two, theirs.tracer() as three:
            assert world.places == ["0", "1", "2"]
            connect(world.pod, FAR[4], _OTHER)
            connect(theirs.pod, FAR_OTHER[4], _OTHER)
            first, second = one.next(), two.next()
            assert first == second
            assert first["destination"] == FAR[4]
            assert three.next()["destination"] == FAR_OTHER[4]
            one.end(signal.SIGKILL)
            connect(world.client, POD[6], _APP)
            assert two.next()["why"] == _INBOUND
            assert two.end() == (0, "", "2 decisions, none lost\n")
            assert three.end() == (0, "", "1 decision, none lost\n")


def test_killed_it_leaves_nothing_that_costs(world: World) -> None:
    world.install()
    with world.node.machine() as machine:
        assert machine.held()
        first = bytes(4)
        with world.tracer() as tracer:
            assert machine.map("rings").get(first)
            tracer.end(signal.SIGKILL)
        until = int.from_bytes((machine.map("traces").get(first) or b"")[:8], "little")
        assert until <= time.monotonic_ns() + 2_000_000_000
        # The next who changes anything takes the rest away.
        world.install("--outbound-port", "15002")
        assert world.places == ["0"]
        with world.tracer() as tracer:
            assert world.places == ["0"]
            connect(world.client, POD[4], _APP)
            assert tracer.next()["why"] == _INBOUND
            assert tracer.end() == (0, "", "1 decision, none lost\n")
        with world.tracer() as tracer:
            tracer.end(signal.SIGKILL)
        machine.collect()
        assert machine.map("rings").get(first) is None
        assert machine.map("traces").get(first) == bytes(16)
    assert not world.places


def test_more_than_there_are_places_for_are_refused(world: World) -> None:
    world.install()
    with ExitStack() as stack:
        tracers = [stack.enter_context(world.tracer()) for _ in range(TRACERS)]
        refused = world.run("trace", "--output", "json")
        assert refused.code == 4
        said = json.loads(refused.stdout)
        assert (
            said["error"] == f"{TRACERS} others trace pods of this node already, and more cannot"
        )
        assert "end one of them" in said["hint"]
        connect(world.client, POD[4], _APP)
        assert {tracer.next()["why"] for tracer in tracers} == {_INBOUND}
        tracers[3].end()
        with world.tracer() as late:
            connect(world.client, POD[4], _APP)
            assert late.next()["why"] == _INBOUND


def test_many_connections_at_once_are_all_told(world: World) -> None:
    world.install()
    with world.tracer("--inbound") as tracer:
        for _ in range(300):
            connect(world.client, POD[4], _APP)
        told = [tracer.next() for _ in range(300)]
        assert len({one["source_port"] for one in told}) == 300
        assert {one["fate"] for one in told} == {"redirect to 15006"}
        assert tracer.end()[2] == "300 decisions, none lost\n"


def test_what_is_lost_is_counted(world: World) -> None:
    """Both what the ring buffer had no room for and what came when the lease was over."""
    world.install()
    with world.node.machine() as machine, world.tracer("--inbound", output="human") as tracer:
        assert machine.held()
        with world.tracer("--inbound", output="human") as other:
            tracer.send(signal.SIGSTOP)
            made = _until(world, 2.5)
            tracer.send(signal.SIGCONT)
            # Nobody reads what it writes, so that it may be held up too.
            _lost(other, made)
        assert _lost(tracer, made) > 0


def _lost(tracer: Tracer, made: int) -> int:
    """End it, see that all decisions are told or counted, and give how many are not told."""
    code, out, err = tracer.end()
    told = re.fullmatch(r"(\d+) decisions?(?:, none lost|; (\d+) events were lost, .*)\n", err)
    assert told, err
    assert (code, len(out.splitlines())) == (0, int(told[1]))
    lost = int(told[2] or 0)
    assert int(told[1]) + lost == made
    return lost


def _until(world: World, seconds: float) -> int:
    end, made = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        assert connect(world.client, POD[4], _APP)["port"] == 15006
        made += 1
    return made


def test_what_the_ring_has_no_room_for_is_counted(world: World) -> None:
    world.install("--capture-dns", "all")
    with world.tracer(output="human") as tracer:
        tracer.send(signal.SIGSTOP)
        with world.pod, as_user(1000, 1000), socket.socket(type=socket.SOCK_DGRAM) as client:
            for _ in range(6000):
                client.sendto(b"?", (FAR[4], 53))
        tracer.send(signal.SIGCONT)
        assert _lost(tracer, 6000) > 0


def test_removed_meanwhile_it_says_so(world: World) -> None:
    world.install()
    with world.tracer() as tracer:
        connect(world.client, POD[4], _APP)
        world.install("--exclude-inbound-ports", str(_APP))
        connect(world.client, POD[4], _APP)
        assert [tracer.next()["fate"] for _ in range(2)] == ["redirect to 15006", "direct"]
        assert world.run("uninstall").code == 0
        code, out, err = tracer.end(None)
    assert code == 1
    assert json.loads(out)["error"].startswith("no program decides about sockets here any more")
    assert err.startswith("2 decisions, none lost\nerror: ")
    assert not world.node.pins.exists()


def test_where_nothing_of_ours_is_it_says_so(world: World) -> None:
    """As everywhere: nf_tables tells that no rule of ours matches."""
    with world.tracer() as tracer:
        connect(world.client, POD[4], _APP)
        assert tracer.next()["why"] == "no rule of ours matches it"
        assert tracer.end()[0] == 0
