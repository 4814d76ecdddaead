"""``interceptor istio-iptables`` leaves in the kernel what istio-iptables leaves, by each tool.

For every configuration two namespaces with the same addresses: one gets what Istio would feed its
tools (``tests.lab.istio``), one is given to the command with Istio's flags. Then all that can be
listed of the two has to be equal. Left out of the comparison is what decides nothing: counters,
comment lines, who made a route, the order in which chains are declared, and whether an address of
``lo`` would be probed for doubles.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab.istio import TOOLS, put
from tests.lab.istio.cases import CASES
from tests.lab.netns import Namespace, namespaces
from tests.lab.paths import interceptor

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

PARAMETERS = [
    pytest.param(tool, name, id=f"{tool}-{name.replace(' ', '-')}")
    for tool in TOOLS
    for name in CASES
]
_CHOICE = {
    "iptables-nft": ("--force-iptables-binary", "nft"),
    "iptables-legacy": ("--force-iptables-binary=legacy",),
    "nft": ("--native-nftables",),
}


@pytest.mark.parametrize(("tool", "name"), PARAMETERS)
def test_the_kernel_holds_what_istio_would_have_put_there(tool: str, name: str) -> None:
    case = CASES[name]
    with namespaces("istio", "ours") as (theirs, ours), resolv_conf(ours, case.nameservers):
        for namespace in (theirs, ours):
            namespace.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "peer")
            namespace.run("ip", "link", "set", "eth0", "up")
            # Else the kernel adds an address of its own, and when it does so is chance.
            namespace.sysctl("ipv6/conf/eth0/addr_gen_mode", "1")
            namespace.address("eth0", *case.addresses)
        put(theirs, case.istio, tool)
        done = interceptor(
            *("istio-iptables", *case.flags.split(), *_CHOICE[tool]),
            *("--network-namespace", ours.path),
            environment=case.environment,
        )
        assert done.code == 0, done
        assert listing(ours, case.istio.table) == listing(theirs, case.istio.table)


@contextmanager
def resolv_conf(namespace: Namespace, servers: tuple[str, ...]) -> Iterator[None]:
    """Give a namespace name servers of its own, as ip-netns(8) does."""
    directory = Path("/etc/netns", namespace.name)
    directory.mkdir(parents=True)
    file = directory / "resolv.conf"
    file.write_text("".join(f"nameserver {server}\n" for server in servers))
    try:
        yield
    finally:
        file.unlink()
        directory.rmdir()


def listing(namespace: Namespace, table: str) -> dict[str, list[str]]:
    """Give all rules by tool, table and chain, and all that is beside them."""
    found: dict[str, list[str]] = {}
    for tool in ("iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy"):
        found |= _saved(tool, namespace.run(f"{tool}-save"))
    found |= _listed(namespace.run("nft", "--stateless", "list", "ruleset"))
    for command in (
        "ip -4 rule",
        "ip -6 rule",
        f"ip -4 route show table {table}",
        f"ip -6 route show table {table}",
        "ip addr show lo",
    ):
        # A table nobody has put anything in is none: ip fails.
        lines = namespace.run(*command.split(), check=False).splitlines()
        found[command] = [re.sub(r" (proto \w+|nodad)\b", "", line).rstrip() for line in lines]
    return found


def _saved(tool: str, text: str) -> dict[str, list[str]]:
    """Read what iptables-save prints; built-in chains that do nothing are as good as none."""
    found: dict[str, list[str]] = {}
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":"):
            chain, policy = line[1:].split()[:2]
            if policy != "ACCEPT":
                found[f"{tool} {table} {chain}"] = [f"policy {policy}"]
        elif line.startswith("-A"):
            _, chain, rule = line.split(" ", 2)
            found.setdefault(f"{tool} {table} {chain}", []).append(rule)
    return found


def _listed(text: str) -> dict[str, list[str]]:
    """Read nft's listing of tables of family inet; the others are iptables'."""
    found: dict[str, list[str]] = {}
    table = chain = ""
    for line in text.splitlines():
        words = line.split()
        if line.startswith("table"):
            table = " ".join(words[1:3])
        elif line.startswith("\tchain"):
            chain = f"nft {table} {words[1]}"
        elif line.startswith("\t\t") and table.startswith("inet "):
            found.setdefault(chain, []).append(line.strip().replace("counter ", ""))
    return found
