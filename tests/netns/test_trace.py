"""What trace shows of real connections, and that nothing is left of it, however it ends."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.lab.kernels import since
from tests.lab.paths import (
    IPTABLES_LEGACY,
    IPTABLES_NFT,
    NFTABLES,
    RulePath,
    done_well,
    dump,
    interceptor,
)
from tests.lab.pod import CLIENT, FAR, POD, POD_SIDE, PROXY_UID, Pod
from tests.lab.tracer import Tracer
from tests.lab.traffic import Recorder, connect
from tests.lab.waiting import becomes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.netns import Namespace

pytestmark = pytest.mark.root

_TRACED = pytest.mark.parametrize("path", [NFTABLES, IPTABLES_NFT], ids=str)
_APP, _KEPT, _OTHER = 8080, 22, 80
_INBOUND = "inbound ports that are captured"
_OUTBOUND = "destinations that are captured"


@contextmanager
def recorded(pod: Pod) -> Iterator[None]:
    made = [
        Recorder(pod.pod, 15001, 15006, _APP, _KEPT),
        Recorder(pod.pod, 15053, protocol="udp", on={15053: ""}),
        Recorder(pod.outside, _OTHER),
    ]
    try:
        yield
    finally:
        for one in made:
            one.close()


@pytest.fixture
def world(pod: Pod) -> Iterator[Pod]:
    with recorded(pod):
        yield pod


def tables(namespace: Namespace) -> list[str]:
    lines = namespace.run("nft", "list", "tables").splitlines()
    return [line for line in lines if "interceptor-trace" in line]


@_TRACED
@pytest.mark.parametrize("version", [4, 6])
def test_what_is_decided_is_shown_and_why(world: Pod, path: RulePath, version: int) -> None:
    done_well("install", *path.flags, namespace=world.pod)
    with Tracer(world.pod) as tracer:
        assert connect(world.client, POD[version], _APP)["port"] == 15006
        captured = tracer.next()
        assert (captured["direction"], captured["fate"]) == ("inbound", "redirect to 15006")
        assert captured["why"] == _INBOUND
        assert (captured["source"], captured["destination"]) == (CLIENT[version], POD[version])
        assert captured["destination_port"] == _APP
        assert captured["uid"] is None
        assert connect(world.client, POD[version], _KEPT)["port"] == _KEPT
        kept = tracer.next()
        assert (kept["fate"], kept["why"]) == ("direct", "SSH, tunnel, health and telemetry ports")
        assert connect(world.pod, FAR[version], _OTHER)["port"] == 15001
        sent = tracer.next()
        assert (sent["direction"], sent["fate"]) == ("outbound", "redirect to 15001")
        assert (sent["why"], sent["uid"], sent["gid"]) == (_OUTBOUND, 1000, 1000)
        assert (sent["source"], sent["destination"]) == (POD_SIDE[version], FAR[version])
        assert connect(world.pod, FAR[version], _OTHER, uid=PROXY_UID)["who"] == "outside"
        proxys = tracer.next()
        assert (proxys["fate"], proxys["uid"]) == ("direct", PROXY_UID)
        assert proxys["why"] == "made by the proxy: its user"
        assert connect(world.pod, POD[version], _APP, uid=PROXY_UID)["port"] == 15006
        own = tracer.next()
        assert (own["direction"], own["fate"]) == ("outbound", "redirect to 15006")
        assert own["why"] == _INBOUND
        assert not any(one["decided_by_others"] for one in (captured, kept, sent, proxys, own))
        assert not any(one["lost"] for one in (captured, kept, sent, proxys, own))
        code, out, err = tracer.end()
    assert (code, out) == (0, "")
    assert err == "5 decisions, none lost\n"
    assert not tables(world.pod)


@_TRACED
def test_what_explain_foretells_is_what_happens(world: Pod, path: RulePath) -> None:
    done_well("install", *path.flags, "--mode", "tproxy", namespace=world.pod)
    with Tracer(world.pod) as tracer:
        connect(world.client, POD[4], _APP)
        told = tracer.next()
    explained = interceptor(
        *("explain", "inbound", "--live", "--output", "json"),
        *("--from", CLIENT[4], "--to", f"{POD[4]}:{_APP}"),
        namespace=world.pod,
    ).json
    assert told["fate"] == explained["fate"] == "tproxy to 15006"
    assert told["why"] == explained["why"]
    rules = [[(v["chain"], v["rule"]) for v in one["path"]] for one in (told, explained)]
    assert rules[0] == rules[1]


@_TRACED
def test_dns_is_shown_where_it_is_captured(world: Pod, path: RulePath) -> None:
    def ask(uid: int) -> None:
        connect(world.pod, FAR[4], 53, uid=uid, protocol="udp", timeout_s=0.05)

    done_well("install", *path.flags, namespace=world.pod)
    with Tracer(world.pod) as tracer:
        ask(1000)
        done_well("install", *path.flags, "--capture-dns", "all", namespace=world.pod)
        ask(1000)
        app = tracer.next()
        assert (app["protocol"], app["fate"]) == ("udp", "redirect to 15053")
        assert (app["why"], app["uid"]) == ("DNS queries that are captured", 1000)
        ask(PROXY_UID)
        proxys = tracer.next()
        assert (proxys["fate"], proxys["uid"]) == ("direct", PROXY_UID)
        assert proxys["why"] == "asked by the proxy: its user"


@_TRACED
def test_others_who_decide_are_named(world: Pod, path: RulePath) -> None:
    done_well("install", *path.flags, namespace=world.pod)
    words = "-I INPUT -p tcp --dport 15006 -j DROP"
    world.pod.run("iptables-nft", *words.split())
    world.pod.run("iptables-nft", *words.replace("15006", "15001").split())
    world.pod.run("nft", "add table inet theirs")
    chain = "{ type filter hook prerouting priority -200; }"
    world.pod.run("nft", f"add chain inet theirs early {chain}")
    world.pod.run("nft", "add rule inet theirs early tcp dport 7 drop")
    with Tracer(world.pod) as tracer:
        connect(world.client, POD[4], _APP, timeout_s=0.1)
        late = tracer.next()
        assert (late["fate"], late["decided_by_others"]) == ("drop", True)
        assert late["why"].startswith("others' rule in ip filter INPUT: ")
        assert [visit["chain"] for visit in late["path"]][-1] == "INPUT"
        assert late["path"][-2]["does"] == "redirect to 15006"
        connect(world.client, POD[4], 7, timeout_s=0.1)
        early = tracer.next()
        assert (early["fate"], early["destination_port"]) == ("drop", 7)
        assert "inet theirs early: " in early["why"]
        # By lo, what is redirected comes in again: there it is lost.
        connect(world.pod, FAR[4], _OTHER, timeout_s=0.1)
        lost = tracer.next()
        assert (lost["direction"], lost["fate"], lost["uid"]) == ("outbound", "drop", 1000)
        assert lost["destination"] == FAR[4]


def test_what_nobody_tells_of_is_not_told_as_arrived(world: Pod) -> None:
    """A rule of iptables-legacy drops it behind ours: the kernel is silent about that."""
    done_well("install", namespace=world.pod)
    world.pod.run(
        "iptables-legacy", *["-I", "INPUT", "-p", "tcp", "--dport", "15006", "-j", "DROP"]
    )
    with Tracer(world.pod) as tracer:
        connect(world.client, POD[4], _APP, timeout_s=0.1)
        told = tracer.next()
    assert (told["fate"], told["why"], told["lost"]) == ("redirect to 15006", _INBOUND, True)


def test_a_packet_that_comes_again_is_told_once(world: Pod) -> None:
    """Nat is asked once a connection: later nothing matches, and nothing is decided."""
    done_well("install", namespace=world.pod)
    world.outside.run("iptables-nft", *["-I", "INPUT", "-p", "tcp", "--dport", "81", "-j", "DROP"])
    with Tracer(world.pod) as tracer:
        # The first repetition is after a second.
        connect(world.pod, FAR[4], 81, uid=PROXY_UID, timeout_s=1.3)
        connect(world.client, POD[4], _APP)
        assert tracer.next()["destination_port"] == 81
        assert tracer.next()["destination_port"] == _APP


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_told_to_end_it_ends_well(pod: Pod, number: int) -> None:
    before = dump(pod.pod)
    with Tracer(pod.pod) as tracer:
        assert tracer.begun.startswith("tracing ")
        assert tables(pod.pod)
        started = time.monotonic()
        assert tracer.end(number) == (0, "", "0 decisions, none lost\n")
        assert time.monotonic() - started < 5
    assert dump(pod.pod) == before


@_TRACED
def test_killed_it_leaves_nothing(world: Pod, path: RulePath) -> None:
    done_well("install", *path.flags, namespace=world.pod)
    before = dump(world.pod)
    with Tracer(world.pod) as tracer:
        assert len(tables(world.pod)) == 1
        tracer.end(signal.SIGKILL)
    if not since(5, 12):
        # Tables have no owners there, so it is left, named, and gone with the next install.
        assert len(tables(world.pod)) == 1
        assert "interceptor-trace" in interceptor("status", namespace=world.pod).stdout
        done_well("install", *path.flags, namespace=world.pod)
    assert becomes(lambda: dump(world.pod) == before)


@_TRACED
def test_nobody_is_confused_by_it(world: Pod, path: RulePath) -> None:
    """It is no drift, no rule to prove or explain, and stays when ours are changed or removed."""
    done_well("install", *path.flags, namespace=world.pod)
    commands = [
        ("status", "--output", "json"),
        ("prove", "--live", "--output", "json"),
        ("explain", "inbound", "--to-port", "8080", "--live", "--output", "json"),
        ("diff", "live", "config", *path.flags),
        ("install", *path.flags),
    ]
    before = [interceptor(*one, namespace=world.pod) for one in commands]
    with Tracer(world.pod) as tracer:
        assert [interceptor(*one, namespace=world.pod) for one in commands] == before
        assert before[0].json["state"] == "in-sync"
        done_well("install", *path.flags, "--inbound-port", "15007", namespace=world.pod)
        done_well("uninstall", namespace=world.pod)
        assert interceptor("status", namespace=world.pod).stdout.startswith("absent")
        assert len(tables(world.pod)) == 1
        assert tracer.end()[0] == 0


@_TRACED
def test_rules_that_are_replaced_meanwhile_are_read_again(world: Pod, path: RulePath) -> None:
    with Tracer(world.pod) as tracer:
        connect(world.client, POD[4], _APP)
        assert tracer.next()["why"] == "no rule of ours matches it"
        done_well("install", *path.flags, namespace=world.pod)
        connect(world.client, POD[4], _APP)
        assert tracer.next()["why"] == _INBOUND
        done_well("uninstall", namespace=world.pod)
        flags = ("--exclude-inbound-ports", str(_APP))
        # The kernel counts its rules anew, so that numbers mean others now.
        done_well("install", *path.flags, *flags, namespace=world.pod)
        connect(world.client, POD[4], _APP)
        last = tracer.next()
        assert (last["fate"], last["why"]) == ("direct", "inbound ports you excluded")


def test_two_trace_at_once(world: Pod) -> None:
    done_well("install", namespace=world.pod)
    with Tracer(world.pod) as one, Tracer(world.pod) as other:
        assert len(tables(world.pod)) == 2
        connect(world.pod, FAR[6], _OTHER)
        first, second = one.next(), other.next()
        assert first.pop("time")
        assert second.pop("time")
        assert first == second
        assert (first["uid"], first["fate"]) == (1000, "redirect to 15001")
        one.end(signal.SIGKILL)
        connect(world.client, POD[4], _APP)
        assert other.next()["why"] == _INBOUND
        assert other.end()[2] == "2 decisions, none lost\n"
    assert not tables(world.pod)


def test_it_ends_after_so_many_or_so_long(world: Pod) -> None:
    done_well("install", namespace=world.pod)
    with Tracer(world.pod, "--count", "2") as tracer:
        for _ in range(3):
            connect(world.client, POD[4], _APP)
        code, out, err = tracer.end(None)
    assert (code, len(out.splitlines())) == (0, 2)
    assert err == "2 decisions, none lost\n"
    with Tracer(world.pod, "--for", "0.2") as tracer:
        assert tracer.end(None) == (0, "", "0 decisions, none lost\n")


def test_options_leave_out(world: Pod) -> None:
    done_well("install", namespace=world.pod)
    for options, wanted in (
        (("--inbound",), [_APP, _KEPT]),
        (("--outbound",), [_OTHER]),
        (("--port", f"1-79,{_OTHER}"), [_OTHER, _KEPT]),
    ):
        with Tracer(world.pod, *options) as tracer:
            connect(world.client, POD[4], _APP)
            connect(world.pod, FAR[4], _OTHER)
            connect(world.client, POD[4], _KEPT)
            shown = [tracer.next()["destination_port"] for _ in wanted]
            assert sorted(shown) == sorted(wanted)
            assert tracer.end()[1] == ""
    assert interceptor("trace", "--port", "x", namespace=world.pod).code == 2


def test_people_see_a_line_at_once_and_rules_if_they_like(world: Pod) -> None:
    done_well("install", namespace=world.pod)
    with Tracer(world.pod, "--verbose", output="human") as tracer:
        assert connect(world.client, POD[4], _APP)["port"] == 15006
        asked = time.monotonic()
        line = tracer.line()
        # 0.2 seconds are promised; a busy machine has more.
        assert time.monotonic() - asked < 2
        words = (
            f"inbound   tcp  {CLIENT[4]}:",
            f"{POD[4]}:{_APP}  -  redirect to 15006  {_INBOUND}",
        )
        assert all(word in line for word in words), line
        assert tracer.line().split()[:3] == ["prerouting", "interceptor", "nat-prerouting"]


def test_the_process_is_named_while_it_has_its_socket(world: Pod) -> None:
    done_well("install", namespace=world.pod)
    script = "import socket, sys; s = socket.create_connection(sys.argv[1:]); sys.stdin.read()"
    with Tracer(world.pod) as tracer, world.pod:
        client = subprocess.Popen(
            ["/usr/bin/python3", "-c", script, FAR[4], str(_OTHER)], stdin=subprocess.PIPE
        )
        told = tracer.next()
        client.communicate(timeout=20)
    assert (told["command"], told["pid"], told["uid"]) == ("python3", client.pid, 0)


def test_a_reader_who_has_enough_ends_it(world: Pod) -> None:
    with Tracer(world.pod) as tracer:
        assert tracer.process.stdout
        tracer.process.stdout.close()
        connect(world.client, POD[4], _APP)
        assert tracer.process.wait(timeout=20) == 0
    assert not tables(world.pod)


def test_legacy_is_refused_by_name(pod: Pod) -> None:
    done_well("install", *IPTABLES_LEGACY.flags, namespace=pod.pod)
    refused = interceptor("trace", "--output", "json", namespace=pod.pod)
    assert refused.code == 4
    error = json.loads(refused.stdout)
    assert error["error"].startswith("iptables-legacy, which holds the rules here, does not tell")
    assert "--backend nftables" in error["hint"]
    assert not tables(pod.pod)


def test_without_privilege_it_is_refused(pod: Pod) -> None:
    prefix = ("setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin")
    with pod.pod:
        refused = interceptor("trace", prefix=prefix)
    assert refused.code == 4
    assert "NET_ADMIN" in refused.stderr


def test_what_a_kernel_without_owners_left_is_named_and_removed(pod: Pod) -> None:
    done_well("install", namespace=pod.pod)
    pod.pod.run("nft", "add table inet interceptor-trace-4711")
    chain = "{ type filter hook output priority -301; }"
    pod.pod.run("nft", f"add chain inet interceptor-trace-4711 begin-tcp-out {chain}")
    found = interceptor("status", namespace=pod.pod)
    assert found.code == 3
    assert "extra-chain inet interceptor-trace-4711 begin-tcp-out" in found.stdout
    done_well("install", namespace=pod.pod)
    assert not tables(pod.pod)
    assert interceptor("status", namespace=pod.pod).code == 0
    pod.pod.run("nft", "add table inet interceptor-trace-4711")
    done_well("uninstall", namespace=pod.pod)
    assert not pod.pod.run("nft", "list", "tables")


def test_many_connections_at_once_are_all_told(world: Pod) -> None:
    done_well("install", namespace=world.pod)
    with Tracer(world.pod, "--inbound") as tracer:
        for _ in range(300):
            connect(world.client, POD[4], _APP)
        told = [tracer.next() for _ in range(300)]
        assert len({one["source_port"] for one in told}) == 300
        assert {one["fate"] for one in told} == {"redirect to 15006"}
        assert tracer.end()[2] == "300 decisions, none lost\n"


def test_what_is_lost_is_counted(world: Pod) -> None:
    done_well("install", namespace=world.pod)
    with Tracer(world.pod, "--inbound", output="human") as tracer:
        tracer.send(signal.SIGSTOP)
        for _ in range(3000):
            connect(world.client, POD[4], _APP)
        tracer.send(signal.SIGCONT)
        code, out, err = tracer.end()
    assert code == 0
    told = re.fullmatch(r"(\d+) decisions; (\d+) events were lost, .*\n", err)
    assert told
    assert len(out.splitlines()) == int(told[1])
    assert int(told[2]) > 0
    # Nothing is told of which a part is missing.
    assert all(line.endswith(f"redirect to 15006  {_INBOUND}") for line in out.splitlines())
