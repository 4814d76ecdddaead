"""``--sheet kuma`` leaves in the kernel what Kuma leaves there, rule for rule, also among others'.

For every configuration two namespaces: one gets the text Kuma feeds iptables-restore
(``tests.lab.kuma``), one our rules. Then all rules of all tables have to be equal, in their order,
without our comments and record. How Kuma writes some ports is put as the kernel prints ours: a
multiport of several as a rule for each, one of all ports as none.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.lab.kuma import CASES, FAMILIES
from tests.lab.netns import Namespace, namespaces
from tests.lab.paths import IPTABLES_LEGACY, IPTABLES_NFT, RulePath, done_well

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

_COMMENT = re.compile(r"-m comment --comment (?:\"[^\"]*\"|\S+) ")
_MULTIPORT = re.compile(r" -m multiport --dports (\S+)")
_FOREIGN = """\
*nat
:DOCKER_OUTPUT - [0:0]
-A OUTPUT -d 127.0.0.11/32 -j DOCKER_OUTPUT
-A PREROUTING -i eth9 -p tcp -j RETURN
-A DOCKER_OUTPUT -d 127.0.0.11/32 -p tcp -j DNAT --to-destination 127.0.0.11:4053
COMMIT
"""


@pytest.mark.parametrize("path", [IPTABLES_NFT, IPTABLES_LEGACY], ids=str)
@pytest.mark.parametrize("name", CASES)
def test_the_kernel_holds_what_kuma_would_have_put_there(path: RulePath, name: str) -> None:
    case = CASES[name]
    families = () if case.only_ip else ("--ip-families", "dual")
    flags = (*case.flags, *families, *path.flags)
    variant = path.name.removeprefix("iptables-")
    with namespaces("kuma", "ours") as (theirs, ours):
        ours.resolv_conf("".join(f"nameserver {server}\n" for server in case.resolvers))
        for namespace in (theirs, ours):
            namespace.run(f"iptables-{variant}-restore", "--noflush", stdin=_FOREIGN)
        for tool in FAMILIES:
            text = case.text(tool)
            if text:
                theirs.run(f"{tool}-{variant}-restore", "--noflush", stdin=text)
        done_well("install", "--sheet", "kuma", *flags, namespace=ours)
        for tool in FAMILIES:
            saved = f"{tool}-{variant}-save"
            assert held(ours, saved) == held(theirs, saved), tool


def held(namespace: Namespace, tool: str) -> dict[str, list[str]]:
    """Give the rules by table and chain, without the comments and without our record."""
    found: dict[str, list[str]] = {}
    table = ""
    for line in namespace.run(tool).splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":") and line.split()[1] == "-":
            found.setdefault(f"{table} {line[1:].split()[0]}", [])
        elif line.startswith("-A"):
            _, chain, rule = line.split(" ", 2)
            found.setdefault(f"{table} {chain}", []).extend(_plain(rule))
    return {name: rules for name, rules in found.items() if "RECORD" not in name}


def _plain(rule: str) -> Iterator[str]:
    rule = _COMMENT.sub("", rule)
    ports = _MULTIPORT.search(rule)
    if ports is None:
        yield rule
        return
    protocol = rule.partition("-p ")[2].split()[0]
    for port in ports[1].split(","):
        said = "" if port == "1:65535" else f" -m {protocol} --dport {port}"
        yield rule.replace(ports[0], said)
