"""Rules that meshes no longer made made, written down by hand: what our sheets are held to.

Lines are as ``iptables-save`` prints them, without comments, chains of one's own one after the
other. ``{localhost}`` and ``{handover}`` are the addresses of a family.
"""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from interceptor.names import Family

if TYPE_CHECKING:
    from collections.abc import Mapping

GOLDENS = Path(__file__).parent.parent / "goldens_of_elders"
"""What the same configurations are in nft, by name."""

_ADDRESSES = {
    Family.IP: {"localhost": "127.0.0.1/32", "handover": "127.0.0.6/32"},
    Family.IP6: {"localhost": "::1/128", "handover": "::6/128"},
}


class Elder(NamedTuple):
    """A configuration of an old mesh, in our settings, and the rules it made of that.

    ``ip`` and ``ip6`` say what is otherwise in one family: a line for each of the common ones
    that is not as it stands, nothing if it is not there. ``breaks`` are the properties that do
    not hold, each with how many different violations.
    """

    sheet: str
    settings: dict[str, str]
    rules: str
    breaks: dict[str, int]
    ip: Mapping[str, str] = MappingProxyType({})
    ip6: Mapping[str, str] = MappingProxyType({})

    def lines(self, family: Family) -> list[str]:
        """Give the rules of a family."""
        otherwise = self.ip if family is Family.IP else self.ip6
        lines = (otherwise.get(line, line) for line in self.rules.strip().splitlines())
        return [line.format(**_ADDRESSES[family]) for line in lines if line]


_OSM_REDIRECTS = """\
-A OSM_PROXY_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15003
-A OSM_PROXY_OUT_REDIRECT -p tcp -j REDIRECT --to-ports 15001
-A OSM_PROXY_OUT_REDIRECT -p tcp -m tcp --dport 15000 -j ACCEPT
"""
_OSM_INBOUND = """\
-A OSM_PROXY_INBOUND -p tcp -m tcp --dport 15010 -j RETURN
-A OSM_PROXY_INBOUND -p tcp -m tcp --dport 15901 -j RETURN
-A OSM_PROXY_INBOUND -p tcp -m tcp --dport 15902 -j RETURN
-A OSM_PROXY_INBOUND -p tcp -m tcp --dport 15903 -j RETURN
-A OSM_PROXY_INBOUND -p tcp -m tcp --dport 15904 -j RETURN
-A OSM_PROXY_INBOUND -p tcp -j OSM_PROXY_IN_REDIRECT
"""
_OSM_OUTBOUND = """\
-A OSM_PROXY_OUTBOUND ! -d {localhost} -o lo -m owner --uid-owner 1500 -j OSM_PROXY_IN_REDIRECT
-A OSM_PROXY_OUTBOUND -o lo -m owner ! --uid-owner 1500 -j RETURN
-A OSM_PROXY_OUTBOUND -m owner --uid-owner 1500 -j RETURN
-A OSM_PROXY_OUTBOUND -d {localhost} -j RETURN
"""
_OSM_CALLS = """\
-A PREROUTING -p tcp -j OSM_PROXY_INBOUND
-A OUTPUT -p tcp -j OSM_PROXY_OUTBOUND
"""
_OSM_REST = "-A OSM_PROXY_OUTBOUND -j OSM_PROXY_OUT_REDIRECT\n"
_OSM_BREAKS = {"loop-free": 1, "self-calls": 1, "no-dead-rule": 1, "no-shadowed-rule": 1}
_DUAL = {"ip_families": "dual"}

