"""Istio ambient's rules in a pod, with a proxy that is known by its mark, as ztunnel is."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.paths import RulePath, by_chain, done_well, dump, interceptor
from tests.lab.pod import CLIENT, FAR, OUTSIDE, POD, POD_SIDE, Pod
from tests.lab.traffic import Recorder, connect, endpoint
from tests.lab.ztunnel import DNS, INBOUND, MARK, OUTBOUND, TUNNEL, Passed, Ztunnel

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

APP = 8080
LOCALHOST = {4: "127.0.0.1", 6: "::1"}
PROBE = {4: "169.254.7.127", 6: "fd16:9254:7127:1337:ffff:ffff:ffff:ffff"}
ANSWER_MARK = 0x111


class Mesh:
    """A pod with an app and the stand-in, and an outside that answers."""

    def __init__(self, pod: Pod, path: RulePath) -> None:
        self.pod, self._path = pod, path
        self._app = Recorder(pod.pod, APP)
        self._others = [
            Recorder(pod.outside, 80, 53),
            Recorder(pod.outside, 53, 80, protocol="udp"),
            Recorder(pod.client, 80),
        ]
        self.ztunnel = Ztunnel(pod.pod)
        # The node is where probes come from.
        pod.client.address("eth0", f"{PROBE[4]}/32", f"{PROBE[6]}/128")
        for version in (4, 6):
            via = ("via", CLIENT[version], "dev", "eth0")
            pod.pod.run("ip", f"-{version}", "route", "add", PROBE[version], *via)

    def install(self, *flags: str) -> None:
        done_well(
            "install", "--sheet", "ambient", *self._path.flags, *flags, namespace=self.pod.pod
        )

    def ask(self, where: str, to: str, port: int, **how: Any) -> tuple[str, list[Passed]]:
        """Say who answered, and as whom he knows the caller; and what the proxy passed on."""
        found = connect(getattr(self.pod, where), to, port, **how)
        who = found.get("error") or f"{found['who']} {found.get('peer', '')}".strip()
        return who, self.ztunnel.take()

    def close(self) -> None:
        self.ztunnel.close()
        for one in (self._app, *self._others):
            one.close()


@pytest.fixture
def mesh(pod: Pod, rule_path: RulePath) -> Iterator[Mesh]:
    made = Mesh(pod, rule_path)
    yield made
    made.close()


def test_what_comes_in_goes_to_the_app_in_the_clients_name(mesh: Mesh) -> None:
    mesh.install()
    for v in (4, 6):
        for to in (POD[v], POD_SIDE[v]):
            passed = [Passed("inbound", CLIENT[v], endpoint(to, APP))]
            assert mesh.ask("client", to, APP) == (f"pod {CLIENT[v]}", passed)
        # Its own ports are nobody's to call from outside; as the real one, it goes no further.
        for port in (OUTBOUND, INBOUND, DNS):
            passed = [Passed("inbound", CLIENT[v], endpoint(POD[v], port))]
            assert mesh.ask("client", POD[v], port) == ("closed", passed)


def test_a_tunnel_reaches_the_proxy_itself(mesh: Mesh) -> None:
    mesh.install()
    for v in (4, 6):
        to = endpoint(POD[v], APP)
        with mesh.pod.client, socket.create_connection((POD[v], TUNNEL), timeout=2) as tunnel:
            tunnel.sendall(f"{to}\n".encode())
            answer = tunnel.recv(4096).decode()
        assert f'"peer": "{CLIENT[v]}"' in answer
        assert mesh.ztunnel.take() == [Passed("tunnel", CLIENT[v], to)]


@pytest.mark.parametrize("lost", ["rule", "mark"])
def test_answers_find_their_way_by_the_connections_mark(mesh: Mesh, lost: str) -> None:
    """Without the routing rule, or the mark it asks for, the app answers to a client who did not
    ask it.
    """
    mesh.install()
    for v in (4, 6):
        if lost == "rule":
            mesh.pod.pod.run("ip", f"-{v}", "rule", "del", "pref", "32764")
        else:
            mesh.pod.pod.run("ip", f"-{v}", "rule", "del", "pref", "32764")
            words = ("fwmark", "0x112/0xfff", "pref", "32764", "lookup", "100")
            mesh.pod.pod.run("ip", f"-{v}", "rule", "add", *words)
        who, passed = mesh.ask("client", POD[v], APP)
        assert (who, [one.way for one in passed]) == ("closed", ["inbound"])
    found = interceptor("status", namespace=mesh.pod.pod)
    assert (found.code, found.stdout.count("missing-ip-rule")) == (3, 2)


def test_where_lo_has_no_ipv6_there_are_no_routes_of_it(mesh: Mesh) -> None:
    mesh.pod.pod.sysctl("ipv6/conf/lo/disable_ipv6", "1")
    before = dump(mesh.pod.pod)
    mesh.install("--ip-families", "dual")
    assert "fwmark" not in mesh.pod.pod.run("ip", "-6", "rule")
    assert mesh.ask("client", POD[4], APP)[0] == f"pod {CLIENT[4]}"
    assert done_well("status", namespace=mesh.pod.pod).stdout.startswith("in-sync")
    done_well("uninstall", namespace=mesh.pod.pod)
    assert by_chain(dump(mesh.pod.pod)) == by_chain(before)


def test_what_goes_out_goes_by_the_proxy(mesh: Mesh) -> None:
    mesh.install()
    for v in (4, 6):
        outside = f"outside {POD_SIDE[v]}"
        passed = [Passed("outbound", POD_SIDE[v], endpoint(FAR[v], 80))]
        for uid in (1000, 0, 1337):
            assert mesh.ask("pod", FAR[v], 80, uid=uid) == (outside, passed)
        assert mesh.ask("pod", FAR[v], 80, mark=0x538) == (outside, passed)
        assert mesh.ask("pod", OUTSIDE[v], 80, protocol="udp") == (outside, [])
        # What the proxy sends never comes back to it, also with bits of others' in its mark.
        for mark in (MARK, MARK | 0x10000):
            assert mesh.ask("pod", FAR[v], 80, mark=mark) == (outside, [])
            assert mesh.ask("pod", FAR[v], 53, mark=mark) == (outside, [])
            assert mesh.ask("pod", POD[v], APP, mark=mark) == (f"pod {POD[v]}", [])


def test_the_pod_talks_to_itself(mesh: Mesh) -> None:
    mesh.install()
    for v in (4, 6):
        for to in (POD[v], LOCALHOST[v]):
            assert mesh.ask("pod", to, APP) == (f"pod {to}", [])
        for port in (OUTBOUND, INBOUND, DNS):
            # To its ports by their own numbers; it sees that nobody was meant.
            assert mesh.ask("pod", LOCALHOST[v], port)[0] in ("closed", "ztunnel")
    assert mesh.ask("pod", "127.5.0.1", APP) == ("pod 127.0.0.1", [])


def test_probes_reach_the_app(mesh: Mesh) -> None:
    mesh.install()
    for v in (4, 6):
        assert mesh.ask("client", POD[v], APP, source=PROBE[v]) == (f"pod {PROBE[v]}", [])
        assert mesh.ask("pod", PROBE[v], 80) == (f"client {POD[v]}", [])


def test_probes_may_come_from_another_address(mesh: Mesh) -> None:
    mesh.install("--option", f"probe_address={CLIENT[4]}")
    assert mesh.ask("client", POD[4], APP) == (f"pod {CLIENT[4]}", [])
    for source in (PROBE[4], CLIENT[6], PROBE[6]):
        to = POD[6 if ":" in source else 4]
        passed = [Passed("inbound", source, endpoint(to, APP))]
        assert mesh.ask("client", to, APP, source=source) == (f"pod {source}", passed)


def test_dns_goes_to_the_proxy(mesh: Mesh) -> None:
    mesh.install()
    for v in (4, 6):
        assert mesh.ask("pod", OUTSIDE[v], 53, protocol="udp") == (
            "ztunnel",
            [Passed("dns", POD_SIDE[v], "udp")],
        )
        assert mesh.ask("pod", FAR[v], 53) == (
            "ztunnel",
            [Passed("dns", POD_SIDE[v], endpoint(FAR[v], 53))],
        )
        asked = mesh.ask("pod", OUTSIDE[v], 53, protocol="udp", mark=MARK)
        assert asked == (f"outside {POD_SIDE[v]}", [])


@pytest.mark.parametrize("zones", [True, False], ids=["zones", "no zones"])
def test_the_proxys_query_may_have_the_port_of_the_apps(mesh: Mesh, *, zones: bool) -> None:
    """In one zone the two would be one connection, and the query come back to who asks it."""
    mesh.ztunnel.close()
    mesh.ztunnel = Ztunnel(mesh.pod.pod, OUTSIDE, "eth1")
    mesh.install()
    if not zones:
        _flush_raw(mesh.pod)
    for v in (4, 6):
        asked = _ask_from_port(mesh.pod, POD_SIDE[v], OUTSIDE[v])
        assert asked == (
            f'"who": "outside", "port": 53, "original": "-", "peer": "{POD_SIDE[v]}"'
            if zones
            else "TimeoutError"
        )
        assert len(mesh.ztunnel.take()) == 1


def _flush_raw(pod: Pod) -> None:
    """Take the zones' rules away, in whichever language they are."""
    pod.pod.run("nft", "delete", "table", "inet", "istio-ambient-raw", check=False)
    for tool in ("iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy"):
        for chain in ("PREROUTING", "OUTPUT"):
            pod.pod.run(tool, "-t", "raw", "-F", chain, check=False)


