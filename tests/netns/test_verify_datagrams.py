"""verify sends datagrams where rules name UDP: where they end, and if answers find back."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.paths import NFTABLES, RulePath, done_well, interceptor
from tests.lab.pod import OUTSIDE
from tests.lab.traffic import as_user

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.lab.netns import Namespace
    from tests.lab.paths import Done
    from tests.lab.pod import Pod

pytestmark = pytest.mark.root

_ALL = ("--capture-dns", "all")
_SOME = ("--capture-dns", "resolv-conf")
_FAMILIES = {"ip", "ip6"}
_BACK = "answered in the name of who was asked"
_LOCALHOST = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


def verify(pod: Pod, *flags: str) -> Done:
    return interceptor("verify", "--output", "json", *flags, namespace=pod.pod)


def wrong(done: Done) -> list[dict[str, Any]]:
    return [c for c in done.json["connections"] if not c["ok"]]


def queries(done: Done, who: str) -> set[tuple[str, str, str]]:
    """Give families, ends and notes of somebody's datagrams to the neighbour's port 53."""
    what = f"udp {who} -> outside:53"
    return {
        (c["family"], c["seen"], c["note"]) for c in done.json["connections"] if c["what"] == what
    }


def nft(pod: Pod, *lines: str) -> None:
    pod.pod.run("nft", "-f", "-", stdin="".join(f"{line}\n" for line in lines))


@contextmanager
def answering(
    namespace: Namespace, answer: Callable[[bytes], bytes], *, uid: int = 1337
) -> Iterator[None]:
    """Have a DNS proxy where Istio's is: on port 15053 of localhost; no answer is ``b""``."""
    sockets = []
    for family, host in _LOCALHOST.items():
        with namespace, as_user(uid, uid):
            sockets.append(socket.socket(family, socket.SOCK_DGRAM))
        sockets[-1].bind((host, 15053))
        sockets[-1].settimeout(0.05)
    done = threading.Event()

    def serve(one: socket.socket) -> None:
        while not done.is_set():
            try:
                data, peer = one.recvfrom(4096)
            except TimeoutError:
                continue
            if answered := answer(data):
                one.sendto(answered, peer)

    threads = [threading.Thread(target=serve, args=(one,)) for one in sockets]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread, one in zip(threads, sockets, strict=True):
            thread.join()
            one.close()


def refusal(query: bytes) -> bytes:
    """Answer as a server does that will not (RFC 1035, section 4.1.1), if that is a query."""
    is_query = query[2:6] == b"\x01\x00\x00\x01" and query.endswith(b"\x07invalid\0\0\x01\0\x01")
    return query[:2] + b"\x81\x05" + query[4:] if is_query else b""


def test_all_is_well(pod: Pod, any_path: RulePath) -> None:
    done_well("install", *any_path.flags, *_ALL, namespace=pod.pod)
    done = verify(pod, *_ALL)
    assert done.code == 0, done
    assert (done.json["not_tried"], done.json["remarks"]) == ([], [])
    assert queries(done, "app") == {(f, "redirect to 15053", _BACK) for f in _FAMILIES}
    for who in ("uid 1337", "gid 1337"):
        assert queries(done, who) == {(family, "direct", "") for family in _FAMILIES}
    by_tcp = [c for c in done.json["connections"] if c["what"] == "tcp app -> outside:53"]
    assert {c["seen"] for c in by_tcp} == {"redirect to 15053"}


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_queries_that_go_past(pod: Pod, protocol: str) -> None:
    done_well("install", *NFTABLES.flags, *_ALL, namespace=pod.pod)
    chain = {"udp": "dns", "tcp": "outbound"}[protocol]
    nft(
        pod,
        f"insert rule inet interceptor interceptor-{chain} meta l4proto {protocol} "
        f"{protocol} dport 53 meta skuid != 1337 accept",
    )
    done = verify(pod, *_ALL)
    assert done.code == 126
    found = [c for c in wrong(done) if c["what"] == f"{protocol} app -> outside:53"]
    assert {(c["family"], c["expected"], c["seen"]) for c in found} == {
        (family, "redirect to 15053", "direct") for family in _FAMILIES
    }


