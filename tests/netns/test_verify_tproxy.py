"""verify tells what TPROXY took, whoever listens, and if the proxy can go on in clients' names."""

from __future__ import annotations

import socket
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from interceptor.names import Family
from interceptor.system import netns
from interceptor.verify.diag import is_transparent, transparent_listeners
from interceptor.verify.named import Named
from interceptor.verify.sockets import endpoint, own_address
from interceptor.verify.stage import stage
from tests.lab.paths import NFTABLES, RulePath, done_well, interceptor
from tests.lab.traffic import make_transparent, recorder
from tests.unit.common import rules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.netns import Namespace
    from tests.lab.paths import Done
    from tests.lab.pod import Pod

pytestmark = pytest.mark.root

_TPROXY = ("--mode", "tproxy")
_JSON = ("--output", "json")
_FAMILIES = {"ip", "ip6"}


def verify(pod: Pod, *flags: str) -> Done:
    return interceptor("verify", *_JSON, *(flags or _TPROXY), namespace=pod.pod)


def wrong(done: Done) -> list[dict[str, Any]]:
    return [c for c in done.json["connections"] if not c["ok"]]


def tried(done: Done, what: str, way: str = "inbound") -> list[dict[str, Any]]:
    """Give connections of a way whose description has this in it."""
    return [c for c in done.json["connections"] if c["way"] == way and what in c["what"]]


def handovers(done: Done) -> list[dict[str, Any]]:
    """Give the connections in a client's name, by the addresses that only the test has."""
    local = tried(done, " from ", "local")
    return [c for c in local if " from 198.1" in c["what"] or " from 2001:2:" in c["what"]]


@contextmanager
def listening(namespace: Namespace, *ports: int, transparent: bool = False) -> Iterator[None]:
    """Listen in both families, and never accept."""
    with ExitStack() as stack:
        for port in ports:
            for family in (socket.AF_INET, socket.AF_INET6):
                with namespace:
                    made = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
                if family == socket.AF_INET6:
                    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                if transparent:
                    make_transparent(made)
                made.bind(("", port))
                made.listen()
        yield


def test_all_is_well(pod: Pod, rule_path: RulePath) -> None:
    done_well("install", *rule_path.flags, *_TPROXY, namespace=pod.pod)
    done = verify(pod)
    assert done.code == 0, done
    assert (done.json["not_tried"], done.json["remarks"]) == ([], [])
    taken = [c for c in tried(done, "outside ->") if c["seen"] == "tproxy to 15006"]
    assert {c["family"] for c in taken} == _FAMILIES
    assert {c["note"] for c in taken} == {"original destination recovered"}
    assert {c["seen"] for c in tried(done, "-> pod:22")} == {"direct"}
    own = [c for c in tried(done, "uid 1337 ->", "local") if c["seen"] == "redirect to 15006"]
    assert {c["family"] for c in own} == _FAMILIES
    assert {(c["family"], c["seen"]) for c in handovers(done)} == {
        ("ip", "direct"),
        ("ip6", "direct"),
    }
    assert not any("0x539" in c["what"] for c in done.json["connections"])


@pytest.mark.parametrize("family", ["-4", "-6"])
@pytest.mark.parametrize("what", ["rule", "route"])
def test_without_a_route_back_nobody_hands_over(pod: Pod, family: str, what: str) -> None:
    done_well("install", *_TPROXY, namespace=pod.pod)
    if what == "rule":
        pod.pod.run("ip", family, "rule", "del", "fwmark", "1337")
    else:
        pod.pod.run("ip", family, "route", "flush", "table", "133")
    done = verify(pod)
    assert done.code == 126
    assert [c["family"] for c in wrong(done)] == ["ip" if family == "-4" else "ip6"]
    assert wrong(done) == [c for c in handovers(done) if not c["ok"]]
    assert wrong(done)[0]["seen"] == "no answer"


def test_without_the_marks_way_back_nobody_hands_over(pod: Pod) -> None:
    done_well("install", *NFTABLES.flags, *_TPROXY, namespace=pod.pod)
    pod.pod.run("nft", "flush", "chain", "inet", "interceptor", "mangle-output")
    done = verify(pod)
    assert wrong(done) == handovers(done)
    assert len(wrong(done)) == 2


