"""Stand-ins for other meshes' tools as a whole: what their injectors write, in a pod."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.lab.ends import LOCALHOST, Sent, wrong_ends
from tests.lab.left import LEFT
from tests.lab.netns import namespaces
from tests.lab.paths import (
    IPTABLES_LEGACY,
    IPTABLES_NFT,
    NFTABLES,
    RULE_PATHS,
    Done,
    RulePath,
    done_well,
    dump,
    interceptor,
)
from tests.lab.pod import FAR, FAR_OTHER, POD, Pod, new_pod
from tests.lab.traffic import Recorder
from tests.netns.test_istio_command import NOBODY
from tests.netns.test_takeover import prepare

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.lab.netns import Namespace

pytestmark = pytest.mark.root

APP = 8080
CLOSE_WAIT = "netfilter/nf_conntrack_tcp_timeout_close_wait"


class Tool(NamedTuple):
    """A command, what its mesh's injector gives it, and what has to come of that."""

    command: str
    argv: tuple[str, ...]
    chains: str
    table: list[Sent]
    broken: tuple[str, ...]
    """Words that make a mistake of it."""
    flags: dict[RulePath, tuple[str, ...]]

    def run(self, namespace: Namespace, *more: str, **how: object) -> Done:
        """Run it within a namespace, as a container of the pod does."""
        with namespace:
            return interceptor(self.command, *self.argv, *more, **how)  # type: ignore[arg-type]


def _both(what: str, start: str, port: int, end: str, uid: int = 1000) -> Sent:
    return Sent(what, start, POD if start == "client" else FAR, port, end, uid=uid)


_OURS = {path: path.flags for path in RULE_PATHS}
_OF_CONSUL = {
    path: tuple(word.replace("--", "-", 1) for word in flags) for path, flags in _OURS.items()
}
TOOLS = {
    "linkerd": Tool(
        "linkerd-proxy-init",
        (
            *("--ipv6=true", "--incoming-proxy-port", "4143", "--outgoing-proxy-port", "4140"),
            *("--proxy-uid", "2102", "--proxy-gid", "2102"),
            *("--inbound-ports-to-ignore", "4190,4191,4567,4568"),
            *("--outbound-ports-to-ignore", "4567,4568"),
        ),
        "PROXY_INIT",
        [
            _both("inbound", "client", APP, "pod 4143"),
            _both("inbound to a reserved port", "client", 4191, "direct"),
            _both("outbound", "pod", 80, "pod 4140"),
            _both("outbound to an ignored port", "pod", 4567, "direct"),
            _both("outbound by the proxy", "pod", 80, "direct", uid=2102),
            Sent("localhost", "pod", LOCALHOST, APP, "direct"),
        ],
        ("--outbound-ports-to-ignore", "4567,x"),
        {
            IPTABLES_NFT: ("--iptables-mode", "nft"),
            IPTABLES_LEGACY: ("--iptables-mode", "legacy"),
            NFTABLES: ("--backend", "nftables"),
        },
    ),
    "kuma": Tool(
        "kuma-transparent-proxy",
        (
            *("--exclude-outbound-ports=4567", "--exclude-inbound-ports=4191"),
            *("--redirect-all-dns-traffic", "--verbose"),
        ),
        "KUMA_MESH",
        [
            _both("inbound", "client", APP, "pod 15006"),
            _both("inbound to an excluded port", "client", 4191, "direct"),
            _both("outbound", "pod", 80, "pod 15001"),
            _both("outbound to an excluded port", "pod", 4567, "direct"),
            _both("outbound by the proxy", "pod", 80, "direct", uid=5678),
            Sent("query", "pod", FAR, 53, "pod 15053", protocol="udp"),
            Sent("query by the proxy", "pod", FAR, 53, "direct", uid=5678, protocol="udp"),
            Sent("localhost", "pod", LOCALHOST, APP, "direct"),
        ],
        ("--exclude-outbound-ports=4567,x",),
        _OURS,
    ),
    "consul": Tool(
        "consul-redirect-traffic",
        (
            *("-proxy-uid", "5995", "-proxy-inbound-port", "20000", "-dual-stack"),
            *("-exclude-inbound-port=ssh", "-exclude-inbound-port=4190:4191"),
            *("-exclude-outbound-port=4567", "-exclude-uid=5996"),
        ),
        "CONSUL_PROXY",
        [
            _both("inbound", "client", APP, "pod 20000"),
            _both("inbound to a service", "client", 22, "direct"),
            _both("inbound within a range", "client", 4191, "direct"),
            _both("outbound", "pod", 80, "pod 15001"),
            _both("outbound to an excluded port", "pod", 4567, "direct"),
            _both("outbound by the proxy", "pod", 80, "direct", uid=5995),
            _both("outbound before there is a proxy", "pod", 80, "direct", uid=5996),
            Sent("localhost", "pod", LOCALHOST, APP, "direct"),
        ],
        ("-exclude-outbound-port=x y",),
        _OF_CONSUL,
    ),
}
_WAYS = [(name, path) for name, tool in TOOLS.items() for path in tool.flags]


