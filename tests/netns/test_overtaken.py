"""Chains of others that have a packet before ours: shown by a real connection, named by status."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.lab.host import TOOLS, Host
from tests.lab.paths import (
    IPTABLES_LEGACY,
    IPTABLES_NFT,
    NFTABLES,
    RulePath,
    done_well,
    interceptor,
)
from tests.lab.pod import FAR, OUTSIDE, POD, PROXY_UID, Pod
from tests.lab.traffic import Recorder, connect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.root

_APP, _IN, _OUT = 8080, 15006, 15001
_LOCALHOST = {4: "127.0.0.1", 6: "::1"}


class Foreign(NamedTuple):
    """A chain of somebody else's, and what status has to say: a kind, or that nothing is."""

    chain: str
    kind: str = ""
    sets: str = ""

    @property
    def script(self) -> str:
        return f"table inet others {{\n{self.sets}\nchain c {{\n{self.chain}\n}}\n}}\n"


_NAT = "type nat hook prerouting priority {}; policy accept;"
_OUTPUT = "type nat hook output priority {}; policy accept;"
_FILTER = "type filter hook prerouting priority {}; policy accept;"

TAKES = {
    "redirects one port": Foreign(
        f"{_NAT.format(-150)} tcp dport {_APP} redirect to :9090", "foreign-before"
    ),
    "redirects all": Foreign(
        f"{_NAT.format(-150)} meta l4proto tcp redirect to :9090", "shadowed"
    ),
    "translates": Foreign(
        f"{_NAT.format(-101)} tcp dport {_APP} dnat ip to {POD[4]}:9090", "foreign-before"
    ),
    "drops one port": Foreign(f"{_FILTER.format(-160)} tcp dport {_APP} drop", "foreign-before"),
    "drops by policy": Foreign(
        "type filter hook prerouting priority -300; policy drop;", "shadowed"
    ),
    "drops by policy but for one port": Foreign(
        "type filter hook prerouting priority -300; policy drop; tcp dport 443 accept",
        "foreign-before",
    ),
    "takes out of conntrack": Foreign(
        f"{_FILTER.format(-300)} tcp dport {_APP} notrack", "foreign-before"
    ),
    "takes all out of conntrack": Foreign(f"{_FILTER.format(-300)} notrack", "shadowed"),
    "drops what conntrack has not seen yet": Foreign(
        f"{_FILTER.format(-300)} ct state invalid drop", "shadowed"
    ),
    "drops what is new": Foreign(f"{_FILTER.format(-140)} ct state new drop", "shadowed"),
    "redirects several protocols": Foreign(
        f"{_NAT.format(-150)} meta l4proto {{ tcp, udp }} redirect to :9090", "shadowed"
    ),
    "looks ports up": Foreign(
        f"{_NAT.format(-150)} dnat ip to tcp dport map {{ {_APP} : 10.1.0.9 }}", "foreign-before"
    ),
    "has a map of verdicts": Foreign(
        f"{_FILTER.format(-150)} tcp dport vmap {{ {_APP} : drop, 81 : accept }}",
        "foreign-before",
    ),
    "redirects all at equal priority": Foreign(
        f"{_NAT.format(-100)} meta l4proto tcp redirect to :9090", "shadowed"
    ),
}
LEAVES = {
    "accepts in nat": Foreign(f"{_NAT.format(-150)} tcp dport {_APP} accept"),
    "counts and logs": Foreign(f'{_FILTER.format(-300)} counter log prefix "x" meta mark set 5'),
    "other protocol": Foreign(f"{_NAT.format(-150)} udp dport {_APP} redirect to :9090"),
    "later": Foreign(f"{_NAT.format(-90)} tcp dport {_APP} redirect to :9090"),
    "another hook": Foreign(
        f"type filter hook input priority -300; policy accept; tcp dport {_APP} accept"
    ),
    "postrouting": Foreign("type nat hook postrouting priority 100; masquerade"),
    "calls what returns": Foreign(f"{_OUTPUT.format(-150)} tcp dport 80 return"),
    "accepts before it drops": Foreign(
        "type filter hook prerouting priority -300; policy drop; meta l4proto != udp accept"
    ),
    "other protocols": Foreign(f"{_FILTER.format(-300)} meta l4proto {{ udp, igmp }} drop"),
    "a header of another protocol": Foreign(
        f"{_FILTER.format(-300)} icmp type echo-request limit rate over 1/second drop"
    ),
    "what belongs to no connection": Foreign(
        f"{_FILTER.format(-150)} ct state vmap {{ established : accept, invalid : drop }}"
    ),
    "too late for conntrack": Foreign(f"{_FILTER.format(-190)} notrack"),
    "a set with nothing in it": Foreign(
        f"{_FILTER.format(-300)} ip saddr @blocked drop", sets="set blocked { type ipv4_addr; }"
    ),
}