_1_5_CALLS = """\
-A PREROUTING -p tcp -j ISTIO_INBOUND
-A OUTPUT -p tcp -j ISTIO_OUTPUT
"""
_1_5_INBOUND = """\
-A ISTIO_INBOUND -p tcp -m tcp --dport 22 -j RETURN
-A ISTIO_INBOUND -p tcp -m tcp --dport 15020 -j RETURN
-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT
"""
_1_5_HANDOVER = "-A ISTIO_OUTPUT -s {handover} -o lo -j RETURN\n"
_1_5_BY_LO = "-A ISTIO_OUTPUT ! -d {localhost} -o lo -j ISTIO_IN_REDIRECT\n"
_1_5_OWNER = """\
-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -d {localhost} -j RETURN
"""
_1_5_OUTPUT = _1_5_HANDOVER + _1_5_BY_LO + _1_5_OWNER
_1_5_REST = "-A ISTIO_OUTPUT -j ISTIO_REDIRECT\n"
_1_5_REDIRECTS = """\
-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006
-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
"""
_1_5_ENDS = _1_5_REST + _1_5_REDIRECTS

_0_1_CALLS = """\
-A PREROUTING -j ISTIO_REDIRECT
-A OUTPUT -p tcp -j ISTIO_OUTPUT
"""
_0_1_OUTPUT = """\
-A ISTIO_OUTPUT ! -d {localhost} -o lo -j ISTIO_REDIRECT
-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -d {localhost} -j RETURN
"""
_0_1_REDIRECT = "-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001\n"

