"""Configurations of istio-iptables: its flags and variables, and what they mean to it."""

from __future__ import annotations

from typing import NamedTuple

from tests.lab.istio.settings import Istio

IPV4, IPV6 = "10.1.0.1/24", "fd01::1/64"


class Case(NamedTuple):
    """Istio's flags and variables, what it makes of them, and what the pod has.

    ``istio`` says of IPv6 and name servers what is to follow from ``addresses`` and
    ``nameservers``.
    """

    flags: str
    istio: Istio
    addresses: tuple[str, ...] = (IPV4,)
    environment: dict[str, str] = {}  # noqa: RUF012 - nobody changes it
    nameservers: tuple[str, ...] = ()


DUAL = (IPV4, IPV6)
INJECTOR = "-p 15001 -z 15006 -u 1337 -m REDIRECT -i * -b * -d 15090,15021,15020"
INJECTED = Istio(
    include_cidrs="*", include_inbound_ports="*", exclude_inbound_ports="15090,15021,15020"
)
TPROXY = INJECTOR.replace("REDIRECT", "TPROXY")
TPROXIED = INJECTED._replace(tproxy=True)
SERVERS = ("10.0.0.53", "fd00::53", "10.0.0.10")

CASES = {
    "injector": Case(f"{INJECTOR} --log_output_level=default:info", INJECTED),
    "injector dual": Case(f"{INJECTOR} --dual-stack", INJECTED._replace(ipv6=True), DUAL),
    "first address is IPv4": Case(INJECTOR, INJECTED, DUAL),
    "only IPv6": Case(INJECTOR, INJECTED._replace(ipv6=True), (IPV6,)),
    "no flags": Case("", Istio()),
    "no flags only IPv6": Case("", Istio(ipv6=True), (IPV6,)),
    "by variables": Case(
        "-z 15006",
        INJECTED._replace(uids="2000", gids="2000", exclude_inbound_ports="9090"),
        environment={
            "ISTIO_INBOUND_PORTS": "*",
            "ISTIO_LOCAL_EXCLUDE_PORTS": "9090",
            "ISTIO_SERVICE_CIDR": "*",
            "INBOUND_CAPTURE_PORT": "16006",
            "PROXY_UID": "2000",
        },
    ),
    "other ports": Case(
        f"{INJECTOR} -p 16001 -z 16006 -e 16008",
        INJECTED._replace(proxy_port="16001", inbound_port="16006", tunnel_port="16008"),
    ),
    "users": Case(
        f"{INJECTOR} -u 4,3,2000 -g 1337",
        INJECTED._replace(uids="4,3,2000", gids="1337"),
    ),
    "users are groups too": Case(
        f"{INJECTOR} -u 1338,1337 --dual-stack",
        INJECTED._replace(uids="1338,1337", gids="1338,1337", ipv6=True),
        DUAL,
    ),
    "groups": Case(f"{INJECTOR} -g 2,1,700", INJECTED._replace(gids="2,1,700")),
    "groups included": Case(
        INJECTOR,
        INJECTED._replace(include_groups="202,7,6"),
        environment={"ISTIO_OUTBOUND_OWNER_GROUPS": "202,7,6"},
    ),
    "no group included": Case(
        f"{INJECTOR} --lenient",
        INJECTED._replace(include_groups=""),
        environment={"ISTIO_OUTBOUND_OWNER_GROUPS": ""},
    ),
    "mistakes as Istio reads them": Case(
        f"{INJECTOR} -m TProxy -t x --lenient",
        INJECTED,
        environment={"REDIRECT_DNS": "yes", "CAPTURE_ALL_DNS": "true", "DRY_RUN": ""},
    ),
    "groups excluded": Case(
        INJECTOR,
        INJECTED._replace(exclude_groups="888,21,20"),
        environment={"ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE": "888,21,20"},
    ),
    "excluded CIDRs": Case(
        f"{INJECTOR} -x 192.168.0.0/16,10.0.0.0/8,2001:db8::/32,fd00::/8,10.1.0.0/16 --dual-stack",
        INJECTED._replace(
            exclude_cidrs="192.168.0.0/16,10.0.0.0/8,2001:db8::/32,fd00::/8,10.1.0.0/16",
            ipv6=True,
        ),
        DUAL,
    ),
    "included CIDRs": Case(
        "-b * -i 2001:db8::/32,192.168.0.0/16,fd00::/8,10.0.0.0/8,10.9.0.0/16 --dual-stack",
        Istio(
            include_inbound_ports="*",
            include_cidrs="2001:db8::/32,192.168.0.0/16,fd00::/8,10.0.0.0/8,10.9.0.0/16",
            ipv6=True,
        ),
        DUAL,
    ),
    "CIDRs with host bits": Case(
        "-b * -i 10.1.2.3/8,9.9.9.9/32 -x 10.2.3.4/16",
        Istio(
            include_inbound_ports="*",
            include_cidrs="10.1.2.3/8,9.9.9.9/32",
            exclude_cidrs="10.2.3.4/16",
        ),
    ),
    "IPv6 CIDRs without IPv6": Case(
        "-b * -i 2001:db8::/32,10.0.0.0/8 -x fd00::/8",
        Istio(
            include_inbound_ports="*",
            include_cidrs="2001:db8::/32,10.0.0.0/8",
            exclude_cidrs="fd00::/8",
        ),
    ),
    "loopback included": Case(
        "-b * -i 127.1.2.3/32,10.0.0.0/8 --dual-stack",
        Istio(include_inbound_ports="*", include_cidrs="127.1.2.3/32,10.0.0.0/8", ipv6=True),
        DUAL,
    ),
    "IPv6 loopback included": Case(
        "-i ::1/128 --dual-stack", Istio(include_cidrs="::1/128", ipv6=True), DUAL
    ),
    "ports included": Case(
        "-b 32000,443,31000 -q 9443,25,26 -i *",
        Istio(
            include_inbound_ports="32000,443,31000",
            include_outbound_ports="9443,25,26",
            include_cidrs="*",
        ),
    ),
    "ports excluded": Case(
        f"{INJECTOR} -d 15020,22,,23, -o 3306,53,25",
        INJECTED._replace(
            exclude_inbound_ports="15020,22,23", exclude_outbound_ports="3306,53,25"
        ),
    ),
    "exclusion without effect": Case(
        "-b 8080 -d 9090,8080", Istio(include_inbound_ports="8080", exclude_inbound_ports="9090")
    ),
    "excluded interfaces": Case(
        f"{INJECTOR} -c eth5,eth2", INJECTED._replace(exclude_interfaces="eth5,eth2")
    ),
    "virtual interfaces": Case(
        f"{INJECTOR} -k k2,k1 -c eth5 --dual-stack",
        INJECTED._replace(virtual_interfaces="k2,k1", exclude_interfaces="eth5", ipv6=True),
        DUAL,
    ),
    "virtual interfaces and CIDRs": Case(
        "-b 80 -k k2,k1 -i 10.9.0.0/16,2001:db8::/32,9.0.0.0/8,fd00::/8 --dual-stack",
        Istio(
            include_inbound_ports="80",
            virtual_interfaces="k2,k1",
            include_cidrs="10.9.0.0/16,2001:db8::/32,9.0.0.0/8,fd00::/8",
            ipv6=True,
        ),
        DUAL,
    ),
    "virtual interfaces alone": Case("-k k1,k2", Istio(virtual_interfaces="k1,k2")),
    "invalid dropped": Case(
        INJECTOR, INJECTED._replace(drop_invalid=True), environment={"INVALID_DROP": "true"}
    ),
    "wider localhost": Case(
        f"{INJECTOR} --dual-stack",
        INJECTED._replace(loopback="127.0.0.1/8", ipv6=True),
        DUAL,
        {"ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR": "127.0.0.1/8"},
    ),
    "DNS all": Case(
        f"{INJECTOR} --redirect-dns --capture-all-dns --dual-stack",
        INJECTED._replace(redirect_dns=True, capture_all_dns=True, ipv6=True),
        DUAL,
    ),
    "DNS all without IPv6": Case(
        f"{INJECTOR} --capture-all-dns -u 4,3 -g 6,5",
        INJECTED._replace(redirect_dns=True, capture_all_dns=True, uids="4,3", gids="6,5"),
        environment={"ISTIO_META_DNS_CAPTURE": "true"},
    ),
    "DNS of resolv.conf": Case(
        f"{INJECTOR} --redirect-dns --dual-stack",
        INJECTED._replace(redirect_dns=True, dns_servers=SERVERS, ipv6=True),
        DUAL,
        nameservers=SERVERS,
    ),
    "DNS of an IPv4 server": Case(
        f"{INJECTOR} --redirect-dns --dual-stack",
        INJECTED._replace(redirect_dns=True, dns_servers=("127.0.0.53",), ipv6=True),
        DUAL,
        nameservers=("127.0.0.53",),
    ),
    "DNS of an IPv6 server": Case(
        f"{INJECTOR} --redirect-dns --dual-stack",
        INJECTED._replace(redirect_dns=True, dns_servers=("fd00::53",), ipv6=True),
        DUAL,
        nameservers=("fd00::53",),
    ),
    "DNS without a server": Case(f"{INJECTOR} --redirect-dns", INJECTED),
    "DNS but port 53 excluded": Case(
        f"{INJECTOR} --redirect-dns --capture-all-dns -o 53",
        INJECTED._replace(redirect_dns=True, capture_all_dns=True, exclude_outbound_ports="53"),
    ),
    "DNS, groups and loopback": Case(
        "-b * -i 127.1.2.3/32 -e 16008 --redirect-dns --capture-all-dns",
        Istio(
            include_inbound_ports="*",
            include_cidrs="127.1.2.3/32",
            tunnel_port="16008",
            redirect_dns=True,
            capture_all_dns=True,
            include_groups="5,6",
        ),
        environment={"ISTIO_OUTBOUND_OWNER_GROUPS": "5,6"},
    ),
    "TPROXY": Case(TPROXY, TPROXIED),
    "TPROXY dual": Case(f"{TPROXY} --dual-stack", TPROXIED._replace(ipv6=True), DUAL),
    "TPROXY ports": Case(
        f"{TPROXY} -b 32000,443 -u 4,3 -g 6,5 --dual-stack",
        TPROXIED._replace(include_inbound_ports="32000,443", uids="4,3", gids="6,5", ipv6=True),
        DUAL,
    ),
    "TPROXY nothing inbound": Case(
        "-m TPROXY -i * --dual-stack",
        Istio(tproxy=True, include_cidrs="*", ipv6=True),
        DUAL,
    ),
    "TPROXY other mark and table": Case(
        f"{TPROXY} -t 4660 -r 200 -z 16006",
        TPROXIED._replace(mark="4660", table="200", inbound_port="16006"),
    ),
    "TPROXY excluded interfaces": Case(
        f"{TPROXY} -c eth5,eth2 -k k1 --drop-invalid",
        TPROXIED._replace(
            exclude_interfaces="eth5,eth2", virtual_interfaces="k1", drop_invalid=True
        ),
    ),
    "TPROXY and DNS": Case(
        f"{TPROXY} --redirect-dns --dual-stack",
        TPROXIED._replace(redirect_dns=True, dns_servers=SERVERS, ipv6=True),
        DUAL,
        nameservers=SERVERS,
    ),
}
