"""The test istio-validation makes, over rules as Istio would have put them there."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

import pytest

from interceptor.names import Family
from interceptor.verify import istio_probe
from tests.lab.istio import TOOLS, Istio, put
from tests.lab.netns import Namespace, namespaces
from tests.lab.traffic import recorder

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

pytestmark = pytest.mark.root

ISTIO = Istio(include_inbound_ports="*", include_cidrs="*", ipv6=True)
NARROW, WIDE = "127.0.0.1/32", "127.0.0.0/8"

_READ_ONLY = 'mount --bind / / && mount -o remount,ro,bind / && cd / && exec "$@"'
AS_PROXY = (
    *("unshare", "--mount", "/bin/sh", "-c", _READ_ONLY, "sh"),
    *("setpriv", "--reuid=1337", "--regid=1337", "--clear-groups", "--no-new-privs"),
    *("--bounding-set=-all", "--inh-caps=-all"),
)
"""The proxy's user, who may do nothing, in a container that cannot be written to."""

_CODE = """
import json, sys
from ipaddress import IPv4Network
from interceptor.names import Family
from interceptor.verify.istio_probe import validate
from interceptor.verify.named import Identity
families, timeout_s, loopback, identity = json.loads(sys.argv[1])
outcome = validate(
    15001, 15006, 15002, timeout_s, [Family(f) for f in families], IPv4Network(loopback),
    Identity("proxy", *identity) if identity else None,
)
print(json.dumps([outcome.passed, outcome.failures]))
"""


def validate(
    namespace: Namespace,
    *families: str,
    timeout_s: float = 5.0,
    loopback: str = NARROW,
    prefix: tuple[str, ...] = AS_PROXY,
    identity: tuple[int, int] | None = None,
) -> list[str]:
    """Try in a process of its own, and give why it failed."""
    asked = json.dumps([families or ("ip", "ip6"), timeout_s, loopback, identity])
    out = namespace.run(*prefix, sys.executable, "-c", _CODE, asked)
    passed, failures = json.loads(out)
    assert passed is not bool(failures)
    return list(failures)


@pytest.fixture
def pod() -> Iterator[Namespace]:
    """A namespace with an address of each family and nothing installed."""
    with namespaces("pod") as (made,):
        made.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "peer")
        made.run("ip", "link", "set", "eth0", "up")
        made.address("eth0", "10.1.0.1/24", "fd01::1/64")
        yield made


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("tproxy", [False, True], ids=["REDIRECT", "TPROXY"])
def test_connections_are_redirected(pod: Namespace, tool: str, *, tproxy: bool) -> None:
    put(pod, ISTIO._replace(tproxy=tproxy), tool)
    before = time.monotonic()
    assert validate(pod) == []
    assert time.monotonic() - before < 1.0, "it waits on though it has passed"


def test_without_rules_it_says_so_for_each_family(pod: Namespace) -> None:
    pod.run("ip", "addr", "add", "::6/128", "dev", "lo")
    before = time.monotonic()
    assert validate(pod, timeout_s=1.2) == [
        "IPv4: user 1337 connects to 127.0.0.6:15002, and no rule redirects it",
        "IPv6: user 1337 connects to [::6]:15002, and no rule redirects it",
    ]
    assert time.monotonic() - before > 1.2, "rules may come a moment later"


def test_rules_may_come_later(pod: Namespace) -> None:
    rules = threading.Timer(0.7, put, (pod, ISTIO, "nft"))
    rules.start()
    try:
        assert validate(pod) == []
    finally:
        rules.join()


def test_one_family_without_rules_is_told(pod: Namespace) -> None:
    put(pod, ISTIO._replace(ipv6=False), "iptables-nft")
    assert validate(pod, timeout_s=0.5) == [
        "IPv6: user 1337 connects to [::6]:15002: no interface has ::6"
    ]
    assert validate(pod, "ip") == []


def test_only_ipv6(pod: Namespace) -> None:
    put(pod, ISTIO, "iptables-nft")
    pod.run("iptables-nft", "-t", "nat", "-F")
    assert validate(pod, "ip6") == []
    assert len(validate(pod, timeout_s=0.5)) == 1


