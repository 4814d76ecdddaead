"""Configurations whose rendered text is kept in ``tests/goldens`` and applied for real."""

from __future__ import annotations

from pathlib import Path

GOLDENS = Path(__file__).parent.parent / "goldens"

CASES: dict[str, dict[str, str]] = {
    "default": {},
    "ipv4-only": {"ip_families": "ipv4"},
    "ipv6-only": {"ip_families": "ipv6"},
    "other-ports": {"outbound_port": "25001", "inbound_port": "25006", "tunnel_port": "25008"},
    "lists-of-ids": {
        "proxy_uid": "1337,2000-2010",
        "proxy_gid": "5,6",
        "exempt_mark": "0x539/0xfff,7",
    },
    "mark-alone": {"proxy_uid": "", "proxy_gid": "", "exempt_mark": "0x539"},
    "excluded": {
        "exclude_inbound_ports": "80,8000-8100,15020",
        "exclude_inbound_cidrs": "10.1.0.0/16,fd01::/16",
        "exclude_outbound_ports": "3306,5432",
        "exclude_outbound_cidrs": "10.0.0.0/8,192.168.1.1,fd00::/8",
        "exclude_outbound_uids": "0,1337,5000-5010",
        "exclude_interfaces": "eth1,docker+",
    },
    "many-ports": {
        "exclude_inbound_ports": ",".join(map(str, range(1000, 1064, 2))),
        "exclude_outbound_ports": ",".join(f"{n}-{n + 1}" for n in range(2000, 2060, 3)),
    },
    "included": {
        "include_inbound_ports": "80,443,8000-8100",
        "include_outbound_ports": "5432",
        "include_outbound_cidrs": "10.0.0.0/8,172.16.0.0/12,fd00::/8",
    },
    "included-loopback": {
        "include_outbound_cidrs": "127.0.0.0/8,10.0.0.0/8,::1/128",
        "loopback_cidr": "127.0.0.0/24",
    },
    "one-family-included": {"include_outbound_cidrs": "0.0.0.0/0,fd00::/8"},
    "nothing-inbound": {"include_inbound_ports": ""},
    "nothing-outbound": {"include_outbound_cidrs": ""},
    "tproxy": {"mode": "tproxy"},
    "tproxy-other": {
        "mode": "tproxy",
        "tproxy_mark": "0x77",
        "tproxy_route_table": "200",
        "include_inbound_ports": "80,8000-8100",
        "exclude_inbound_cidrs": "10.1.0.0/16",
        "exclude_interfaces": "eth1",
        "virtual_interfaces": "vnet+",
    },
    "mode-none": {"mode": "none"},
    "dns-all": {"capture_dns": "all", "dns_port": "5353", "exempt_mark": "0x539"},
    "dns-resolv-conf": {
        "capture_dns": "resolv-conf",
        "exclude_outbound_cidrs": "10.96.0.0/16",
        "exclude_outbound_uids": "0",
        "exclude_outbound_owner_groups": "7",
        "exclude_interfaces": "eth1",
    },
    "owner-groups": {
        "include_outbound_owner_groups": "2000,3000-3010",
        "exclude_outbound_owner_groups": "2000,1337",
        "capture_dns": "all",
    },
    "virtual": {
        "virtual_interfaces": "docker0,vnet+",
        "include_outbound_cidrs": "10.0.0.0/8,fd00::/8",
        "include_outbound_ports": "443",
        "exclude_outbound_ports": "22",
    },
    "drop-invalid": {"drop_invalid": "true", "exclude_interfaces": "eth1"},
}


RESOLV_CONF = """\
search example.org
nameserver 10.0.0.53
nameserver fd00::53
options ndots:5
"""
"""What the namespaces of tests read as their resolv.conf."""


def flags(case: str) -> list[str]:
    """Give a case's settings as flags."""
    return [word for key, value in CASES[case].items() for word in _option(key, value)]


def _option(key: str, value: str) -> tuple[str, ...]:
    flag = f"--{key.replace('_', '-')}"
    return (flag,) if value == "true" else (flag, value)