@pytest.fixture(scope="module")
def world() -> Iterator[Pod]:
    """One pod for all tools, with everybody there they could send to."""
    with new_pod() as made:
        proxies = (4143, 4140, 15006, 15001, 20000)
        recorders = [
            Recorder(made.pod, 22, APP, 4190, 4191, 7000, *proxies),
            Recorder(made.pod, 15053, protocol="udp", on=LOCALHOST, uid=5678),
            Recorder(made.outside, 80, 443, 4567),
            Recorder(made.outside, 53, protocol="udp", on=FAR),
            Recorder(made.outside, 53, 8600, protocol="udp", on=FAR_OTHER),
        ]
        yield made
        for recorder in recorders:
            recorder.close()


@pytest.fixture
def clean(world: Pod) -> Iterator[Pod]:
    """That pod, with nothing installed before, and after."""
    yield world
    done_well("uninstall", namespace=world.pod)


@pytest.mark.parametrize(("name", "path"), _WAYS, ids=str)
def test_what_the_injector_writes_makes_the_mesh(clean: Pod, name: str, path: RulePath) -> None:
    tool, pod = TOOLS[name], clean.pod
    before = dump(pod)
    done = tool.run(pod, *tool.flags[path])
    assert done.code == 0, done
    assert f"{name} on {path}, IPv4 and IPv6" in done.stdout
    assert not [*wrong_ends(clean, tool.table)]
    held = dump(pod)
    # Where the tools themselves fail as the chains are there, or write all again.
    again = tool.run(pod, *tool.flags[path])
    assert again.stdout == f"already in place in this network namespace: {name} on {path}\n"
    assert dump(pod) == held
    status = done_well("status", namespace=pod)
    assert status.stdout.startswith(f"in-sync: {name} on {path}")
    done_well("uninstall", namespace=pod)
    assert dump(pod) == before


@pytest.mark.parametrize("name", TOOLS)
def test_a_mistake_is_two_lines_and_changes_nothing(clean: Pod, name: str) -> None:
    """Nothing is dropped from a list, and rules that are in force stay."""
    tool, pod = TOOLS[name], clean.pod
    assert tool.run(pod, *tool.flags[NFTABLES]).code == 0
    held = dump(pod)
    done = tool.run(pod, *tool.broken)
    assert (done.code, done.stdout) == (1, "")
    first, second = done.stderr.splitlines()
    assert first.startswith(f"error: {tool.broken[0].partition('=')[0]}: 'x")
    assert second.startswith("hint: ")
    assert dump(pod) == held
    done = tool.run(pod, "--no-such-flag")
    assert (done.code, done.stdout) == (1, "")
    assert "there is no flag" in done.stderr
    as_json = tool.run(pod, "--output", "json", *tool.broken)
    assert as_json.code == 1
    assert as_json.json["error"].startswith(tool.broken[0].partition("=")[0])
    assert dump(pod) == held


@pytest.mark.parametrize(
    ("mesh", "by"), [(mesh, by) for mesh, left in LEFT.items() for by in left.tools]
)
def test_what_the_tool_itself_left_is_taken_over(mesh: str, by: str) -> None:
    name = mesh.split(maxsplit=1)[0]
    tool = TOOLS.get(name, TOOLS["linkerd"])
    with namespaces("left") as (namespace,):
        before = prepare(namespace, by, foreign=True)
        LEFT[mesh].put(namespace, by)
        done = tool.run(namespace, *tool.flags[IPTABLES_NFT])
        assert done.code == 0, done
        taken = dump(namespace)
        assert tool.chains in taken
        assert "some reason" not in taken
        assert taken.count(f"-A PREROUTING -p tcp -j {tool.chains}") == 0
        assert done_well("status", namespace=namespace).stdout.startswith("in-sync")
        done_well("uninstall", namespace=namespace)
        assert dump(namespace) == before


