"""verify tells who took a connection, whichever ports and networks the rules name."""

from __future__ import annotations

import threading
import time
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.paths import NFTABLES, done_well, interceptor
from tests.lab.traffic import recorder

if TYPE_CHECKING:
    from tests.lab.pod import Pod

pytestmark = pytest.mark.root


def connections(done: Any, what: str) -> list[dict[str, Any]]:
    """Give those whose description ends so."""
    return [c for c in done.json["connections"] if c["what"].endswith(what)]


def test_a_redirect_to_the_port_that_was_asked_for_is_not_direct(pod: Pod) -> None:
    """The proxy listens on 443 and takes what should have gone to 443 outside."""
    flags = ("--outbound-port", "443")
    done_well("install", *flags, namespace=pod.pod)
    done = interceptor(
        *("verify", *flags, "--exclude-outbound-ports", "443", "--output", "json"),
        namespace=pod.pod,
    )
    assert done.code == 126
    found = connections(done, "app -> outside:443")
    assert [(c["family"], c["seen"], c["ok"]) for c in found] == [
        ("ip", "redirect to 443", False),
        ("ip6", "redirect to 443", False),
    ]


_TO_443 = (
    *("--outbound-port", "443", "--include-outbound-ports", "443"),
    *("--include-outbound-cidrs", "10.128.0.0/9,fd80::/9", "--output", "json"),
)


def test_a_redirect_to_the_same_port_is_seen_as_one(pod: Pod) -> None:
    done_well("install", *_TO_443, namespace=pod.pod)
    done = done_well("verify", "--output", "json", namespace=pod.pod)
    found = connections(done, "app -> outside:443")
    assert [c["seen"] for c in found] == ["redirect to 443"] * 2
    assert {c["note"] for c in found} == {"original destination recovered"}


def test_what_goes_past_is_not_a_redirect_to_the_same_port(pod: Pod) -> None:
    """Without any rules outside:443 is reached, and nobody in the pod."""
    done = interceptor("verify", *_TO_443, namespace=pod.pod)
    assert done.code == 126
    found = connections(done, "app -> outside:443")
    assert [(c["seen"], c["ok"]) for c in found] == [("direct", False)] * 2


def test_with_a_proxy_at_the_same_port(pod: Pod) -> None:
    done_well("install", *_TO_443, namespace=pod.pod)
    with recorder(pod.pod, 443, 15006):
        done = done_well("verify", "--output", "json", namespace=pod.pod)
    found = connections(done, "app -> outside:443")
    assert {(c["seen"], c["note"]) for c in found} == {
        ("redirect to 443", "taken by the proxy, not passed on")
    }
    direct = connections(done, "uid 1337 -> outside:443") or connections(done, "-> pod:22")
    assert all(c["seen"] == "direct" for c in direct)


@pytest.mark.parametrize(
    "flags",
    [
        ("--exclude-inbound-ports", "15006"),
        ("--inbound-port", "8443", "--include-inbound-ports", "8443"),
    ],
    ids=["exception", "captured"],
)
def test_inbound_at_the_redirect_port_itself(pod: Pod, flags: tuple[str, ...]) -> None:
    """In the pod a redirect to the port that was asked for changes nothing."""
    done_well("install", *flags, namespace=pod.pod)
    done_well("verify", namespace=pod.pod)
    with recorder(pod.pod, 15001, int(flags[1])):
        done_well("verify", namespace=pod.pod)


def test_what_is_translated_to_another_host_is_not_direct(pod: Pod) -> None:
    """Somebody's rule sends one outside port to another; both are the neighbour's."""
    flags = ("--exclude-outbound-ports", "3306,3307")
    done_well("install", *NFTABLES.flags, *flags, namespace=pod.pod)
    pod.pod.run(
        *("nft", "-f", "-"),
        stdin="table ip theirs {\n chain c { type nat hook output priority -110;\n"
        "  ip daddr 198.18.0.0/15 tcp dport 3306 dnat to :3307\n }\n}\n",
    )
    done = interceptor("verify", "--output", "json", namespace=pod.pod)
    assert done.code == 126
    failed = [c for c in done.json["connections"] if not c["ok"]]
    assert [(c["what"], c["seen"]) for c in failed] == [
        ("tcp app -> outside:3306", "sent elsewhere, to port 3307 outside")
    ]


def test_datagrams_that_are_turned_round_are_seen(pod: Pod) -> None:
    """A redirect without a port leads to the same port here, where somebody answers too."""
    done_well("install", *NFTABLES.flags, namespace=pod.pod)
    pod.pod.run(
        *("nft", "-f", "-"),
        stdin="table inet theirs {\n chain c { type nat hook output priority -110;\n"
        "  oifname != lo meta l4proto udp redirect\n }\n}\n",
    )
    done = interceptor("verify", "--output", "json", namespace=pod.pod)
    failed = [c["what"].partition(":")[0] for c in done.json["connections"] if not c["ok"]]
    assert failed == ["udp app -> outside"] * 2


def test_lent_addresses_are_reached_from_the_pods_end(pod: Pod) -> None:
    """Also of families whose source the kernel could choose from lo, which has ::6."""
    networks = ("10.128.0.0/9", "fd80::/9", "2001:db8::/32", "64:ff9b::/96")
    done_well("install", "--exclude-outbound-cidrs", ",".join(networks), namespace=pod.pod)
    done = done_well("verify", "--output", "json", namespace=pod.pod)
    assert done.json["not_tried"] == []
    for network in networks:
        assert len(tried_in(network, done)) == 1, network