@pytest.fixture
def world(pod: Pod) -> Iterator[Pod]:
    recorders = [Recorder(pod.pod, _IN, _OUT, 9090, _APP), Recorder(pod.outside, 80)]
    yield pod
    for one in recorders:
        one.close()


def captured(pod: Pod) -> bool:
    """Whether an inbound and an outbound connection both reach the proxy."""
    inbound = connect(pod.client, POD[4], _APP, timeout_s=0.5)
    outbound = connect(pod.pod, FAR[4], 80, timeout_s=0.5)
    return (inbound.get("port"), outbound.get("port")) == (_IN, _OUT)


@pytest.mark.parametrize("name", TAKES)
def test_what_takes_a_packet_is_named(world: Pod, rule_path: RulePath, name: str) -> None:
    foreign = TAKES[name]
    done_well("install", *rule_path.flags, namespace=world.pod)
    assert captured(world)
    world.pod.run("nft", "-f", "-", stdin=foreign.script)
    assert not captured(world)
    done = interceptor("status", "--output", "json", namespace=world.pod)
    assert done.code == 3
    assert [(f["kind"], f["where"][:19]) for f in done.json["findings"]] == [
        (foreign.kind, "inet others c rule ")
    ]


@pytest.mark.parametrize("name", LEAVES)
def test_what_leaves_packets_alone_is_not(world: Pod, rule_path: RulePath, name: str) -> None:
    done_well("install", *rule_path.flags, namespace=world.pod)
    world.pod.run("nft", "-f", "-", stdin=LEAVES[name].script)
    assert captured(world)
    assert done_well("status", namespace=world.pod).stdout.startswith("in-sync")


def test_one_of_equal_priority_may_be_first(world: Pod, rule_path: RulePath) -> None:
    """Which one is, hangs on who came last, and that nobody can look up afterwards."""
    chain = f"{_NAT.format(-100)} tcp dport {_APP} redirect to :9090"
    redirects = f"inet others c rule 1: tcp dport {_APP} counter redirect to :9090"
    world.pod.run("nft", "-f", "-", stdin=Foreign(chain).script)
    done = done_well("install", *rule_path.flags, namespace=world.pod)
    assert f"warning: not ours, and decides before ours: {redirects}" in done.stderr
    assert captured(world)
    found = done_well("status", namespace=world.pod).stdout
    assert f"since before install: foreign-before {redirects}" in found
    world.pod.run("nft", "delete", "table", "inet", "others")
    done_well("install", *rule_path.flags, namespace=world.pod)
    world.pod.run("nft", "-f", "-", stdin=Foreign(chain).script)
    assert not captured(world)
    drifted = interceptor("status", namespace=world.pod)
    assert (drifted.code, f"foreign-before {redirects}" in drifted.stdout) == (3, True)


def test_iptables_in_front_of_nftables_is_named(world: Pod) -> None:
    rule = (
        "PREROUTING",
        "-p",
        "tcp",
        "--dport",
        str(_APP),
        "-j",
        "REDIRECT",
        "--to-ports",
        "9090",
    )
    for tool in ("iptables-nft", "iptables-legacy"):
        world.pod.run(tool, "-t", "nat", "-A", *rule)
        done_well("install", *NFTABLES.flags, namespace=world.pod)
        done = done_well("status", "--output", "json", namespace=world.pod)
        assert [n["where"] for n in done.json["noted"]] == ["ip nat PREROUTING rule 1"]
        done_well("uninstall", namespace=world.pod)
        world.pod.run(tool, "-t", "nat", "-D", *rule)


def test_without_nft_what_cannot_be_looked_into_is_said(pod: Pod, tmp_path: Path) -> None:
    done_well("install", *IPTABLES_NFT.flags, namespace=pod.pod)
    pod.pod.run("nft", "-f", "-", stdin=TAKES["redirects all"].script)
    host = Host(tmp_path, [tool for tool in TOOLS if tool != "nft"])
    done = host.interceptor("status", "--netns", pod.pod.path)
    assert "not looked at: others' tables (inet others): there is no nft" in done.stderr


