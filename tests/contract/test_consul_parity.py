"""The sheet ``consul`` leaves in the kernel what Consul's commands leave there, in each form.

The commands are written here and not taken from the sheet, in the order Consul gives them: what is
excluded is inserted, one after the other, and so comes in the order turned round.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from interceptor.names import Family
from tests.lab.netns import namespaces
from tests.lab.parity import held, put
from tests.lab.paths import RULE_PATHS, RulePath, done_well, interceptor

pytestmark = pytest.mark.root

_BOTH = (Family.IP, Family.IP6)
_LOCALHOST = {Family.IP: "127.0.0.1/32", Family.IP6: "::1/128"}


class Case(NamedTuple):
    """Our settings, and what Consul is given for the same.

    ``dns`` is where queries go, by family, and the port if one is given. In iptables a family
    that has none gets no rules for them; ``nft_dns`` is what the native form has otherwise.
    """

    flags: tuple[str, ...] = ()
    families: tuple[Family, ...] = (Family.IP,)
    inbound: int = 20000
    outbound: int = 15001
    user: int = 5995
    dns: tuple[tuple[Family, str], ...] = ()
    nft_dns: tuple[tuple[Family, str], ...] = ()
    dns_port: int = 0
    inbound_ports: tuple[str, ...] = ()
    outbound_ports: tuple[str, ...] = ()
    networks: tuple[tuple[Family, str], ...] = ()
    users: tuple[int, ...] = (5996,)

    def iptables(self, family: Family) -> str:
        """Give what iptables, or ip6tables, is called with."""
        at = dict(self.dns).get(family, "")
        to = f"-d {at} " if self.dns_port else ""
        end = self._with_port(at) if self.dns_port else at
        protocols = ("udp", "tcp") if at else ()
        out, into = "CONSUL_PROXY_OUTPUT", "CONSUL_PROXY_INBOUND"
        return "\n".join(
            [
                *(f"-N CONSUL_PROXY_{name}" for name in ("INBOUND", "IN_REDIRECT", "OUTPUT")),
                "-N CONSUL_PROXY_REDIRECT",
                "-N CONSUL_DNS_REDIRECT",
                f"-A CONSUL_PROXY_REDIRECT -p tcp -j REDIRECT --to-port {self.outbound}",
                *(
                    f"-A CONSUL_DNS_REDIRECT -p {p} {to}--dport 53 -j DNAT --to-destination {end}"
                    for p in protocols
                ),
                *(f"-A OUTPUT -p {p} {to}--dport 53 -j CONSUL_DNS_REDIRECT" for p in protocols),
                f"-A OUTPUT -p tcp -j {out}",
                f"-A {out} -m owner --uid-owner {self.user} -j RETURN",
                f"-A {out} -d {_LOCALHOST[family]} -j RETURN",
                f"-A {out} -j CONSUL_PROXY_REDIRECT",
                *(f"-I {out} -p tcp --dport {port} -j RETURN" for port in self.outbound_ports),
                *(f"-I {out} -d {one} -j RETURN" for of, one in self.networks if of is family),
                *(f"-I {out} -m owner --uid-owner {user} -j RETURN" for user in self.users),
                f"-A CONSUL_PROXY_IN_REDIRECT -p tcp -j REDIRECT --to-port {self.inbound}",
                f"-A PREROUTING -p tcp -j {into}",
                f"-A {into} -p tcp -j CONSUL_PROXY_IN_REDIRECT",
                *(f"-I {into} -p tcp --dport {port} -j RETURN" for port in self.inbound_ports),
            ]
        )

    def nft(self) -> str:
        """Give the script nft is called with."""
        table = "inet consul_tproxy"
        base = "{ type nat hook %s priority -100 ; }"
        lines = [f"add table {table}", f"delete table {table}", f"add table {table}"]
        names = ("PROXY_INBOUND", "PROXY_IN_REDIRECT", "PROXY_OUTPUT", "PROXY_REDIRECT")
        lines += [
            *(f"add chain {table} CONSUL_{name}" for name in names),
            f"add chain {table} CONSUL_DNS_REDIRECT",
            f"add chain {table} CONSUL_NAT_OUTPUT {base % 'output'}",
            f"add chain {table} CONSUL_NAT_PREROUTING {base % 'prerouting'}",
        ]
        rules = [] if self.families == _BOTH else ["CONSUL_NAT_OUTPUT meta nfproto ipv6 return"]
        if rules:
            rules.append("CONSUL_NAT_PREROUTING meta nfproto ipv6 return")
        rules.append(f"CONSUL_PROXY_REDIRECT meta l4proto tcp redirect to :{self.outbound}")
        rules += self._nft_dns()
        rules += [
            "CONSUL_NAT_OUTPUT meta l4proto tcp jump CONSUL_PROXY_OUTPUT",
            f"CONSUL_PROXY_OUTPUT skuid {self.user} return",
            "CONSUL_PROXY_OUTPUT ip daddr 127.0.0.1/32 return",
        ]
        # Without dual stack it is there too; no packet of IPv6 comes so far, and ours has none.
        if self.families == _BOTH:
            rules.append("CONSUL_PROXY_OUTPUT ip6 daddr ::1/128 return")
        rules.append("CONSUL_PROXY_OUTPUT jump CONSUL_PROXY_REDIRECT")
        inserted = [f"tcp dport {port.replace(':', '-')}" for port in self.outbound_ports]
        inserted += [f"{family} daddr {one}" for family, one in self.networks]
        inserted += [f"skuid {user}" for user in self.users]
        lines += [f"add rule {table} {rule}" for rule in rules]
        lines += [f"insert rule {table} CONSUL_PROXY_OUTPUT {one} return" for one in inserted]
        into, tcp = f"rule {table} CONSUL_PROXY_INBOUND", "meta l4proto tcp"
        lines += [
            f"add rule {table} CONSUL_PROXY_IN_REDIRECT {tcp} redirect to :{self.inbound}",
            f"add rule {table} CONSUL_NAT_PREROUTING {tcp} jump CONSUL_PROXY_INBOUND",
            f"add {into} {tcp} jump CONSUL_PROXY_IN_REDIRECT",
        ]
        lines += [
            f"insert {into} tcp dport {port.replace(':', '-')} return"
            for port in self.inbound_ports
        ]
        return "".join(f"{line}\n" for line in lines)

    def _nft_dns(self) -> list[str]:
        """Give the rules for queries, address by address."""
        found = []
        for family, at in self.nft_dns or self.dns:
            to = f"{family} daddr {at} " if self.dns_port else ""
            end = f"to {self._with_port(at)}" if self.dns_port else f"{family} to {at}"
            for protocol in ("udp", "tcp"):
                query = f"{to}{protocol} dport 53"
                found.append(f"CONSUL_DNS_REDIRECT {query} dnat {end}")
                found.append(f"CONSUL_NAT_OUTPUT {query} jump CONSUL_DNS_REDIRECT")
        return found

    def _with_port(self, at: str) -> str:
        return f"[{at}]:{self.dns_port}" if ":" in at else f"{at}:{self.dns_port}"


_DUAL = ("--ip-families", "dual")
_IP, _IP6 = "10.0.34.16", "2001:db8::68"


def _dns(*options: str) -> tuple[str, ...]:
    return tuple(word for option in options for word in ("--option", f"dns_{option}"))


CASES = {
    "consul-k8s": Case(),
    "dual stack": Case(_DUAL, families=_BOTH),
    "another proxy": Case(
        (
            *("--inbound-port", "21000", "--outbound-port", "21001", "--proxy-uid", "123"),
            *("--exclude-outbound-uids", ""),
        ),
        inbound=21000,
        outbound=21001,
        user=123,
        users=(),
    ),
    "exclusions": Case(
        (
            *_DUAL,
            *("--exclude-inbound-ports", "22000,22500,8000-8010"),
            *("--exclude-outbound-ports", "443,22000-22010,80"),
            *("--exclude-outbound-cidrs", "10.1.0.0/16,192.0.2.1,fd00:1::/64,2001:db8::5"),
            *("--exclude-outbound-uids", "456,5996,789"),
        ),
        families=_BOTH,
        inbound_ports=("22000", "22500", "8000:8010"),
        outbound_ports=("443", "22000:22010", "80"),
        networks=(
            (Family.IP, "10.1.0.0/16"),
            (Family.IP, "192.0.2.1"),
            (Family.IP6, "fd00:1::/64"),
            (Family.IP6, "2001:db8::5"),
        ),
        users=(456, 5996, 789),
    ),
    "DNS at an address": Case(_dns(f"address={_IP}"), dns=((Family.IP, _IP),)),
    "DNS at an address, dual stack": Case(
        (*_DUAL, *_dns(f"address={_IP6}")), families=_BOTH, dns=((Family.IP6, _IP6),)
    ),
    "DNS at an address and port": Case(
        _dns(f"address={_IP}", "address_port=8600"), dns=((Family.IP, _IP),), dns_port=8600
    ),
    "DNS at an address and port, dual stack": Case(
        (*_DUAL, *_dns(f"address={_IP6}", "address_port=8600")),
        families=_BOTH,
        dns=((Family.IP6, _IP6),),
        dns_port=8600,
    ),
    "DNS at a port": Case(
        _dns("address_port=8600"), dns=((Family.IP, "127.0.0.1"),), dns_port=8600
    ),
    "DNS at a port, dual stack": Case(
        (*_DUAL, *_dns("address_port=8600")),
        families=_BOTH,
        dns=((Family.IP6, "::1"),),
        nft_dns=((Family.IP, "127.0.0.1"), (Family.IP6, "::1")),
        dns_port=8600,
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("path", RULE_PATHS, ids=str)
def test_the_kernel_holds_what_consul_would_have_put_there(path: RulePath, name: str) -> None:
    case = CASES[name]
    with namespaces("consul", "ours") as (theirs, ours):
        if path.name == "nftables":
            put(theirs, path.name, Family.INET, case.nft())
        else:
            for family in case.families:
                put(theirs, path.name, family, case.iptables(family))
        done_well("install", "--sheet", "consul", *path.flags, *case.flags, namespace=ours)
        wanted = held(theirs, path.name)
        assert wanted
        assert held(ours, path.name) == wanted


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ((*_DUAL, *_dns(f"address={_IP}")), "has to be one of IPv6, or one of each family"),
        (_dns(f"address={_IP6}"), "has to be one of IPv4"),
    ],
)
def test_an_address_that_consul_refuses(flags: tuple[str, ...], says: str) -> None:
    done = interceptor("render", "--sheet", "consul", *flags)
    assert (done.code, says in done.stderr) == (2, True), done