def tried_in(network: str, done: Any) -> list[dict[str, Any]]:
    """Give the outbound connections to an address in a network."""
    return [
        c
        for c in done.json["connections"]
        if c["way"] == "outbound" and ip_address(host(c["destination"])) in ip_network(network)
    ]


def host(destination: str) -> str:
    return destination.rpartition(":")[0].strip("[]")


def test_every_lent_route_names_its_source(pod: Pod) -> None:
    """Seen from the pod while verify waits for answers that do not come."""
    done_well("install", "--exclude-outbound-cidrs", "10.128.0.0/9,fd80::/9", namespace=pod.pod)
    pod.pod.run("nft", "add table inet theirs")
    pod.pod.run(
        "nft", "add chain inet theirs c { type filter hook input priority 0; policy drop; }"
    )
    verifying = threading.Thread(
        target=interceptor, args=("verify",), kwargs={"namespace": pod.pod}
    )
    verifying.start()
    seen: dict[str, str] = {}
    try:
        while verifying.is_alive():
            for version in ("-4", "-6"):
                for line in pod.pod.run("ip", version, "route").splitlines():
                    if " dev iv" in line and not line.startswith("fe80::"):
                        seen[line.split()[0]] = line
            time.sleep(0.02)
    finally:
        verifying.join()
    assert len(seen) == 4, seen
    assert all(
        " src 198.18." in r or " src 198.19." in r or " src 2001:2:" in r for r in seen.values()
    )


def test_networks_in_which_nobody_can_be_lent_an_address(pod: Pod) -> None:
    no_route = "0.0.0.0/8,169.254.0.0/16,224.0.0.0/4,fe80::/10,ff00::/8"
    flags = ("--exclude-outbound-cidrs", f"{no_route},192.0.2.0/24,10.96.0.1/32")
    done_well("install", *flags, namespace=pod.pod)
    done = done_well("verify", "--output", "json", namespace=pod.pod)
    for network in (*no_route.split(","), "192.0.2.0/24"):
        assert not tried_in(network, done)
    what = "networks that are unspecified, loopback, link-local or multicast"
    assert done.json["not_tried"] == [
        "IPv4 networks too small to borrow an address from: 10.96.0.1/32, 192.0.2.0/24",
        f"IPv4 {what}: 0.0.0.0/8, 169.254.0.0/16, 224.0.0.0/4",
        f"IPv6 {what}: fe80::/10, ff00::/8",
    ]
    said = done_well("verify", namespace=pod.pod).stderr
    assert f"not tried: IPv6 {what}: fe80::/10, ff00::/8" in said


@pytest.mark.parametrize(
    ("wide", "usual"),
    [("0.0.0.0/1,::/1", "0.0.0.0/1"), ("192.0.0.0/2,c000::/2", "192.0.0.0/3")],
)
def test_wide_networks_with_such_addresses_in_them(pod: Pod, wide: str, usual: str) -> None:
    """Chosen at random an address would every other time be one of those."""
    done_well("install", "--exclude-outbound-cidrs", wide, namespace=pod.pod)
    for _ in range(4):
        done = done_well("verify", "--output", "json", namespace=pod.pod)
        assert done.json["not_tried"] == []
        assert tried_in(usual, done)


def test_what_is_beyond_the_limits_is_said(pod: Pod) -> None:
    networks = ",".join(f"10.{n}.0.0/16" for n in range(10, 50, 2))
    ids = ",".join(str(n) for n in range(10, 30, 2))
    ports = ",".join(str(n) for n in range(2000, 2100, 2))
    done_well(
        *("install", "--exclude-outbound-cidrs", networks, "--exclude-outbound-uids", ids),
        *("--exclude-outbound-ports", ports, "--exempt-mark", "1,2,3,4,5,6,7"),
        namespace=pod.pod,
    )
    done = done_well("verify", "--output", "json", namespace=pod.pod)
    not_tried = "\n".join(done.json["not_tried"])
    assert "IPv4 networks beyond the 6 that are: 10.22.0.0/16, " in not_tried
    assert "and 8 more" in not_tried
    assert "outbound ports beyond the 16 that are: " in not_tried
    assert "users beyond the 6 that are: 20, 22, 24, 26, 28" in not_tried
    assert "marks beyond the 6 that are: 0x7" in not_tried
    assert connections(done, ":2000")
    assert any("uid 1337 " in c["what"] for c in done.json["connections"]), "the policy's first"


def test_few_ports_and_many_probes(pod: Pod) -> None:
    """Clients to different ports outside share their own, and are told from one another."""
    pod.pod.sysctl("ipv4/ip_local_port_range", "40000 40010")
    flags = (
        *(
            "--exclude-outbound-ports",
            "3306,5432,6379,9042,27017",
            "--proxy-uid",
            "1337,4000,4001",
        ),
        *("--exempt-mark", "0x539,7", "--exclude-outbound-uids", "77,78"),
    )
    done_well("install", *flags, namespace=pod.pod)
    for _ in range(3):
        done_well("verify", namespace=pod.pod)
    with recorder(pod.pod, 15001, 15006):
        for _ in range(3):
            done_well("verify", namespace=pod.pod)