@pytest.mark.parametrize("tool", ["iptables-nft", "iptables-legacy"])
@pytest.mark.parametrize("family", [4, 6])
def test_another_iptables_that_came_later_is_named(
    world: Pod, rule_path: RulePath, tool: str, family: int
) -> None:
    """Whether ours are in the same iptables or beside it: its raw table comes first."""
    done_well("install", *rule_path.flags, namespace=world.pod)
    tool = tool if family == 4 else tool.replace("iptables", "ip6tables")
    world.pod.run(tool, "-t", "raw", "-A", "PREROUTING", "-p", "tcp", "-j", "CT", "--notrack")
    answer = connect(world.client, POD[family], _APP, timeout_s=0.5)
    assert answer.get("port") != _IN
    done = interceptor("status", "--output", "json", namespace=world.pod)
    assert done.code == 3
    [found] = done.json["findings"]
    of = "ip" if family == 4 else "ip6"
    assert (found["kind"], found["where"]) == ("shadowed", f"{of} raw PREROUTING rule 1")
    assert found["what"] == "-p tcp -j CT --notrack"


@pytest.mark.parametrize("path", [IPTABLES_NFT, IPTABLES_LEGACY], ids=str)
def test_the_other_iptables_has_a_chain_of_the_same_name(world: Pod, path: RulePath) -> None:
    done_well("install", *path.flags, namespace=world.pod)
    other = IPTABLES_LEGACY if path is IPTABLES_NFT else IPTABLES_NFT
    to_app = ("-p", "tcp", "-j", "REDIRECT", "--to-ports", "9090")
    world.pod.run(other.name, "-t", "nat", "-A", "PREROUTING", *to_app)
    assert not captured(world)
    done = interceptor("status", "--output", "json", namespace=world.pod)
    assert [(f["kind"], f["where"]) for f in done.json["findings"]] == [
        ("shadowed", "ip nat PREROUTING rule 1")
    ]


def test_nfts_own_table_may_be_called_as_iptables_is(world: Pod) -> None:
    """iptables does not print it, so nft does."""
    done_well("install", *NFTABLES.flags, namespace=world.pod)
    to = f"tcp dport {_APP} counter dnat to {POD[4]}:9090"
    chain = f"chain pre {{ {_NAT.format(-101)} {to}; }}"
    world.pod.run("nft", "-f", "-", stdin=f"table ip nat {{ {chain}; }}\n")
    assert not captured(world)
    done = interceptor("status", "--output", "json", namespace=world.pod)
    assert done.code == 3
    assert [(f["kind"], f["where"]) for f in done.json["findings"]] == [
        ("foreign-before", "ip nat pre rule 1")
    ]


def test_what_it_has_counted_since_does_not_make_it_another(
    world: Pod, rule_path: RulePath
) -> None:
    to = f"tcp dport {_APP} counter dnat ip to {POD[4]}:9090"
    world.pod.run("nft", "-f", "-", stdin=Foreign(f"{_NAT.format(-150)} {to}").script)
    done_well("install", *rule_path.flags, namespace=world.pod)
    assert not captured(world)
    assert "counter packets 1" in world.pod.run("nft", "list", "table", "inet", "others")
    done = done_well("status", "--output", "json", namespace=world.pod)
    assert [(n["kind"], n["where"]) for n in done.json["noted"]] == [
        ("foreign-before", "inet others c rule 1")
    ]


def test_installing_does_not_bless_what_takes_everything(world: Pod, rule_path: RulePath) -> None:
    world.pod.run("nft", "-f", "-", stdin=TAKES["drops by policy"].script)
    done = done_well("install", *rule_path.flags, namespace=world.pod)
    said = "leaves nothing for ours to decide: inet others c rule 0: policy drop"
    assert said in done.stderr
    assert not captured(world)
    found = interceptor("status", "--output", "json", namespace=world.pod)
    assert (found.code, found.json["state"]) == (3, "drifted")
    assert [f["kind"] for f in found.json["findings"]] == ["shadowed"]
    assert not found.json["noted"]


