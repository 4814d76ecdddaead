"""What nft lists as text and as JSON is read as the same rules, with real tables of others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from interceptor.model import UnreadableAction
from interceptor.parse import nft_json, nft_text
from tests.lab.cases import CASES, GOLDENS
from tests.lab.netns import namespaces

if TYPE_CHECKING:
    from interceptor.model import Ruleset
    from tests.lab.netns import Namespace

pytestmark = pytest.mark.root

_SETS = """\
counter c1 { packets 3 bytes 100; }
limit lim1 { rate 400/minute burst 5 packets; }
quota q1 { over 25 mbytes used 0 bytes; }
ct helper ftp-h { type "ftp" protocol tcp; l3proto ip; }
set blocked { type ipv4_addr; flags interval, timeout; timeout 1h;
elements = { 10.9.0.0/16 timeout 5m comment "bad", 10.10.0.1-10.10.0.77 }; }
set ports { type inet_service; flags interval; auto-merge; elements = { 22, 80-90, 443 }; }
set ifs { type ifname; elements = { "eth0", "lo" }; }
set ifw { type ifname; flags interval; elements = { "eth*", "docker0" }; }
set marks { type mark; elements = { 0x1, 0x2 }; }
set seen { type ipv4_addr; size 65535; flags dynamic,timeout; timeout 1m; }
set v6 { type ipv6_addr; flags interval; elements = { fd00::/8, ::1 }; }
set cc { type ipv4_addr . inet_service; flags interval; elements = { 10.0.0.1 . 80,
10.0.0.0/24 . 100-200 }; }
set tof { typeof ip daddr . tcp dport; elements = { 10.0.0.1 . 80 counter packets 0 bytes 0 } ;
counter; }
map m { type inet_service : ipv4_addr; elements = { 80 : 10.0.0.1, 81 : 10.0.0.2 }; }
map vm { type inet_service : verdict; counter; elements = { 22 : accept, 80 : jump x,
81 comment "hello, world" : drop }; }
map ifm { type ifname : verdict; elements = { "eth0" : jump x, "lo" : accept }; }
map defm { type inet_service : verdict; flags interval; elements = { 22 : accept,
100-200 : drop, * : jump x }; }
"""
"""Named things of a host's table."""