def _ask_from_port(pod: Pod, source: str, to: str) -> str:
    """Ask from a port that the proxy will ask from as well."""
    family = socket.AF_INET6 if ":" in to else socket.AF_INET
    with pod.pod, socket.socket(family, socket.SOCK_DGRAM) as asking:
        asking.settimeout(1)
        asking.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        asking.bind((source, 33533))
        asking.sendto(b"?", (to, 53))
        try:
            return asking.recv(4096).decode().strip("{}")
        except OSError as error:
            return type(error).__name__


def test_without_dns_queries_are_like_anything_else(mesh: Mesh) -> None:
    mesh.install("--capture-dns", "off")
    for v in (4, 6):
        outside = f"outside {POD_SIDE[v]}"
        assert mesh.ask("pod", OUTSIDE[v], 53, protocol="udp") == (outside, [])
        passed = [Passed("outbound", POD_SIDE[v], endpoint(FAR[v], 53))]
        assert mesh.ask("pod", FAR[v], 53) == (outside, passed)
    assert "zone" not in dump(mesh.pod.pod)


def test_a_pod_that_is_an_ingress_is_called_directly(mesh: Mesh) -> None:
    mesh.install("--mode", "none")
    for v in (4, 6):
        for source in (CLIENT[v], PROBE[v]):
            assert mesh.ask("client", POD[v], APP, source=source) == (f"pod {source}", [])
        passed = [Passed("outbound", POD_SIDE[v], endpoint(FAR[v], 80))]
        assert mesh.ask("pod", FAR[v], 80) == (f"outside {POD_SIDE[v]}", passed)