@pytest.mark.parametrize("by", ["nft", "legacy"])
def test_where_an_init_container_died_half_way_the_next_one_goes_on(by: str) -> None:
    """Chains that are there already stop none of them."""
    with namespaces("half") as (namespace,):
        before = prepare(namespace, by, foreign=True)
        for name, tool in TOOLS.items():
            chain = {"linkerd": "_REDIRECT", "kuma": "_INBOUND", "consul": "_INBOUND"}[name]
            for family in ("iptables", "ip6tables"):
                namespace.run(f"{family}-{by}", "-t", "nat", "-N", f"{tool.chains}{chain}")
            done = tool.run(namespace, *tool.flags[IPTABLES_NFT])
            assert done.code == 0, done
            assert dump(namespace).count("decide about each") >= 2
        done_well("uninstall", namespace=namespace)
        assert dump(namespace) == before


@pytest.mark.parametrize("name", TOOLS)
def test_rules_are_printed_and_nothing_is_touched(clean: Pod, name: str) -> None:
    tool, pod = TOOLS[name], clean.pod
    before = dump(pod)
    flag = {"linkerd": "--simulate", "kuma": "--dry-run", "consul": "-dry-run"}[name]
    done = tool.run(pod, *tool.flags[IPTABLES_NFT], flag, prefix=NOBODY)
    assert done.code == 0, done
    assert dump(pod) == before
    ip, ip6 = done.stdout.removeprefix("# iptables-restore\n").split("# ip6tables-restore\n")
    with namespaces("loaded") as (namespace,):
        namespace.run("iptables-nft-restore", stdin=ip)
        namespace.run("ip6tables-nft-restore", stdin=ip6)
        assert tool.chains in dump(namespace)
    as_json = tool.run(pod, *tool.flags[NFTABLES], flag, "--output", "json", prefix=NOBODY)
    assert as_json.json["sheet"] == name
    assert tool.chains.lower() in as_json.json["texts"]["nft -f -"].lower().replace("-", "_")


@pytest.mark.parametrize("name", TOOLS)
def test_facts_are_told_as_json_and_a_namespace_may_be_named(clean: Pod, name: str) -> None:
    tool = TOOLS[name]
    argv = (tool.command, *tool.argv, *tool.flags[NFTABLES], "--output", "json")
    done = interceptor(*argv, "--netns", clean.pod.path)
    assert done.code == 0, done
    assert (done.json["sheet"], done.json["changed"]) == (name, True)
    assert done.json["families"] == ["ip", "ip6"]


def test_linkerd_logs_json(clean: Pod) -> None:
    done = TOOLS["linkerd"].run(clean.pod, "--log-format", "json", "--backend", "nftables")
    assert done.json["changed"] is True


def test_linkerds_ports_to_redirect_and_networks_to_ignore(clean: Pod) -> None:
    argv = ("-r", "8080,7000", "--subnets-to-ignore", "10.1.0.0/24", "--iptables-mode=nft")
    assert TOOLS["linkerd"].run(clean.pod, *argv).code == 0
    table = [
        Sent("from an ignored network", "client", {4: POD[4]}, APP, "direct"),
        Sent("of the other family", "client", {6: POD[6]}, APP, "pod 4143"),
        Sent("a port that is not listed", "client", POD, 22, "direct"),
    ]
    assert not [*wrong_ends(clean, table)]


def test_linkerds_close_wait_is_set_in_the_pod_alone(clean: Pod) -> None:
    def seconds() -> str:
        return clean.pod.run("cat", f"/proc/sys/net/{CLOSE_WAIT}").strip()

    before = seconds()
    here = clean.outside.run("cat", f"/proc/sys/net/{CLOSE_WAIT}")
    argv = ("--timeout-close-wait-secs", "3599", "--iptables-mode", "nft")
    done = interceptor(
        *(TOOLS["linkerd"].command, *TOOLS["linkerd"].argv, *argv), "--netns", clean.pod.path
    )
    assert done.code == 0, done
    assert seconds() == "3599"
    assert clean.outside.run("cat", f"/proc/sys/net/{CLOSE_WAIT}") == here
    # What fails is undone with all that was done before.
    late = ("--timeout-close-wait-secs", before, "-p", "4144", "--timeout", "0.000001")
    done = TOOLS["linkerd"].run(clean.pod, "--iptables-mode", "nft", *late)
    assert done.code == 1
    assert seconds() == "3599"