def test_queries_of_the_proxy_that_are_caught(pod: Pod) -> None:
    """It would ask itself for ever."""
    done_well("install", *_ALL, "--proxy-uid", "4711", namespace=pod.pod)
    done = verify(pod, *_ALL, "--proxy-uid", "1337,4711")
    found = [c for c in wrong(done) if c["what"] == "udp uid 1337 -> outside:53"]
    assert {c["family"] for c in found} == _FAMILIES
    assert {c["expected"] for c in found} == {"direct"}


def test_another_port(pod: Pod, any_path: RulePath) -> None:
    done_well("install", *any_path.flags, *_ALL, namespace=pod.pod)
    done = verify(pod, *_ALL, "--dns-port", "15054")
    found = [c for c in wrong(done) if c["what"] == "udp app -> outside:53"]
    assert {(c["family"], c["expected"]) for c in found} == {
        (family, "redirect to 15054") for family in _FAMILIES
    }
    assert all(":53" in c["what"] for c in wrong(done))


def test_answers_that_do_not_find_back(pod: Pod) -> None:
    """Conntrack knows the query in one zone, and the answer comes in another."""
    done_well("install", *NFTABLES.flags, *_ALL, namespace=pod.pod)
    nft(
        pod,
        "flush chain inet interceptor interceptor-zone-out",
        "add rule inet interceptor interceptor-zone-out udp dport 53 ct zone set 2",
    )
    done = verify(pod, *_ALL)
    assert done.code == 126
    assert queries(done, "app") == {
        (family, "redirect to 15053", "what was sent did not come back") for family in _FAMILIES
    }
    assert all("udp app -> " in c["what"] for c in wrong(done))


def test_included_groups_alone(pod: Pod) -> None:
    """The app's own queries are nobody's business then; the proxy answers the group's."""
    flags = (*_ALL, "--include-outbound-owner-groups", "2000")
    done_well("install", *flags, namespace=pod.pod)
    done = verify(pod, *flags)
    assert done.code == 0, done
    assert queries(done, "gid 2000") == {(f, "redirect to 15053", _BACK) for f in _FAMILIES}
    assert queries(done, "app") == {(family, "direct", "") for family in _FAMILIES}


def test_a_proxy_that_is_told_by_its_mark(pod: Pod) -> None:
    flags = (*_ALL, "--proxy-uid", "", "--proxy-gid", "", "--exempt-mark", "0x99")
    done_well("install", *flags, namespace=pod.pod)
    done = verify(pod, *flags)
    assert done.code == 0, done
    assert queries(done, "app") == {(f, "redirect to 15053", _BACK) for f in _FAMILIES}
    assert queries(done, "mark 0x99") == {(family, "direct", "") for family in _FAMILIES}


def to_resolvers(done: Done, protocol: str) -> list[dict[str, Any]]:
    asked = {f"{OUTSIDE[4]}:53", f"[{OUTSIDE[6]}]:53"}
    return [
        c
        for c in done.json["connections"]
        if c["destination"] in asked and c["what"].startswith(protocol)
    ]


def test_resolvers_are_asked_where_they_are(pod: Pod, any_path: RulePath) -> None:
    """Nobody else's address is lent for it, as what is caught here does not get there."""
    pod.pod.resolv_conf(f"nameserver {OUTSIDE[4]}\nnameserver {OUTSIDE[6]}\n")
    done_well("install", *any_path.flags, *_SOME, namespace=pod.pod)
    done = verify(pod, *_SOME)
    assert done.code == 0, done
    assert done.json["not_tried"] == []
    for protocol in ("udp", "tcp"):
        found = to_resolvers(done, protocol)
        assert [(c["family"], c["seen"]) for c in found] == [
            ("ip", "redirect to 15053"),
            ("ip6", "redirect to 15053"),
        ]
    assert queries(done, "app") == {(f, "direct", "") for f in _FAMILIES}, "nobody's resolver"