ELDERS = {
    "osm": Elder(
        "osm",
        _DUAL,
        _OSM_CALLS + _OSM_INBOUND + _OSM_OUTBOUND + _OSM_REST + _OSM_REDIRECTS,
        _OSM_BREAKS,
    ),
    "osm-excluded": Elder(
        "osm",
        {
            **_DUAL,
            "exclude_inbound_ports": "30,40",
            "exclude_outbound_ports": "10,20",
            "exclude_outbound_cidrs": "203.0.113.1/32,192.0.2.0/24,fd00::/8",
            "exclude_interfaces": "net1,net2",
        },
        _OSM_CALLS + "-A OSM_PROXY_INBOUND -p tcp -m multiport --dports 30,40 -j RETURN\n"
        "-A OSM_PROXY_INBOUND -i net2 -j RETURN\n"
        "-A OSM_PROXY_INBOUND -i net1 -j RETURN\n"
        + _OSM_INBOUND
        + _OSM_OUTBOUND
        + "-A OSM_PROXY_OUTBOUND -o net1 -j RETURN\n"
        "-A OSM_PROXY_OUTBOUND -o net2 -j RETURN\n"
        "-A OSM_PROXY_OUTBOUND -d 203.0.113.1/32 -j RETURN\n"
        "-A OSM_PROXY_OUTBOUND -d 192.0.2.0/24 -j RETURN\n"
        "-A OSM_PROXY_OUTBOUND -d fd00::/8 -j RETURN\n"
        "-A OSM_PROXY_OUTBOUND -p tcp -m multiport --dports 10,20 -j RETURN\n"
        + _OSM_REST
        + _OSM_REDIRECTS,
        _OSM_BREAKS,
        ip={"-A OSM_PROXY_OUTBOUND -d fd00::/8 -j RETURN": ""},
        ip6={
            "-A OSM_PROXY_OUTBOUND -d 203.0.113.1/32 -j RETURN": "",
            "-A OSM_PROXY_OUTBOUND -d 192.0.2.0/24 -j RETURN": "",
        },
    ),
    "osm-included": Elder(
        "osm",
        {**_DUAL, "include_outbound_cidrs": "203.0.113.0/24,127.0.0.0/8,fd00::/8"},
        _OSM_CALLS
        + _OSM_INBOUND
        + _OSM_OUTBOUND
        + "-A OSM_PROXY_OUTBOUND -d 203.0.113.0/24 -j OSM_PROXY_OUT_REDIRECT\n"
        "-A OSM_PROXY_OUTBOUND -d 127.0.0.0/8 -j OSM_PROXY_OUT_REDIRECT\n"
        "-A OSM_PROXY_OUTBOUND -d fd00::/8 -j OSM_PROXY_OUT_REDIRECT\n"
        "-A OSM_PROXY_OUTBOUND -j RETURN\n" + _OSM_REDIRECTS,
        {**_OSM_BREAKS, "capture-total": 1},
        ip={"-A OSM_PROXY_OUTBOUND -d fd00::/8 -j OSM_PROXY_OUT_REDIRECT": ""},
        ip6={
            "-A OSM_PROXY_OUTBOUND -d 203.0.113.0/24 -j OSM_PROXY_OUT_REDIRECT": "",
            "-A OSM_PROXY_OUTBOUND -d 127.0.0.0/8 -j OSM_PROXY_OUT_REDIRECT": "",
        },
    ),
    "osm-pod-address": Elder(
        "osm",
        {**_DUAL, "options": "pod_address=10.244.0.7,fd44::7"},
        "-A PREROUTING -p tcp -j OSM_PROXY_INBOUND\n"
        "-A OUTPUT -d {localhost} -o lo -p tcp -m owner --uid-owner 1500"
        " -j DNAT --to-destination 10.244.0.7\n"
        "-A OUTPUT -p tcp -j OSM_PROXY_OUTBOUND\n"
        + _OSM_INBOUND
        + _OSM_OUTBOUND
        + _OSM_REST
        + _OSM_REDIRECTS,
        {**_OSM_BREAKS, "loop-free": 5, "self-calls": 3},
        ip6={
            "-A OUTPUT -d {localhost} -o lo -p tcp -m owner --uid-owner 1500"
            " -j DNAT --to-destination 10.244.0.7": "-A OUTPUT -d {localhost} -o lo -p tcp "
            "-m owner --uid-owner 1500 -j DNAT --to-destination fd44::7"
        },
    ),
    "istio-1.5": Elder(
        "istio-1.5",
        {},
        _1_5_CALLS + _1_5_INBOUND + _1_5_OUTPUT + _1_5_ENDS,
        {"self-calls": 1, "untouched": 1},
    ),
    "istio-1.5-excluded": Elder(
        "istio-1.5",
        {
            "proxy_uid": "1337,0",
            "exclude_inbound_ports": "15020,9090",
            "exclude_outbound_ports": "5432,3306",
            "exclude_outbound_cidrs": "203.0.113.1/32,fd00::/8",
        },
        _1_5_CALLS + "-A ISTIO_INBOUND -p tcp -m tcp --dport 22 -j RETURN\n"
        "-A ISTIO_INBOUND -p tcp -m tcp --dport 15020 -j RETURN\n"
        "-A ISTIO_INBOUND -p tcp -m tcp --dport 9090 -j RETURN\n"
        "-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT\n"
        "-A ISTIO_OUTPUT -p tcp -m tcp --dport 5432 -j RETURN\n"
        "-A ISTIO_OUTPUT -p tcp -m tcp --dport 3306 -j RETURN\n"
        + _1_5_HANDOVER
        + _1_5_BY_LO
        + "-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN\n"
        "-A ISTIO_OUTPUT -m owner --uid-owner 0 -j RETURN\n"
        "-A ISTIO_OUTPUT -m owner --gid-owner 1337 -j RETURN\n"
        "-A ISTIO_OUTPUT -d {localhost} -j RETURN\n"
        "-A ISTIO_OUTPUT -d 203.0.113.1/32 -j RETURN\n"
        "-A ISTIO_OUTPUT -d fd00::/8 -j RETURN\n" + _1_5_ENDS,
        {"self-calls": 2, "exceptions-hold": 1, "untouched": 1},
        ip={"-A ISTIO_OUTPUT -d fd00::/8 -j RETURN": ""},
        ip6={"-A ISTIO_OUTPUT -d 203.0.113.1/32 -j RETURN": ""},
    ),
    "istio-1.5-included": Elder(
        "istio-1.5",
        {
            "include_inbound_ports": "22,8080",
            "exclude_inbound_ports": "8080",
            "include_outbound_cidrs": "203.0.113.0/24,127.0.0.0/8,fd00::/8",
        },
        _1_5_CALLS + "-A ISTIO_INBOUND -p tcp -m tcp --dport 22 -j ISTIO_IN_REDIRECT\n"
        "-A ISTIO_INBOUND -p tcp -m tcp --dport 8080 -j ISTIO_IN_REDIRECT\n"
        + _1_5_OUTPUT
        + "-A ISTIO_OUTPUT -d 203.0.113.0/24 -j ISTIO_REDIRECT\n"
        "-A ISTIO_OUTPUT -d 127.0.0.0/8 -j ISTIO_REDIRECT\n"
        "-A ISTIO_OUTPUT -d fd00::/8 -j ISTIO_REDIRECT\n"
        "-A ISTIO_OUTPUT -j RETURN\n" + _1_5_REDIRECTS,
        {"loop-free": 1, "exceptions-hold": 2, "capture-total": 2, "untouched": 1},
        ip={"-A ISTIO_OUTPUT -d fd00::/8 -j ISTIO_REDIRECT": ""},
        ip6={
            "-A ISTIO_OUTPUT -d 203.0.113.0/24 -j ISTIO_REDIRECT": "",
            "-A ISTIO_OUTPUT -d 127.0.0.0/8 -j ISTIO_REDIRECT": "",
        },
    ),
    "istio-1.5-nothing": Elder(
        "istio-1.5",
        {"include_inbound_ports": "", "include_outbound_cidrs": ""},
        "-A OUTPUT -p tcp -j ISTIO_OUTPUT\n" + _1_5_OUTPUT + _1_5_REDIRECTS,
        {"loop-free": 1, "untouched": 1},
        ip={_1_5_REDIRECTS.splitlines()[1]: ""},
        ip6={_1_5_REDIRECTS.splitlines()[1]: ""},
    ),
    "istio-1.5-from-within": Elder(
        "istio-1.5",
        {"virtual_interfaces": "vm1,vm2", "exclude_outbound_ports": "443"},
        "-A PREROUTING -i vm2 -j ISTIO_REDIRECT\n"
        "-A PREROUTING -i vm1 -j ISTIO_REDIRECT\n"
        "-A PREROUTING -i vm2 -j RETURN\n"
        "-A PREROUTING -i vm1 -j RETURN\n"
        + _1_5_CALLS
        + _1_5_INBOUND
        + "-A ISTIO_OUTPUT -p tcp -m tcp --dport 443 -j RETURN\n"
        + _1_5_OUTPUT
        + _1_5_ENDS,
        {"self-calls": 2, "exceptions-hold": 1, "untouched": 1},
    ),
    "istio-1.5-local-loopback": Elder(
        "istio-1.5",
        {"options": "disable_redirection_on_local_loopback=true"},
        _1_5_CALLS + _1_5_INBOUND + _1_5_HANDOVER + _1_5_OWNER + _1_5_ENDS,
        {"self-calls": 1, "untouched": 1},
    ),
    "istio-0.1": Elder(
        "istio-0.1",
        _DUAL,
        _0_1_CALLS + _0_1_OUTPUT + "-A ISTIO_OUTPUT -j ISTIO_REDIRECT\n" + _0_1_REDIRECT,
        {"loop-free": 1, "untouched": 1},
    ),
    "istio-0.1-included": Elder(
        "istio-0.1",
        {**_DUAL, "include_outbound_cidrs": "203.0.113.0/24,fd00::/8"},
        _0_1_CALLS + _0_1_OUTPUT + "-A ISTIO_OUTPUT -d 203.0.113.0/24 -j ISTIO_REDIRECT\n"
        "-A ISTIO_OUTPUT -d fd00::/8 -j ISTIO_REDIRECT\n"
        "-A ISTIO_OUTPUT -j RETURN\n" + _0_1_REDIRECT,
        {"loop-free": 1, "untouched": 1},
        ip={"-A ISTIO_OUTPUT -d fd00::/8 -j ISTIO_REDIRECT": ""},
        ip6={"-A ISTIO_OUTPUT -d 203.0.113.0/24 -j ISTIO_REDIRECT": ""},
    ),
}
