"""The sheet ``linkerd`` leaves in the kernel what the commands of proxy-init leave there.

The commands are written here and not taken from the sheet, chain by chain, as the tool gives them.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from interceptor.names import Family
from tests.lab.netns import namespaces
from tests.lab.parity import held, put
from tests.lab.paths import IPTABLES_LEGACY, IPTABLES_NFT, RulePath, done_well

pytestmark = pytest.mark.root

_IGNORED = "-p tcp --match multiport --dports {} -j RETURN -m comment --comment proxy-init/x"
_SUBNET = "-p all -j RETURN -s {} -m comment --comment proxy-init/x"
_RESERVED = _IGNORED.format("4190,4191,4567,4568")
_GALERA = _IGNORED.format("4567,4568")
_ALL_IN = "-p tcp -j REDIRECT --to-port 4143 -m comment --comment proxy-init/x"
_USER = "-m owner --uid-owner 2102 -j RETURN -m comment --comment proxy-init/x"
_LOOPBACK = "-o lo -j RETURN -m comment --comment proxy-init/x"
_ALL_OUT = "-p tcp -j REDIRECT --to-port 4140 -m comment --comment proxy-init/x"


class Case(NamedTuple):
    """Our settings, and Linkerd's rules of its two chains; some differ by family."""

    flags: tuple[str, ...] = ()
    inbound: tuple[str, ...] = (_RESERVED, _ALL_IN)
    inbound_ip6: tuple[str, ...] = ()
    outbound: tuple[str, ...] = (_USER, _LOOPBACK, _GALERA, _ALL_OUT)
    families: tuple[Family, ...] = (Family.IP, Family.IP6)

    def commands(self, family: Family) -> str:
        inbound = self.inbound_ip6 if family is Family.IP6 and self.inbound_ip6 else self.inbound
        return "\n".join(
            [
                "-N PROXY_INIT_REDIRECT",
                *(f"-A PROXY_INIT_REDIRECT {rule}" for rule in inbound),
                "-A PREROUTING -j PROXY_INIT_REDIRECT -m comment --comment proxy-init/x",
                "-N PROXY_INIT_OUTPUT",
                *(f"-A PROXY_INIT_OUTPUT {rule}" for rule in self.outbound),
                "-A OUTPUT -j PROXY_INIT_OUTPUT -m comment --comment proxy-init/x",
            ]
        )


_MANY = ",".join(str(port) for port in range(3000, 3040, 2))
CASES = {
    "the injector's": Case(),
    "another proxy": Case(
        ("--inbound-port", "5143", "--outbound-port", "5140", "--proxy-uid", "7"),
        inbound=(_RESERVED, _ALL_IN.replace("4143", "5143")),
        outbound=(
            _USER.replace("2102", "7"),
            _LOOPBACK,
            _GALERA,
            _ALL_OUT.replace("4140", "5140"),
        ),
    ),
    "its group": Case(
        ("--proxy-gid", "2103"),
        outbound=(
            _USER,
            _USER.replace("--uid-owner 2102", "--gid-owner 2103"),
            _LOOPBACK,
            _GALERA,
            _ALL_OUT,
        ),
    ),
    "its group alone": Case(
        ("--proxy-uid", "", "--proxy-gid", "2103"),
        outbound=(
            _USER.replace("--uid-owner 2102", "--gid-owner 2103"),
            _LOOPBACK,
            _GALERA,
            _ALL_OUT,
        ),
    ),
    "ports to redirect": Case(
        ("--include-inbound-ports", "8080,443,4191"),
        inbound=(
            _RESERVED,
            *(
                f"-p tcp --destination-port {port} -j REDIRECT --to-port 4143"
                for port in (8080, 443, 4191)
            ),
        ),
    ),
    "ports to ignore": Case(
        ("--exclude-inbound-ports", "22", "--exclude-outbound-ports", "3306,6000-8000"),
        inbound=(_IGNORED.format("22"), _ALL_IN),
        outbound=(_USER, _LOOPBACK, _IGNORED.format("3306,6000:8000"), _ALL_OUT),
    ),
    "more than one multiport takes": Case(
        ("--exclude-inbound-ports", _MANY, "--exclude-outbound-ports", ""),
        inbound=(
            _IGNORED.format(",".join(_MANY.split(",")[:15])),
            _IGNORED.format(",".join(_MANY.split(",")[15:])),
            _ALL_IN,
        ),
        outbound=(_USER, _LOOPBACK, _ALL_OUT),
    ),
    # Its own tool stops at a subnet of the other family, with half of its rules made.
    "subnets to ignore": Case(
        ("--exclude-inbound-cidrs", "10.1.0.0/16,192.0.2.1,fd00:1::/64"),
        inbound=(
            _RESERVED,
            _SUBNET.format("10.1.0.0/16"),
            _SUBNET.format("192.0.2.1/32"),
            _ALL_IN,
        ),
        inbound_ip6=(_RESERVED, _SUBNET.format("fd00:1::/64"), _ALL_IN),
    ),
    "a subnet of one family": Case(
        ("--exclude-inbound-cidrs", "10.1.0.0/16"),
        inbound=(_RESERVED, _SUBNET.format("10.1.0.0/16"), _ALL_IN),
        inbound_ip6=(_RESERVED, _ALL_IN),
    ),
    "IPv4 alone": Case(("--ip-families", "ipv4"), families=(Family.IP,)),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("path", [IPTABLES_NFT, IPTABLES_LEGACY], ids=str)
def test_the_kernel_holds_what_linkerd_would_have_put_there(path: RulePath, name: str) -> None:
    case = CASES[name]
    with namespaces("linkerd", "ours") as (theirs, ours):
        for family in case.families:
            put(theirs, path.name, family, case.commands(family))
        dual = () if "--ip-families" in case.flags else ("--ip-families", "dual")
        flags = ("--sheet", "linkerd", *path.flags, *dual, *case.flags)
        done_well("install", *flags, namespace=ours)
        wanted = held(theirs, path.name)
        assert held(ours, path.name) == wanted
        assert len(wanted) == 4 * len(case.families)