@pytest.mark.parametrize("path", [NFTABLES, IPTABLES_NFT], ids=str)
def test_a_hand_over_comes_before_any_translation(world: Pod, path: RulePath) -> None:
    """Chains of type nat run where translation is done, whatever they say."""
    done_well("install", *path.flags, "--mode", "tproxy", namespace=world.pod)
    nat = f"{_NAT.format(-190)} tcp dport {_APP} redirect to :9090"
    world.pod.run("nft", "-f", "-", stdin=Foreign(nat).script)
    assert captured(world)
    assert done_well("status", namespace=world.pod).stdout.startswith("in-sync")
    world.pod.run("nft", "delete", "table", "inet", "others")
    handing = f"{_FILTER.format(-160)} tcp dport {_APP} drop"
    world.pod.run("nft", "-f", "-", stdin=Foreign(handing).script)
    assert not captured(world)
    found = interceptor("status", "--output", "json", namespace=world.pod)
    assert [f["kind"] for f in found.json["findings"]] == ["foreign-before"]


@pytest.mark.parametrize(
    ("flags", "named"), [((), False), (("--capture-dns", "all"), True)], ids=["tcp", "dns"]
)
def test_dns_counts_if_it_is_captured(
    pod: Pod, rule_path: RulePath, flags: tuple[str, ...], named: bool
) -> None:
    recorders = [
        # An answer must come from where it was asked.
        Recorder(pod.pod, 15053, protocol="udp", on=_LOCALHOST, uid=PROXY_UID),
        Recorder(pod.pod, 9090, protocol="udp", on=_LOCALHOST),
        Recorder(pod.outside, 53, protocol="udp"),
    ]
    try:
        done_well("install", *rule_path.flags, *flags, namespace=pod.pod)
        meant = 15053 if named else 53
        assert connect(pod.pod, OUTSIDE[4], 53, protocol="udp").get("port") == meant
        chain = f"{_OUTPUT.format(-150)} udp dport 53 redirect to :9090"
        pod.pod.run("nft", "-f", "-", stdin=Foreign(chain).script)
        assert connect(pod.pod, OUTSIDE[4], 53, protocol="udp").get("port") != meant
    finally:
        for one in recorders:
            one.close()
    found = interceptor("status", "--output", "json", namespace=pod.pod)
    assert [f["kind"] for f in found.json["findings"]] == (["foreign-before"] if named else [])


def test_a_table_that_is_switched_off_takes_nothing(world: Pod, rule_path: RulePath) -> None:
    done_well("install", *rule_path.flags, namespace=world.pod)
    world.pod.run("nft", "-f", "-", stdin=TAKES["redirects all"].script)
    world.pod.run("nft", "-f", "-", stdin="add table inet others { flags dormant; }\n")
    assert captured(world)
    done = done_well("status", namespace=world.pod)
    assert done.stdout.startswith("in-sync")
    assert not done.stderr


def test_what_nft_cannot_print_is_said(pod: Pod, rule_path: RulePath, tmp_path: Path) -> None:
    """nft 1.0.6 breaks off at tables with some flags; the others are then read one by one."""
    done_well("install", *rule_path.flags, namespace=pod.pod)
    pod.pod.run("nft", "-f", "-", stdin=TAKES["redirects all"].script)
    host = Host(tmp_path, TOOLS)
    host.replace("nft", 'case "$*" in *ruleset | *others) echo "{" ;; *) exec $real "$@" ;; esac')
    done = host.interceptor("status", "--netns", pod.pod.path)
    assert (done.code, done.stdout.partition(":")[0]) == (0, "in-sync")
    assert "not looked at: table inet others: nft cannot print it" in done.stderr


def test_one_look_is_enough(pod: Pod, rule_path: RulePath, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    host = Host(tmp_path, TOOLS)
    host.replace("nft", f'echo "$@" >> {log}\nexec $real "$@"')
    host.interceptor("install", *rule_path.flags, "--netns", pod.pod.path)
    is_ours = rule_path is NFTABLES
    # The rules themselves; netlink tells that nobody has others.
    assert log.read_text().splitlines() == (["-f -"] if is_ours else [])
    pod.pod.run("nft", "-f", "-", stdin=LEAVES["later"].script)
    for command in (("status",), ("install", *rule_path.flags)):
        log.write_text("")
        assert host.interceptor(*command, "--netns", pod.pod.path).code == 0
        assert log.read_text().splitlines() == ["-j list ruleset"]
