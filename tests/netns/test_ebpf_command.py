"""The eBPF backend on the command line: what people and programs read of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab.ebpf_node import EbpfNode, ebpf_node
from tests.lab.netns import namespaces
from tests.lab.paths import dump
from tests.lab.pod import FAR, POD, PROXY_UID, Pod
from tests.lab.traffic import connect, recorder

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

_EBPF = ("--backend", "ebpf")


@pytest.fixture
def node() -> Iterator[EbpfNode]:
    with ebpf_node() as made:
        yield made


def test_a_person_reads_of_programs_and_addresses(node: EbpfNode) -> None:
    with namespaces("pod") as (pod,):
        pod.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "far")
        pod.sysctl("ipv6/conf/eth0/addr_gen_mode", "1")
        pod.run("ip", "link", "set", "eth0", "up")
        pod.address("eth0", "10.9.0.1/24", "10.9.0.2/24", "fd09::1/64")
        before = dump(pod)
        first = node.done_well("install", *_EBPF, "--exclude-outbound-ports", "81", namespace=pod)
        assert first.stdout == (
            f"installed in {pod.path}: sidecar on ebpf, IPv4 and IPv6, 11 programs, "
            "3 own addresses\n"
            "  inbound   to port 15006\n"
            "  outbound  to port 15001\n"
            "  exempt    the proxy, uid 1337 or gid 1337\n"
            "  with      exclude_outbound_ports = 81\n"
        )
        # Without a word it stays where it is.
        again = node.done_well("install", "--exclude-outbound-ports", "81", namespace=pod)
        assert again.stdout == f"already in place in {pod.path}: sidecar on ebpf\n"
        assert node.done_well("status", namespace=pod).stdout == (
            f"in-sync: sidecar on ebpf in {pod.path}, 11 programs, 3 own addresses, "
            "compared with the record of the installation\n"
        )
        assert not pod.run("nft", "list", "ruleset")
        gone = node.done_well("uninstall", namespace=pod)
        assert gone.stdout == f"removed from {pod.path}: ebpf\n"
        again = node.done_well("uninstall", namespace=pod)
        assert again.stdout == f"nothing of ours in {pod.path}\n"
        status = node.call("status", namespace=pod)
        assert (status.code, status.stdout) == (3, f"absent: nothing of ours in {pod.path}\n")
        assert dump(pod) == before
    assert (node.pins.exists(), node.records) == (False, [])


def test_a_program_reads_the_same(pod: Pod, node: EbpfNode) -> None:
    flags = ("--output", "json")
    first = node.done_well("install", *_EBPF, *flags, namespace=pod.pod).json
    assert (first["changed"], first["backend"], first["chains"], first["rules"]) == (
        *(True, "ebpf"),
        *(0, 0),
    )
    assert first["sockets"]["programs"] == 11
    assert first["steps"]
    again = node.done_well("install", *flags, namespace=pod.pod).json
    assert (again["changed"], again["steps"], again["backend"]) == (False, [], "ebpf")
    status = node.done_well("status", *flags, namespace=pod.pod).json
    assert (status["state"], status["backend"], status["decisions"]) == ("in-sync", "ebpf", {})
    assert status["sockets"] == first["sockets"]
    assert status["families"] == ["ip", "ip6"]
    gone = node.done_well("uninstall", *flags, namespace=pod.pod).json
    assert (gone["changed"], gone["removed_from"]) == (True, ["ebpf"])
    absent = node.call("status", *flags, namespace=pod.pod)
    assert (absent.code, absent.json["state"], absent.json["decisions"]) == (3, "absent", None)


def test_other_backends_have_nothing_at_sockets(pod: Pod, node: EbpfNode) -> None:
    flags = ("--output", "json")
    first = node.done_well("install", "--backend", "nftables", *flags, namespace=pod.pod).json
    status = node.done_well("status", *flags, namespace=pod.pod).json
    assert (first["sockets"], status["sockets"], status["decisions"]) == (None, None, None)
    assert node.done_well("status", namespace=pod.pod).stdout.count("\n") == 1


def test_status_counts_what_decided(pod: Pod, node: EbpfNode) -> None:
    node.done_well("install", *_EBPF, "--exclude-outbound-ports", "81", namespace=pod.pod)
    with recorder(pod.pod, 15001, 15006, 22), recorder(pod.outside, 80, 81):
        for number in (4, 6):
            assert connect(pod.pod, FAR[number], 80)["port"] == 15001
            assert connect(pod.client, POD[number], 8080)["port"] == 15006
        assert connect(pod.pod, FAR[4], 80)["port"] == 15001
        assert connect(pod.pod, FAR[4], 81)["who"] == "outside"
        assert connect(pod.pod, FAR[4], 80, uid=PROXY_UID)["who"] == "outside"
        assert connect(pod.client, POD[4], 22)["port"] == 22
    found = node.done_well("status", "--output", "json", namespace=pod.pod).json["decisions"]
    assert found == {
        "network": 3,
        "inbound": 2,
        "excluded-port": 1,
        "kept-port": 1,
        "proxy-user": 1,
    }
    lines = node.done_well("status", namespace=pod.pod).stdout.splitlines()
    assert lines[1:] == [
        "  decided  3 network",
        "  decided  2 inbound",
        "  decided  1 excluded-port",
        "  decided  1 kept-port",
        "  decided  1 proxy-user",
    ]
    # Another policy goes on counting; who is enrolled anew begins with nothing.
    node.done_well("install", namespace=pod.pod)
    kept = node.done_well("status", "--output", "json", namespace=pod.pod).json["decisions"]
    assert kept == found
    node.done_well("uninstall", namespace=pod.pod)
    node.done_well("install", *_EBPF, namespace=pod.pod)
    assert node.done_well("status", namespace=pod.pod).stdout.count("\n") == 1


def test_each_pod_has_its_own_counts(pod: Pod, node: EbpfNode) -> None:
    with namespaces("other") as (other,):
        for one in (pod.pod, other):
            node.done_well("install", *_EBPF, namespace=one)
        with recorder(pod.pod, 15006):
            connect(pod.client, POD[4], 8080)
        status = node.done_well("status", "--output", "json", namespace=other).json
        assert status["decisions"] == {}
        status = node.done_well("status", "--output", "json", namespace=pod.pod).json
        assert status["decisions"] == {"inbound": 1}


def test_dry_run_shows_it_and_changes_nothing(pod: Pod, node: EbpfNode) -> None:
    before = dump(pod.pod)
    planned = node.done_well("install", *_EBPF, "--dry-run", namespace=pod.pod)
    assert "# enforce at this pod's sockets, by programs of libbpf:" in planned.stdout
    assert "#   inbound_port = 15006" in planned.stdout
    assert "address add ::6/128" in planned.stdout
    assert (dump(pod.pod), node.pins.exists(), node.records) == (before, False, [])
    node.done_well("install", *_EBPF, namespace=pod.pod)
    same = node.done_well("install", "--dry-run", namespace=pod.pod)
    assert same.stdout == "# nothing to do: already in place\n"
    node.done_well("install", "--dry-run", "--inbound-port", "16006", namespace=pod.pod)
    assert node.done_well("status", namespace=pod.pod).stdout.startswith("in-sync")
    moved = node.done_well("install", "--dry-run", "--backend", "nftables", namespace=pod.pod)
    assert "# remove what is there in ebpf" in moved.stdout
    assert len(node.pods) == 1


def test_the_policy_is_told_and_proven_as_rules(pod: Pod, node: EbpfNode) -> None:
    to = ("outbound", "--to", f"{FAR[4]}:80", "--uid", "1000")
    told = node.done_well("explain", *to, *_EBPF, namespace=pod.pod).stdout
    assert told.startswith("IPv4, sheet sidecar, enforced at sockets, told as nftables\n")
    assert "app -> proxy:15001: redirect to 15001 (destinations that are captured)" in told
    assert node.call("prove", *_EBPF, namespace=pod.pod).code == 0
    drawn = node.done_well("graph", *_EBPF, namespace=pod.pod).stdout
    assert "enforced at sockets" in drawn
    same = node.done_well("diff", "config", "sheet:sidecar", *_EBPF, namespace=pod.pod)
    assert same.code == 0
    # Programs that nobody loaded.
    assert not node.pins.exists()


def test_check_tries_it_where_it_is_asked_for(pod: Pod, node: EbpfNode) -> None:
    node.done_well("install", *_EBPF, namespace=pod.pod)
    loaded = sorted(path.name for path in node.pins.parent.iterdir())
    done = node.done_well("check", *_EBPF, "--output", "json", namespace=pod.pod).json
    (tried,) = [f for f in done["features"] if f["category"] == "ebpf"]
    assert (done["backend"], tried["answer"]) == ("ebpf", "yes")
    assert sorted(path.name for path in node.pins.parent.iterdir()) == loaded
    assert node.done_well("status", namespace=pod.pod).stdout.startswith("in-sync")
    node.done_well("uninstall", namespace=pod.pod)
    done = node.done_well("check", "--output", "json", namespace=pod.pod).json
    assert done["backend"] == "nftables"
    assert not [f for f in done["features"] if f["category"] == "ebpf"]
    assert not node.pins.exists()