def test_localhost_may_be_wide(pod: Namespace) -> None:
    """Then rules leave 127.0.0.6 alone, and Istio's own test never passes."""
    put(pod, ISTIO._replace(loopback=WIDE), "nft")
    assert validate(pod, loopback=WIDE) == []
    assert "no rule redirects it" in validate(pod, "ip", timeout_s=0.5)[0]


def test_localhost_may_be_wide_and_all_there_is() -> None:
    with namespaces("pod") as (bare,):
        assert validate(bare, "ip", timeout_s=0.5, loopback=WIDE) == [
            "IPv4: there is no address but localhost's to try"
        ]


def test_root_is_not_redirected_but_can_become_the_proxy(pod: Namespace) -> None:
    put(pod, ISTIO, "nft")
    assert validate(pod, "ip", timeout_s=0.5, prefix=()) == [
        "IPv4: user 0 connects to 127.0.0.6:15002, and no rule redirects it"
    ]
    assert validate(pod, prefix=(), identity=(1337, 1337)) == []


@pytest.mark.parametrize("port", [15001, 15006])
def test_a_port_that_is_in_use_is_told_at_once(pod: Namespace, port: int) -> None:
    put(pod, ISTIO, "nft")
    before = time.monotonic()
    with recorder(pod, port):
        failures = validate(pod, timeout_s=30.0)
    assert failures == [
        f"IPv4: cannot listen on 127.0.0.1:{port}: somebody listens there already",
        f"IPv6: cannot listen on [::1]:{port}: somebody listens there already",
    ]
    assert time.monotonic() - before < 10.0


def test_it_says_who_answers_instead(pod: Namespace) -> None:
    with recorder(pod, 15002):
        assert validate(pod, "ip", timeout_s=0.5) == [
            "IPv4: user 1337 connects to 127.0.0.6:15002, and is answered at 127.0.0.6:15002"
        ]


def test_a_connection_that_is_dropped(pod: Namespace) -> None:
    pod.run("iptables-nft", "-A", "INPUT", "-p", "tcp", "--dport", "15002", "-j", "DROP")
    assert validate(pod, "ip", timeout_s=0.5) == [
        "IPv4: user 1337 connects to 127.0.0.6:15002, and has no answer"
    ]


def test_lo_may_be_down(pod: Namespace) -> None:
    pod.run("ip", "link", "set", "lo", "down")
    assert validate(pod, timeout_s=0.5) == ["IPv4: lo is down", "IPv6: lo is down"]


def test_without_time_nothing_is_tried(pod: Namespace) -> None:
    put(pod, ISTIO, "nft")
    assert validate(pod, "ip", timeout_s=0.0) == ["IPv4: there was no time to try"]


def test_others_connections_do_not_count(pod: Namespace) -> None:
    """Somebody redirected is not enough: it has to be the connection that was made for it."""
    put(pod, ISTIO, "nft")
    with knocking(pod, "127.0.0.6", 15002, uid=1337):
        assert "no rule redirects it" in validate(pod, "ip", timeout_s=1.5, prefix=())[0]


@contextmanager
def knocking(namespace: Namespace, address: str, port: int, *, uid: int) -> Iterator[None]:
    """Connect there as somebody, again and again."""
    code = (
        "import socket, time\n"
        "while True:\n"
        "    with socket.socket() as client:\n"
        f"        client.connect_ex(({address!r}, {port}))\n"
        "    time.sleep(0.05)\n"
    )
    with namespace:
        process = subprocess.Popen(
            ["/usr/bin/setpriv", f"--reuid={uid}", "--clear-groups", sys.executable, "-c", code]
        )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def test_the_kernel_has_to_know_where_it_was_going(
    pod: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A redirection by other means than the kernel's leaves a proxy without a destination."""
    put(pod, ISTIO._replace(uids="0", gids="0"), "nft")
    asked: list[socket.socket] = []

    def forgotten(connection: socket.socket) -> None:
        asked.append(connection)

    def run() -> tuple[str, ...]:
        with pod:
            outcome = istio_probe.validate(
                15001, 15006, 15002, 0.5, [Family.IP], IPv4Network(NARROW)
            )
        return outcome.failures

    assert run() == ()
    monkeypatch.setattr(istio_probe, "original_destination", forgotten)
    (failure,) = run()
    assert "it came to 127.0.0.1:15006, but the kernel knows of none" in failure
    assert asked
