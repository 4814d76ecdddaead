"""verify says the truth about good rules, broken rules, no rules, and with a proxy running."""

from __future__ import annotations

import socket
import sys
from ipaddress import IPv4Address

import pytest

from interceptor.analysis.packet import Direct, Packet, Redirected
from interceptor.model import Ruleset
from interceptor.names import Family
from interceptor.verify.echo import End
from interceptor.verify.judge import judge_taken
from interceptor.verify.named import Identity, Named
from interceptor.verify.probe import Probe, Way
from interceptor.verify.prober import Prober
from interceptor.verify.sockets import endpoint, other_ends
from interceptor.verify.stand_ins import stand_ins
from tests.lab.paths import NFTABLES, PROGRAM, RulePath, done_well, interceptor
from tests.lab.pod import POD, Pod
from tests.lab.traffic import recorder

pytestmark = pytest.mark.root

_RICH = (
    *("--exclude-outbound-cidrs", "192.0.2.0/24,10.99.0.0/16", "--exclude-interfaces", "eth9"),
    *("--proxy-uid", "1337,4000-4005", "--exempt-mark", "0x539", "--exclude-outbound-uids", "77"),
    *("--exclude-inbound-ports", "9000-9010", "--exclude-outbound-ports", "3306"),
)


def test_all_is_well(pod: Pod, rule_path: RulePath) -> None:
    done_well("install", *rule_path.flags, *_RICH, namespace=pod.pod)
    links = pod.pod.run("ip", "-br", "link")
    done = done_well("verify", "--output", "json", namespace=pod.pod)
    assert done.json["ok"]
    too_small = "IPv4 networks too small to borrow an address from: 192.0.2.0/24"
    assert done.json["not_tried"] == [too_small]
    assert done.json["remarks"] == []
    assert done.json["proxy_ports"] == []
    assert pod.pod.run("ip", "-br", "link") == links
    what = [c["what"] for c in done.json["connections"]]
    for probe in ("uid 1337", "uid 4000", "gid 1337", "mark 0x539", "uid 77", ":9000", ":3306"):
        assert any(probe in connection for connection in what), probe
    ways = {(c["way"], c["family"]) for c in done.json["connections"]}
    assert len(ways) == 6, "each way in each family"
    recovered = [c for c in done.json["connections"] if c["note"]]
    assert all(c["note"] == "original destination recovered" for c in recovered)
    assert len(recovered) >= 8


@pytest.mark.parametrize(
    ("chain", "expected"),
    [
        ("nat-prerouting", "inbound"),
        ("nat-output", "outbound"),
        ("interceptor-proxy", "local"),
    ],
)
def test_a_broken_chain_is_seen_in_the_traffic(pod: Pod, chain: str, expected: str) -> None:
    done_well("install", *NFTABLES.flags, namespace=pod.pod)
    pod.pod.run("nft", "flush", "chain", "inet", "interceptor", chain)
    done = interceptor("verify", "--output", "json", namespace=pod.pod)
    assert done.code == 126
    assert expected in {c["way"] for c in done.json["connections"] if not c["ok"]}


def test_a_rule_somebody_added_is_tried_too(pod: Pod, rule_path: RulePath) -> None:
    """What it names is no business of the policy, and still is where traffic goes astray."""
    done_well("install", *rule_path.flags, namespace=pod.pod)
    if rule_path is NFTABLES:
        stdin = "insert rule inet interceptor nat-output tcp dport 4711 accept\n"
        pod.pod.run("nft", "-f", "-", stdin=stdin)
    else:
        rule = ("-I", "OUTPUT", "-p", "tcp", "--dport", "4711", "-j", "ACCEPT")
        pod.pod.run(rule_path.name, "-t", "nat", *rule)
    done = interceptor("verify", "--output", "json", namespace=pod.pod)
    assert done.code == 126
    assert all(":4711" in c["what"] for c in done.json["connections"] if not c["ok"])


def test_few_ports_are_enough(pod: Pod) -> None:
    """Clients share source ports then, and translation has to change some of them."""
    pod.pod.sysctl("ipv4/ip_local_port_range", "40000 40010")
    done_well("install", namespace=pod.pod)
    for _ in range(3):
        done_well("verify", namespace=pod.pod)


def test_a_loop_is_seen(pod: Pod) -> None:
    """The proxy's own connections come back to it when its user is not exempt."""
    done_well("install", *NFTABLES.flags, "--proxy-uid", "4711", namespace=pod.pod)
    done = interceptor("verify", "--proxy-uid", "1337", "--output", "json", namespace=pod.pod)
    assert done.code == 126
    failed = {c["what"].partition(" -> ")[0] for c in done.json["connections"] if not c["ok"]}
    assert "tcp uid 1337" in failed


def test_without_rules_it_fails_and_says_so(pod: Pod) -> None:
    done = interceptor("verify", namespace=pod.pod)
    assert done.code == 126
    assert "✗" in done.stdout
    assert "went another way" in done.stderr