def test_linkerds_close_wait_is_refused_where_it_cannot_be_set(clean: Pod) -> None:
    before = dump(clean.pod)
    read_only = (
        "unshare",
        "-m",
        "sh",
        "-c",
        'mount -o bind,ro /proc/sys /proc/sys; exec "$@"',
        "-",
    )
    argv = ("--timeout-close-wait-secs", "3598", "--iptables-mode", "nft")
    done = TOOLS["linkerd"].run(clean.pod, *argv, prefix=read_only)
    assert done.code == 1
    assert "timeout_close_wait cannot be set to 3598: Read-only file system" in done.stderr
    assert dump(clean.pod) == before


def test_who_goes_before_whom_for_kuma(clean: Pod, tmp_path: Path) -> None:
    """Where connections end says which of the three was listened to."""
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text(
        "redirect:\n  inbound: {port: 7000, excludePorts: [22, 4190]}\n  outbound: {port: 1}\n"
    )
    second.write_text("redirect:\n  inbound: {excludePorts: [4191]}\n  outbound: {port: 2}\n")
    tool = TOOLS["kuma"]
    environment = {"KUMA_TRANSPARENT_PROXY_REDIRECT_OUTBOUND_PORT": "3"}
    argv = ("--config", f"{first},{second}", "--config", "-", "--redirect-outbound-port", "15001")
    with clean.pod:
        done = interceptor(
            *(tool.command, *argv, *tool.flags[IPTABLES_NFT]),
            environment=environment,
            stdin='{"dropInvalidPackets": true}',
        )
    assert done.code == 0, done
    table = [
        _both("a table of the first file is kept", "client", APP, "pod 7000"),
        _both("its list is replaced", "client", 22, "pod 7000"),
        _both("by the second one's", "client", 4191, "direct"),
        _both("a flag goes before all", "pod", 80, "pod 15001"),
    ]
    assert not [*wrong_ends(clean, table)]
    assert "drop_invalid = true" in done.stdout


def test_kumas_options(clean: Pod) -> None:
    tool = TOOLS["kuma"]
    argv = (
        *("--exclude-outbound-ports-for-uids", "tcp:443:1000"),
        *("--exclude-outbound-ips", f"{FAR_OTHER[4]},{FAR_OTHER[6]}"),
        *("--exclude-outbound-ports-for-uids", "1001"),
    )
    done = tool.run(clean.pod, *tool.flags[IPTABLES_NFT], *argv)
    assert done.code == 0, done
    table = [
        _both("a port that one user reaches", "pod", 443, "direct"),
        _both("and no other", "pod", 443, "pod 15001", uid=1002),
        _both("another port of his", "pod", 80, "pod 15001"),
        _both("a user who reaches all", "pod", 80, "direct", uid=1001),
        Sent("an excluded address", "pod", FAR_OTHER, 80, "direct"),
    ]
    assert not [*wrong_ends(clean, table)]


def test_consuls_dns_goes_to_its_address_and_port(clean: Pod) -> None:
    with clean.pod:
        done = interceptor(
            *("consul-redirect-traffic", "-proxy-uid=5995", "-proxy-inbound-port=20000"),
            *("-consul-dns-ip", FAR_OTHER[4], "-consul-dns-port", "8600", "-http-addr", "x:1"),
        )
    assert done.code == 0, done
    assert done.stderr == "note: -http-addr has no effect: Consul's API server is not asked\n"
    table = [
        Sent("to Consul", "pod", {4: FAR_OTHER[4]}, 53, "outside 8600", protocol="udp"),
        Sent("elsewhere", "pod", {4: FAR[4]}, 53, "direct", protocol="udp"),
        Sent("IPv6 is left alone", "client", {6: POD[6]}, APP, "direct"),
    ]
    assert not [*wrong_ends(clean, table)]


@pytest.mark.parametrize("name", TOOLS)
def test_help_says_all(name: str) -> None:
    tool = TOOLS[name]
    done = interceptor(tool.command, *tool.argv, "--help")
    assert done.code == 0
    assert done.stdout.startswith(f"Usage: interceptor {tool.command} [FLAGS]\n")
    for word in tool.argv:
        if word.startswith("-"):
            assert word.partition("=")[0] in done.stdout
    assert all(len(line) <= 99 or "env:" in line for line in done.stdout.splitlines())