_CHAINS = {
    "type filter hook input priority filter; policy drop;": r"""
ct state vmap { established : accept, related : accept, invalid : drop }
ct state established,related accept
ct state { new, untracked } counter
ct state != { invalid, untracked } continue
ct state != established continue
ct state ! established,related continue
iif lo accept
iif != lo continue
iifname "eth*" accept
iifname { "a", "b*" } drop
iifname @ifs accept
iifname @ifw accept
iifname != @ifw drop
iifname vmap { "eth0" : jump x, "lo" : accept }
iifname vmap @ifm
tcp dport vmap { 22 : accept, 80-90 : jump x, 443 : accept }
tcp dport vmap @vm
tcp dport vmap @defm
meta l4proto vmap { tcp : jump x, udp : jump y, icmp : accept }
ip protocol vmap { tcp : jump x, udp : accept }
ip6 nexthdr vmap { tcp : jump x, ipv6-icmp : accept }
ip daddr vmap { 10.0.0.1 : accept, 10.1.0.0/16 : drop }
ip saddr . tcp dport vmap { 10.0.0.1 . 22 : accept, 10.0.0.2 . 80 : drop }
ip saddr . tcp dport { 10.0.0.1 . 22, 10.0.0.2 . 80-90 } accept
ip saddr . tcp dport != { 10.0.0.1 . 22 } accept
ip saddr . tcp dport @cc accept
ip daddr . tcp dport @tof accept
iifname . ip saddr { "eth0" . 10.0.0.1 } accept
ip saddr . udp sport . meta mark vmap { 10.0.0.1 . 1 . 0x2 : accept }
meta l4proto { tcp, udp } th dport 53 accept
meta l4proto != { tcp, udp } drop
ip protocol tcp accept
ip protocol { tcp, udp } accept
ip protocol != { tcp, udp } accept
ip6 nexthdr tcp accept
meta protocol ip accept
meta nfproto ipv6 accept
fib daddr type local accept
fib daddr type != local drop
fib saddr type local accept
fib daddr type { local, broadcast } accept
fib daddr type vmap { local : jump x, broadcast : drop }
fib saddr . iif oif missing drop
fib saddr . mark oif 0 drop
fib daddr . iif type local accept
icmp type echo-request limit rate 5/second accept
icmp type { echo-request, destination-unreachable } accept
icmpv6 type nd-neighbor-solicit ip6 hoplimit 255 accept
limit rate over 10/minute burst 20 packets drop
quota name q1 drop
quota over 10 mbytes drop
ct count over 10 reject
ct count 3 accept
counter name c1 accept
tcp dport 21 ct helper set ftp-h
log prefix "dropped: " flags all level warn drop
log group 2 snaplen 20 queue-threshold 3 accept
log
counter log prefix "a b" accept
meta nftrace set 1
meta priority set 1:2
meta priority set none
ip dscp set cs1
ip dscp cs1 accept
ip ttl 5 accept
ip ttl > 5 accept
ip length 100-200 accept
tcp flags syn tcp option maxseg size set 1400
tcp flags & (fin|syn|rst|ack) == syn accept
tcp flags & (fin|syn) != fin|syn drop
tcp flags syn,ack accept
tcp flags == syn accept
tcp option maxseg exists accept
tcp dport > 1024 accept
tcp dport != 80 accept
tcp dport != { 80, 90-100 } accept
tcp dport 100-200 accept
tcp sport 5 tcp dport @ports accept
ip saddr @blocked drop
ip saddr != @blocked accept
ip6 saddr @v6 accept
ip saddr { 10.0.0.0/8, 192.168.0.1-192.168.0.7, 1.1.1.1 } ip daddr != { 1.2.3.4, 5.6.7.8 } accept
ip saddr & 255.0.255.0 == 10.0.0.0 accept
meta mark 0x1 accept
meta mark { 0x1, 0x5 } accept
meta mark @marks accept
meta mark 0x10-0x1f accept
meta mark & 0xff == 0x5 accept
meta mark & 0xff != 0x5 accept
meta mark & 0xff == { 1, 2 } accept
meta mark vmap { 1 : accept, 2 : drop }
ct mark 0x1 accept
ct mark & 0xff == 0x1 accept
meta mark set 0x1
meta mark set meta mark | 0x1
meta mark set meta mark & 0xfffffffe
meta mark set meta mark & 0xffffff00 | 0x5
meta mark set meta mark ^ 0x5
meta mark set ct mark
meta mark set ct mark & 0xff
ct mark set meta mark
ct mark set 0x5
ct mark set ct mark | 0x1
ct mark set meta mark & 0xff
meta mark set 0x1 accept
meta mark set 0x1 ct mark set meta mark accept
meta mark 0x0 meta mark set 0x1 accept
meta mark set ip daddr map { 10.0.0.1 : 0x1 }
meta mark set 0x1 tcp dport 80 accept
meta skuid 1000 accept
meta skuid root accept
meta skuid != { 0, 100-200 } accept
meta pkttype broadcast drop
meta hour "10:00"-"12:00" accept
meta time > "2030-01-01 00:00:00" accept
meta iifgroup default accept
meta rtclassid 5 accept
ether saddr 00:11:22:33:44:55 accept
ether type arp accept
vlan id 5 accept
ct direction original accept
ct status dnat accept
ct status assured,confirmed accept
ct original ip saddr 10.0.0.1 accept
ct expiration < 30s accept
ct zone 5 accept
ct helper "ftp" accept
rt ip nexthop 10.0.0.1 accept
exthdr frag exists accept
frag more-fragments 1 accept
ip frag-off & 0x1fff != 0 drop
ip option lsrr exists drop
symhash mod 2 == 1 accept
numgen random mod 10 < 5 accept
@th,16,16 80 accept
@nh,8,8 & 0xf == 1 accept
socket transparent 1 socket wildcard 0 accept
socket transparent 1 accept
add @seen { ip saddr timeout 10s } accept
update @seen { ip saddr limit rate 5/second } drop
tcp dport 22 add @seen { ip saddr }
ip saddr @seen drop
meter flood { ip saddr limit rate 10/second } drop
delete @seen { ip saddr }
reject with icmp port-unreachable
reject with icmpx admin-prohibited
reject
meta l4proto tcp reject with tcp reset
synproxy mss 1460 wscale 7 timestamp sack-perm
notrack
accept comment "with a comment \ and stuff"
jump x
drop
return
""",
    "type nat hook prerouting priority dstnat;": """
tcp dport 80 redirect
tcp dport 7 redirect to :80
redirect
tcp dport 8 redirect to :1-3
tcp dport 9 redirect to :80 random
tcp dport 81 dnat ip to 10.0.0.1
tcp dport 81 dnat ip to 10.0.0.1:80
tcp dport 81 dnat ip6 to [fd00::1]:80
tcp dport 81 dnat ip6 to fd00::1
tcp dport 81 dnat to :80
tcp dport 81 dnat ip to 10.0.0.1-10.0.0.5:80-90
tcp dport 81 dnat ip to 10.0.0.1:80 persistent,random
dnat ip to tcp dport map { 80 : 10.0.0.1, 81 : 10.0.0.2 }
dnat ip to tcp dport map @m
dnat ip to numgen random mod 2 map { 0 : 10.0.0.1, 1 : 10.0.0.2 }
dnat ip addr . port to tcp dport map { 80 : 10.0.0.1 . 8080 }
tcp dport 80 redirect to :tcp dport map { 80 : 8080 }
dnat ip prefix to ip daddr map { 10.0.0.0/24 : 10.1.0.0/24 }
dnat ip to jhash ip saddr mod 2 map { 0 : 10.0.0.1, 1 : 10.0.0.2 }
""",
    "type nat hook postrouting priority srcnat + 5;": """
masquerade
oifname "eth0" masquerade
meta l4proto tcp masquerade to :1000-2000
masquerade random,persistent
snat ip to 10.0.0.1
meta l4proto tcp snat ip to 10.0.0.1-10.0.0.5:1000-2000 random
snat ip6 to fd00::1
snat ip to ip saddr map { 10.0.0.2 : 10.0.0.1 }
""",
    "type filter hook prerouting priority mangle - 5;": """
tcp dport 80 tproxy to :15001 meta mark set 0x1 accept
tcp dport 80 tproxy ip to 127.0.0.1:15001 meta mark set 0x1 accept
tcp dport 80 tproxy ip6 to :15001 meta mark set 0x1 accept
tcp dport 80 tproxy ip6 to [::1]:15001
tcp dport 80 meta mark set 1 tproxy to :15001 accept
tcp dport 80 tproxy to :15001 accept
meta l4proto { tcp, udp } tproxy to :1 meta mark set 1 accept
""",
    "type filter hook prerouting priority raw;": """
udp dport 53 notrack
ct zone set 5
notrack accept
ct zone set 3 notrack
ct original zone set 4
ct event set new,destroy
""",
}
"""Base chains and their rules, which no policy of ours has."""