def test_what_comes_from_within_is_outbound(mesh: Mesh) -> None:
    mesh.install("--virtual-interfaces", "eth0,vnet+")
    for v in (4, 6):
        who, passed = mesh.ask("client", FAR[v], 80, source=CLIENT[v])
        assert (who, passed) == (
            f"outside {POD_SIDE[v]}",
            [Passed("outbound", CLIENT[v], endpoint(FAR[v], 80))],
        )
        # Even what is for the pod, and the node's probes: the first rule takes everything.
        for source in (CLIENT[v], PROBE[v]):
            passed = [Passed("outbound", source, endpoint(POD[v], APP))]
            assert mesh.ask("client", POD[v], APP, source=source)[1] == passed


def test_whoever_has_the_mark_of_answers_leaves_the_mesh(mesh: Mesh) -> None:
    """A fault of Istio's that stays: without the routing rule's way it would go out as it is."""
    mesh.install()
    for v in (4, 6):
        mesh.pod.pod.run("ip", f"-{v}", "rule", "del", "pref", "32764")
        asked = mesh.ask("pod", FAR[v], 80, mark=ANSWER_MARK)
        assert asked == (f"outside {POD_SIDE[v]}", [])


def test_a_local_resolver_is_asked_directly(mesh: Mesh) -> None:
    """A fault of Istio's that stays: by UDP on lo, and by TCP at 127.0.0.1 or ::1."""
    mesh.install()
    resolvers = [Recorder(mesh.pod.pod, 53), Recorder(mesh.pod.pod, 53, protocol="udp")]
    try:
        for v in (4, 6):
            for protocol in ("udp", "tcp"):
                asked = mesh.ask("pod", LOCALHOST[v], 53, protocol=protocol)
                assert asked == (f"pod {LOCALHOST[v]}", [])
            assert mesh.ask("pod", POD[v], 53, protocol="udp") == (f"pod {POD[v]}", [])
            assert mesh.ask("pod", POD[v], 53)[0] == "ztunnel"
    finally:
        for one in resolvers:
            one.close()