def test_the_proxy_of_a_client_is_not_caught_by_itself(pod: Pod) -> None:
    """Without its exception, what the proxy hands over comes to it again, and so for ever."""
    done_well("install", *NFTABLES.flags, *_TPROXY, namespace=pod.pod)
    pod.pod.run(
        *("nft", "-f", "-"),
        stdin="flush chain inet interceptor interceptor-outbound\n"
        "add rule inet interceptor interceptor-outbound "
        "meta skuid 1337 goto interceptor-proxy\n",
    )
    done = verify(pod)
    assert {c["what"] for c in handovers(done)} <= {c["what"] for c in wrong(done)}


def test_without_rules_nothing_is_handed_over(pod: Pod) -> None:
    done = verify(pod)
    seen = {c["seen"] for c in tried(done, "outside ->") if c["expected"] == "tproxy to 15006"}
    assert seen == {"direct"}
    assert done.code == 126


@pytest.mark.parametrize("is_there", [False, True], ids=["alone", "proxy"])
def test_what_should_be_direct(pod: Pod, rule_path: RulePath, is_there: bool) -> None:
    """It is known from what should not be by who listens: the addresses are the same."""
    done_well("install", *rule_path.flags, *_TPROXY, namespace=pod.pod)
    with recorder(pod.pod, *[15006] * is_there):
        done = verify(pod, *_TPROXY, "--exclude-inbound-ports", "8080")
    assert {(c["family"], c["what"], c["seen"]) for c in wrong(done)} == {
        (family, "tcp outside -> pod:8080", "tproxy to 15006") for family in _FAMILIES
    }


def test_another_port(pod: Pod, rule_path: RulePath) -> None:
    done_well("install", *rule_path.flags, *_TPROXY, namespace=pod.pod)
    with listening(pod.pod, 15006, transparent=True):
        done = verify(pod, *_TPROXY, "--inbound-port", "15007")
    inbound = [c for c in wrong(done) if c["way"] == "inbound"]
    assert {(c["family"], c["expected"], c["seen"]) for c in inbound} == {
        (family, "tproxy to 15007", "tproxy to 15006") for family in _FAMILIES
    }


def test_a_redirect_is_no_tproxy_nor_the_other_way_round(pod: Pod) -> None:
    def both(done: Done) -> set[tuple[str, str]]:
        return {
            (c["expected"], c["seen"])
            for c in tried(done, "outside ->")
            if c["expected"] != "direct"
        }

    redirect, tproxy = "redirect to 15006", "tproxy to 15006"
    done_well("install", *_TPROXY, namespace=pod.pod)
    assert both(verify(pod, "--mode", "redirect")) == {(redirect, tproxy)}
    done_well("install", "--mode", "redirect", namespace=pod.pod)
    assert both(verify(pod)) == {(tproxy, redirect)}


@pytest.mark.parametrize("is_accepting", [True, False], ids=["closes at once", "never accepts"])
def test_a_running_proxy(pod: Pod, rule_path: RulePath, is_accepting: bool) -> None:
    done_well("install", *rule_path.flags, *_TPROXY, namespace=pod.pod)
    silent = listening(pod.pod, 15006, transparent=True)
    with recorder(pod.pod, 15006) if is_accepting else silent:
        done = verify(pod)
    assert done.code == 0, done
    assert (done.json["proxy_ports"], done.json["not_tried"]) == ([15006], [])
    taken = [c for c in tried(done, "outside ->") if c["expected"] == "tproxy to 15006"]
    assert {(c["seen"], c["note"]) for c in taken} == {
        ("tproxy to 15006", "taken by the proxy, not passed on")
    }
    assert len(taken) == 2


def test_a_proxy_that_is_not_transparent(pod: Pod, rule_path: RulePath) -> None:
    done_well("install", *rule_path.flags, *_TPROXY, namespace=pod.pod)
    with listening(pod.pod, 15006):
        done = verify(pod)
    assert done.code == 126
    assert {(c["way"], c["family"], c["seen"]) for c in wrong(done)} == {
        ("inbound", family, "no answer") for family in _FAMILIES
    }
    assert done.json["remarks"] == [
        f"who listens on port 15006 for {family} is not transparent, so TPROXY finds nobody"
        for family in ("IPv4", "IPv6")
    ]