def test_resolvers_that_are_reached(pod: Pod) -> None:
    """They are no neighbours of ours, so they may answer, refuse, or not be there."""
    pod.pod.resolv_conf(f"nameserver {OUTSIDE[4]}\nnameserver {OUTSIDE[6]}\n")
    done_well("install", *NFTABLES.flags, *_SOME, namespace=pod.pod)
    nft(
        pod,
        "flush chain inet interceptor interceptor-dns",
        "flush chain inet interceptor interceptor-outbound",
    )
    done = verify(pod, *_SOME)
    assert {c["what"] for c in to_resolvers(done, "")} <= {c["what"] for c in wrong(done)}
    assert len(to_resolvers(done, "")) == 4


def test_a_resolver_behind_an_excluded_interface(pod: Pod) -> None:
    """What goes out there is not caught: it is the interface to the resolver that counts."""
    pod.pod.resolv_conf(f"nameserver {OUTSIDE[4]}\n")
    flags = (*_SOME, "--exclude-interfaces", "eth1")
    done_well("install", *flags, namespace=pod.pod)
    done = verify(pod, *flags)
    assert done.code == 0, done
    assert to_resolvers(done, "") == []
    small = "IPv4 networks too small to borrow an address from"
    assert done.json["not_tried"] == [f"{small}: {OUTSIDE[4]}/32"]


def test_a_running_proxy_that_answers(pod: Pod, any_path: RulePath) -> None:
    done_well("install", *any_path.flags, *_ALL, namespace=pod.pod)
    with answering(pod.pod, refusal):
        done = verify(pod, *_ALL)
    assert done.code == 0, done
    assert done.json["proxy_ports"] == [15053]
    assert queries(done, "app") == {
        (family, "redirect to 15053", "answered by the proxy") for family in _FAMILIES
    }


def test_a_running_proxy_that_does_not(pod: Pod) -> None:
    """Then nothing tells its silence from a datagram that is lost."""
    done_well("install", *_ALL, namespace=pod.pod)
    with answering(pod.pod, lambda _: b""):
        done = verify(pod, *_ALL)
    assert done.code == 0, done
    what = "udp app -> outside:53: whoever has port 15053 does not answer it"
    assert done.json["not_tried"].count(what) == 2
    assert queries(done, "app") == set()


def test_a_running_proxy_does_not_hide_what_goes_past(pod: Pod) -> None:
    done_well("install", *NFTABLES.flags, *_ALL, namespace=pod.pod)
    nft(pod, "flush chain inet interceptor interceptor-dns")
    with answering(pod.pod, refusal):
        done = verify(pod, *_ALL)
    assert done.code == 126
    assert queries(done, "app") == {(family, "direct", "") for family in _FAMILIES}


def test_a_proxy_that_answers_what_it_should_not_get(pod: Pod) -> None:
    done_well("install", *_ALL, namespace=pod.pod)
    with answering(pod.pod, refusal):
        done = verify(pod, "--capture-dns", "off")
    assert queries(done, "app") == {
        (family, "answered by somebody else", "") for family in _FAMILIES
    }
    assert done.code == 126


def test_as_somebody_who_may_not_be_the_proxy(pod: Pod) -> None:
    with pod.pod:
        done_well("install", *_ALL)
        done = interceptor(
            *("verify", "--output", "json", *_ALL),
            prefix=("setpriv", "--bounding-set=-setuid,-setgid", "--inh-caps=-all"),
        )
    assert done.code == 0, done
    needs = "to answer as the proxy needs the capabilities SETUID and SETGID"
    assert f"udp app -> outside:53: {needs}" in done.json["not_tried"]