def test_a_proxy_in_the_way_is_recognised(pod: Pod, any_path: RulePath) -> None:
    """It holds its ports; who took a connection is read from the kernel."""
    done_well("install", *any_path.flags, namespace=pod.pod)
    with recorder(pod.pod, 15001, 15006):
        done = done_well("verify", "--output", "json", namespace=pod.pod)
    assert done.json["proxy_ports"] == [15006, 15001]


def test_what_a_proxy_made_for_an_earlier_connection_took_none(pod: Pod) -> None:
    """It goes from a port of the kernel's choice to an address that clients have as well."""
    ghosts = f"""
import sys
from interceptor.cli import entry
from interceptor.verify import prober
from interceptor.verify.sockets import OtherEnd

seen = prober.other_ends

def haunted(addresses):
    found = seen(addresses)
    made = [OtherEnd((one.client[0], 34181), (one.at[0], 44380), False) for one in found]
    return [*made, *found]

prober.other_ends = haunted
# As if clients had one port by chance: so each is tried once more, alone.
prober._shared = lambda attempts: {{one.endpoint for one in attempts if len(attempts) > 1}}
sys.argv[0] = {PROGRAM!r}
entry.main()
"""
    done_well("install", *NFTABLES.flags, namespace=pod.pod)
    with recorder(pod.pod, 15001, 15006):
        done = interceptor("verify", namespace=pod.pod, program=(sys.executable, "-c", ghosts))
    assert done.code == 0, done


def test_who_took_a_connection_is_where_somebody_listens(pod: Pod) -> None:
    with pod.pod, socket.create_server(("127.0.0.1", 0)) as listener:
        there = endpoint(listener.getsockname())
        with socket.create_connection(listener.getsockname()) as client:
            made = endpoint(client.getsockname())
            rows = {(one.client, one.at): one.is_listened for one in other_ends([there[0]])}
    assert rows == {(made, there): True, (there, made): False}


def test_a_lost_original_destination_is_no_success(pod: Pod) -> None:
    """Whoever ends at the proxy's port without translation cannot be passed on by it."""
    address = IPv4Address("127.0.0.1")
    packet = Packet(protocol="tcp", source=address, destination=address, destination_port=80)
    me = Identity("app", 1000, 1000)
    with pod.pod, socket.create_server((str(address), 0)) as listener:
        at = endpoint(listener.getsockname())
        wanted = Probe(Way.LOCAL, "straight to the listener", me, packet, Redirected(at[1]), "")
        with socket.create_connection(listener.getsockname()) as client:
            connection, peer = listener.accept()
            with connection:
                end = End(
                    in_pod=True,
                    at=at,
                    peer=endpoint(peer),
                    taker=at[1],
                    connection=connection,
                )
                result = judge_taken(wanted, end, is_answered=True)
            client.close()
    assert not result.ok
    assert result.seen == f"redirect to {at[1]}"
    assert "the original destination is lost" in result.note


def test_what_goes_straight_is_seen_to(pod: Pod) -> None:
    address = IPv4Address("127.0.0.1")
    me = Identity("app", 1000, 1000)
    with pod.pod, stand_ins(Named.of(Ruleset()), Family.IP, None) as there:
        packet = Packet(
            protocol="tcp",
            source=address,
            destination=address,
            destination_port=there.free_port,
        )
        probe = Probe(Way.LOCAL, "straight to the listener", me, packet, Direct(), "")
        [result] = Prober(there).run([probe], 5.0)
    assert (result.ok, result.seen) == (True, "direct")


def test_an_app_on_a_kept_port_is_no_trouble(pod: Pod) -> None:
    done_well("install", namespace=pod.pod)
    with recorder(pod.pod, 22, 15021):
        done_well("verify", namespace=pod.pod)


def test_without_privileges_to_act_it_says_what_it_did_not_try(pod: Pod) -> None:
    """As in an init container that may change rules and nothing else."""
    with pod.pod:
        done_well("install")
        done = interceptor(
            "verify",
            "--output",
            "json",
            prefix=("setpriv", "--bounding-set=-all,+net_admin,+net_raw", "--inh-caps=-all"),
        )
    assert done.code == 0, done
    assert len(done.json["not_tried"]) == 2
    assert {c["way"] for c in done.json["connections"]} == {"outbound", "local"}


def test_with_ipv6_switched_off_it_says_so(pod: Pod) -> None:
    for where in ("all", "default"):
        pod.pod.sysctl(f"ipv6/conf/{where}/disable_ipv6", "1")
    done_well("install", "--ip-families", "dual", namespace=pod.pod)
    done = done_well("verify", "--output", "json", namespace=pod.pod)
    assert done.json["not_tried"] == ["IPv6: the namespace has it switched off"]


def test_install_can_verify_at_once(pod: Pod) -> None:
    done = done_well("install", "--verify", namespace=pod.pod)
    assert "all went where they should" in done.stderr


def test_only_its_own_traffic_is_answered(pod: Pod) -> None:
    """The app's addresses are not touched: what verify lends is on an interface of its own."""
    done_well("install", namespace=pod.pod)
    before = pod.pod.run("ip", "-br", "addr")
    done_well("verify", namespace=pod.pod)
    assert pod.pod.run("ip", "-br", "addr") == before
    assert POD[4] in before