_KUBE_PROXY = """\
table ip kube-proxy {
set cluster-ips { type ipv4_addr; comment "Active ClusterIPs"; elements = { 10.96.0.1,
10.96.0.10 }; }
set nodeport-ips { type ipv4_addr; elements = { 192.168.1.5 }; }
set hairpin-connections { type ipv4_addr . ipv4_addr . inet_proto . inet_service; elements = {
10.180.0.1 . 10.180.0.1 . tcp . 80 }; }
map no-endpoint-services { type ipv4_addr . inet_proto . inet_service : verdict; elements = {
192.168.99.22 . tcp . 80 comment "ns1/svc1:p80" : drop,
10.96.0.46 . tcp . 80 : goto reject-chain }; }
map no-endpoint-nodeports { type inet_proto . inet_service : verdict; elements = {
tcp . 3001 comment "ns2/svc2:p80" : drop }; }
map firewall-ips { type ipv4_addr . inet_proto . inet_service : verdict; elements = {
5.6.7.8 . tcp . 80 : goto firewall-check }; }
map service-ips { type ipv4_addr . inet_proto . inet_service : verdict; elements = {
10.96.0.1 . tcp . 443 : goto svc-a, 10.96.0.10 . udp . 53 : goto svc-b,
10.96.0.10 . tcp . 53 : goto svc-b }; }
map service-nodeports { type inet_proto . inet_service : verdict; elements = {
tcp . 30080 : goto svc-a }; }
chain filter-prerouting-pre-dnat { type filter hook prerouting priority -110; policy accept;
ct state new jump firewall-ch; }
chain filter-input { type filter hook input priority -110;
ct state new jump nodeport-endpoints-check; ct state new jump service-endpoints-check; }
chain filter-forward { type filter hook forward priority -110;
ct state new jump service-endpoints-check; ct state new jump cluster-ips-check; }
chain filter-output { type filter hook output priority -110;
ct state new jump service-endpoints-check; ct state new jump firewall-ch; }
chain nat-prerouting { type nat hook prerouting priority -100; jump services; }
chain nat-output { type nat hook output priority -100; jump services; }
chain nat-postrouting { type nat hook postrouting priority 100; jump masquerading; }
chain masquerading { meta mark & 0x4000 == 0 return; meta mark set meta mark ^ 0x4000;
masquerade fully-random; }
chain services { ip daddr . meta l4proto . th dport vmap @service-ips;
ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports; }
chain service-endpoints-check { ip daddr . meta l4proto . th dport vmap @no-endpoint-services; }
chain nodeport-endpoints-check {
ip daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports; }
chain firewall-ch { comment "firewall"; ip daddr . meta l4proto . th dport vmap @firewall-ips; }
chain firewall-check { ip daddr . meta l4proto . th dport . ip saddr {
5.6.7.8 . tcp . 80 . 203.0.113.0/25 } return; drop; }
chain mark-for-masquerade { meta mark set meta mark | 0x4000; }
chain reject-chain { reject; }
chain cluster-ips-check {
ip daddr @cluster-ips reject comment "Reject traffic to invalid ports of ClusterIPs";
ip daddr 10.96.0.0/12 drop; }
chain svc-a {
ip daddr 10.96.0.1 tcp dport 443 ip saddr != 10.244.0.0/16 jump mark-for-masquerade;
numgen random mod 2 vmap { 0 : goto ep-1, 1 : goto ep-2 }; }
chain svc-b { jump mark-for-masquerade; update @affinity { ip saddr } goto ep-1; }
set affinity { type ipv4_addr; flags dynamic,timeout; timeout 3h; }
chain ep-1 { ip saddr 10.180.0.1 jump mark-for-masquerade;
meta l4proto tcp dnat to 10.180.0.1:80; }
chain ep-2 { meta l4proto tcp dnat to 10.180.0.2:80; }
chain hairpin {
ip saddr . ip daddr . meta l4proto . th dport @hairpin-connections jump mark-for-masquerade; }
}
"""
"""As kube-proxy writes it in its nft mode."""