def test_the_command_line_knows_it(mesh: Mesh) -> None:
    pod = mesh.pod.pod
    before = dump(pod)
    mesh.install()
    rules = pod.run("ip", "rule") + pod.run("ip", "-6", "rule")
    assert rules.count("32764:\tfrom all fwmark 0x111/0xfff lookup 100") == 2
    assert done_well("status", namespace=pod).stdout.startswith("in-sync: ambient")
    verified = done_well("verify", "--output", "json", namespace=pod)
    assert sorted(verified.json["proxy_ports"]) == [OUTBOUND, INBOUND, DNS]
    handed = [c for c in verified.json["connections"] if " from " in c["what"]]
    assert {c["family"] for c in handed if "0x539" in c["what"]} == {"ip", "ip6"}
    explained = done_well("explain", "inbound", "--to-port", "80", "--live", namespace=pod)
    assert "redirect to 15006" in explained.stdout
    assert "15006" in done_well("graph", "--live", namespace=pod).stdout
    mesh.install("--capture-dns", "off")
    found = interceptor("status", "--capture-dns", "all", namespace=pod)
    assert (found.code, "missing-" in found.stdout) == (3, True)
    done_well("uninstall", namespace=pod)
    assert by_chain(dump(pod)) == by_chain(before)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--mode", "tproxy"), "its proxy takes connections by redirect"),
        (("--capture-dns", "resolv-conf"), "it captures all DNS or none"),
        (("--exempt-mark", ""), "the proxy has no user, group, mark"),
        (("--proxy-uid", "1337"), "has no --proxy-uid: its proxy is known by its mark"),
        (("--exclude-inbound-ports", "9"), "has no --exclude-inbound-ports"),
        (("--backend", "ebpf"), "the eBPF backend has no --sheet ambient"),
    ],
)
def test_what_it_does_not_cover_is_refused(pod: Pod, flags: tuple[str, ...], says: str) -> None:
    pod.pod.resolv_conf("nameserver 10.0.0.53\n")
    before = dump(pod.pod)
    done = interceptor("install", "--sheet", "ambient", *flags, namespace=pod.pod)
    assert (done.code in (2, 4), says in done.stderr) == (True, True), done.stderr
    assert dump(pod.pod) == before