@pytest.mark.parametrize("is_caught", [True, False])
def test_a_running_proxy_and_a_running_app(pod: Pod, is_caught: bool) -> None:
    """Both could have what is sent to the app's port, and only one is transparent."""
    flags = (*_TPROXY, "--include-inbound-ports", "8080")
    done_well("install", *NFTABLES.flags, *flags, namespace=pod.pod)
    if not is_caught:
        pod.pod.run("nft", "flush", "chain", "inet", "interceptor", "mangle-prerouting")
    with listening(pod.pod, 15006, transparent=True), listening(pod.pod, 8080):
        done = verify(pod, *flags)
    found = tried(done, "-> pod:8080")
    seen = "tproxy to 15006" if is_caught else "direct"
    assert [(c["seen"], c["ok"]) for c in found] == [(seen, is_caught)] * 2


def test_two_transparent_listeners(pod: Pod) -> None:
    """Which of them has a connection that both may have, nobody can tell."""
    flags = (*_TPROXY, "--include-inbound-ports", "8080")
    done_well("install", *flags, namespace=pod.pod)
    with listening(pod.pod, 15006, 8080, transparent=True):
        done = verify(pod, *flags)
    assert not tried(done, "-> pod:8080")
    what = "tcp outside -> pod:8080: the kernel does not tell which of two listeners took it"
    assert done.json["not_tried"] == [what] * 2
    assert "are on 8080, 15006: which of them" in done.json["remarks"][0]


_UNPRIVILEGED = """
from interceptor.names import Family
from interceptor.system.deadline import Deadline
from interceptor.verify.run import verify
from tests.unit.common import rules
done = verify(rules(mode="tproxy", exempt_mark="7"), Family.INET.members, Deadline(9))
assert done.ok, done.results
print(*done.not_tried, sep="\\n")
"""


def test_without_the_privilege_to_be_transparent(pod: Pod) -> None:
    done_well("install", *_TPROXY, "--exempt-mark", "7", namespace=pod.pod)
    drop = ("setpriv", "--bounding-set=-net_admin,-net_raw", "--inh-caps=-all")
    not_tried = pod.pod.run(*drop, sys.executable, "-c", _UNPRIVILEGED).splitlines()
    needs = "a transparent socket needs the capability NET_ADMIN"
    assert len([what for what in not_tried if what.endswith(needs)]) == 2
    assert "connections as mark 0x7: a mark needs the capability NET_ADMIN" in not_tried


def test_without_a_neighbour_it_hands_over_too(pod: Pod) -> None:
    """As where no namespace can be made: all of that happens in the pod."""
    with pod.pod:
        done_well("install", *_TPROXY)
        given = "-all,+net_admin,+net_raw,+setuid,+setgid"
        done = interceptor(
            *("verify", *_JSON, *_TPROXY),
            prefix=("setpriv", f"--bounding-set={given}", "--inh-caps=-all"),
        )
    assert done.code == 0, done
    assert {c["family"] for c in handovers(done)} == _FAMILIES


def test_what_the_kernel_says_of_listeners_and_connections(pod: Pod) -> None:
    with listening(pod.pod, 2001), listening(pod.pod, 2002, 2003, transparent=True), pod.pod:
        assert transparent_listeners(Family.IP) == frozenset({2002, 2003})
        assert transparent_listeners(Family.IP6) == frozenset({2002, 2003})
        for port in (2001, 2002):
            for family, host in ((Family.IP, "127.0.0.1"), (Family.IP6, "::1")):
                with socket.create_connection((host, port)) as client:
                    ends = endpoint(client.getpeername()), endpoint(client.getsockname())
                    assert is_transparent(family, *ends) is (port == 2002)
                    assert is_transparent(family, *reversed(ends)) is False, "the client"
                assert is_transparent(family, (ends[0][0], 9), ends[1]) is None


def test_a_listener_for_both_families_is_one_for_each(pod: Pod) -> None:
    with pod.pod, socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as made:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        make_transparent(made)
        made.bind(("", 2001))
        made.listen()
        assert transparent_listeners(Family.IP) == frozenset({2001})
        with socket.create_connection(("127.0.0.1", 2001)) as client:
            ends = endpoint(client.getpeername()), endpoint(client.getsockname())
            assert is_transparent(Family.IP, *ends) is True


def test_nobody_else_connects_from_a_clients_address(pod: Pod) -> None:
    """It would be one connection with what the proxy makes in the client's name."""
    named = Named.of(rules(mode="tproxy"))
    with pod.pod, stage(named, Family.INET.members, 5.0) as made:
        for family, ends in made.ends.items():
            assert len(ends.clients) == 1, family
            with netns.inside(made.outside):
                assert own_address(ends.pod) == ends.outside