_IPTABLES = (
    "-t nat -N DOCKER",
    "-t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
    "-t nat -A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER",
    "-t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE",
    "-t nat -A DOCKER ! -i docker0 -p tcp --dport 80 -j DNAT --to-destination 172.17.0.2:80",
    "-t nat -N LINKERD",
    "-t nat -A LINKERD -p tcp -m multiport --dports 25,587 -m comment --comment x -j RETURN",
    "-t nat -A LINKERD -m owner --uid-owner 2102 -o lo ! -d 127.0.0.1/32 -j RETURN",
    "-t nat -A LINKERD -p tcp -j REDIRECT --to-port 4143",
    "-t mangle -A PREROUTING -p tcp -m mark --mark 0x1/0xff -j MARK --set-xmark 0x5/0xff",
    "-t mangle -A PREROUTING -m conntrack --ctstate NEW -j CONNMARK --save-mark",
    "-t mangle -A PREROUTING -p tcp -m socket --transparent -j TPROXY --on-port 9",
    "-t raw -A PREROUTING -p udp --dport 53 -j CT --notrack",
    "-t filter -A INPUT -m limit --limit 5/min -j LOG --log-prefix x",
    "-t filter -A INPUT -p tcp --tcp-flags SYN,RST SYN -j REJECT --reject-with tcp-reset",
)


