"""A pod that istio-iptables has set up is taken over whole, and given back, on every rule path.

Its rules are put there by the kernel's own tools, as ``tests.lab.istio`` writes them.
"""

from __future__ import annotations

import pytest

from tests.lab.istio import TOOLS, Istio, put
from tests.lab.istio.cases import CASES
from tests.lab.netns import Namespace, namespaces
from tests.lab.paths import RULE_PATHS, RulePath, done_well, dump, interceptor

pytestmark = pytest.mark.root

_INJECTED = CASES["injector dual"].istio
_EVERYTHING = _INJECTED._replace(
    tproxy=True,
    uids="1337,5",
    exclude_interfaces="eth5,eth2",
    virtual_interfaces="vnet1,vnet0",
    drop_invalid=True,
    exclude_cidrs="10.0.0.0/8,fd00::/8",
)
LEFT = {
    "the injector's": _INJECTED,
    "nothing captured": Istio(),
    "everything": _EVERYTHING,
    "interfaces alone": Istio(exclude_interfaces="eth1,eth2"),
    "destinations from within": _EVERYTHING._replace(tproxy=False, include_cidrs="10.1.0.0/16"),
}
_FOREIGN = """\
*nat
:THEIRS - [0:0]
-A PREROUTING -i eth9 -p tcp -j THEIRS
-A OUTPUT -o eth9 -m comment --comment theirs -j RETURN
-A OUTPUT -p udp --dport 53 -j THEIRS
-A THEIRS -p tcp --dport 5 -j REDIRECT --to-ports 6
COMMIT
*mangle
-A PREROUTING -p tcp -m mark --mark 0x99 -j CONNMARK --save-mark
-A OUTPUT -p udp -j MARK --set-mark 0x98
COMMIT
"""


def prepare(namespace: Namespace, tool: str, *, foreign: bool) -> str:
    """Give the namespace addresses and rules of others, and say what it holds then."""
    namespace.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "peer")
    namespace.run("ip", "link", "set", "eth0", "up")
    namespace.sysctl("ipv6/conf/eth0/addr_gen_mode", "1")
    namespace.address("eth0", "10.9.0.1/24", "fd09::1/64")
    if foreign:
        variant = "legacy" if tool.endswith("legacy") else "nft"
        for family in ("iptables", "ip6tables"):
            namespace.run(f"{family}-{variant}-restore", "--noflush", stdin=_FOREIGN)
    return dump(namespace)


@pytest.mark.parametrize("foreign", [False, True], ids=["alone", "among others"])
@pytest.mark.parametrize("left", LEFT)
@pytest.mark.parametrize("tool", TOOLS)
def test_uninstall_knows_what_istio_left(tool: str, left: str, *, foreign: bool) -> None:
    with namespaces("left") as (namespace,):
        before = prepare(namespace, tool, foreign=foreign)
        put(namespace, LEFT[left], tool)
        assert dump(namespace) != before
        done_well("uninstall", namespace=namespace)
        assert dump(namespace) == before
        assert interceptor("status", namespace=namespace).stdout.startswith("absent")


@pytest.mark.parametrize("left", ["the injector's", "everything"])
@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("path", RULE_PATHS, ids=str)
def test_install_replaces_what_istio_left(path: RulePath, tool: str, left: str) -> None:
    with namespaces("left") as (namespace,):
        before = prepare(namespace, tool, foreign=True)
        put(namespace, LEFT[left], tool)
        done = done_well("install", *path.flags, "--mode", "tproxy", namespace=namespace)
        assert "installed" in done.stdout
        taken = dump(namespace)
        assert "ISTIO" not in taken
        assert "istio" not in taken
        assert done_well("status", namespace=namespace).stdout.startswith("in-sync")
        done_well("uninstall", namespace=namespace)
        assert dump(namespace) == before


@pytest.mark.parametrize("path", RULE_PATHS, ids=str)
def test_istio_iptables_takes_over_from_us(path: RulePath) -> None:
    with namespaces("left") as (namespace,):
        before = prepare(namespace, "nft", foreign=False)
        done_well("install", *path.flags, "--mode", "tproxy", namespace=namespace)
        given = ("istio-iptables", "-i", "*", "-b", "*", "--network-namespace", namespace.path)
        done = interceptor(*given, "--native-nftables", "-n")
        assert (done.code, dump(namespace) == before) == (0, False)
        assert interceptor(*given, "--native-nftables").code == 0
        assert "INTERCEPTOR" not in dump(namespace).upper()
        done_well("uninstall", namespace=namespace)
        assert dump(namespace) == before


@pytest.mark.parametrize("tool", TOOLS)
def test_without_a_record_status_asks_what_was_meant(tool: str) -> None:
    with namespaces("left") as (namespace,):
        prepare(namespace, tool, foreign=False)
        put(namespace, _INJECTED, tool)
        done = interceptor("status", namespace=namespace)
        assert done.code == 2
        assert "rules of istio-iptables are here" in done.stderr
        settings = ("--sheet", "istio", "--ip-families", "dual")
        assert done_well("status", *settings, namespace=namespace).stdout.startswith("in-sync")
        done = interceptor(
            "status", *settings, "--exclude-outbound-ports", "9", namespace=namespace
        )
        assert (done.code, "missing-rule" in done.stdout) == (3, True)