def both(namespace: Namespace, *flags: str) -> tuple[Ruleset, Ruleset]:
    """Read what nft lists, as JSON and as text."""
    listed = [namespace.run("nft", *more, *flags, "list", "ruleset") for more in (("-j",), ())]
    return nft_json.parse(listed[0]), nft_text.parse(listed[1])


def assert_same(namespace: Namespace, *flags: str) -> Ruleset:
    from_json, from_text = both(namespace, *flags)
    assert from_json.tables
    for one, other in zip(from_json.tables, from_text.tables, strict=True):
        for chain, again in zip(one.chains, other.chains, strict=True):
            for rule, read in zip(chain.rules, again.rules, strict=True):
                assert read == rule
    assert from_text == from_json
    return from_text


@pytest.mark.parametrize("case", CASES)
def test_ours(case: str) -> None:
    with namespaces("text") as (namespace,):
        namespace.run("nft", "-f", "-", stdin=(GOLDENS / f"{case}.nft").read_text())
        found = assert_same(namespace)
        assert assert_same(namespace, "-n") == found
        assert nft_text.parse(namespace.run("nft", "-a", "list", "ruleset")) == found


def test_a_host() -> None:
    with namespaces("text") as (namespace,):
        chains = "".join(f"chain c{n} {{\n{base}\n}}\n" for n, base in enumerate(_CHAINS))
        called = "chain x {\n}\nchain y {\n}\n"
        namespace.run("nft", "-f", "-", stdin=f"table inet t {{\n{called}{_SETS}{chains}}}\n")
        for n, rules in enumerate(_CHAINS.values()):
            for rule in rules.strip().splitlines():
                script = f"add rule inet t c{n} {rule}\n"
                # Not every kernel has every statement.
                namespace.run("nft", "-f", "-", stdin=script, check=False)
        found = assert_same(namespace)
        assert sum(len(chain.rules) for chain in found.tables[0].chains) > 200
        # Numbers in place of names; what nobody reads is written in other words then.
        one, other = both(namespace, "-n")
        assert one.counts == other.counts == found.counts


def test_kube_proxy() -> None:
    with namespaces("text") as (namespace,):
        names = [line.split()[1] for line in _KUBE_PROXY.splitlines() if line.startswith("chain")]
        bases = {line.split()[1] for line in _KUBE_PROXY.splitlines() if " { type " in line}
        plain = "".join(f"chain {name} {{\n}}\n" for name in names if name not in bases)
        namespace.run("nft", "-f", "-", stdin=f"table ip kube-proxy {{\n{plain}}}\n")
        namespace.run("nft", "-f", "-", stdin=_KUBE_PROXY)
        found = assert_same(namespace)
    actions = [rule.action for chain in found.tables[0].chains for rule in chain.rules]
    assert not any(isinstance(action, UnreadableAction) for action in actions)


def test_what_iptables_has_written() -> None:
    """Its matches and targets have no JSON; as text nft writes what it can translate."""
    with namespaces("text") as (namespace,):
        for rule in _IPTABLES:
            namespace.run("iptables-nft", *rule.split())
        from_json, from_text = both(namespace)
    assert [table.name for table in from_json.tables] == [t.name for t in from_text.tables]
    unread = [
        sum(
            isinstance(rule.action, UnreadableAction)
            for table in found.tables
            for chain in table.chains
            for rule in chain.rules
        )
        for found in (from_json, from_text)
    ]
    # One match of theirs nft cannot translate.
    assert unread[1] == 1 < unread[0]
