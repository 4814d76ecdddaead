"""What a kernel holds of a mesh, by what it means: comments, counters and our record left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.names import Family
from interceptor.parse import iptables_save, nft_json
from interceptor.record import without_record

if TYPE_CHECKING:
    from interceptor.model import Match, Ruleset
    from tests.lab.netns import Namespace

Held = dict[str, list[object]]
_FAMILIES = {Family.IP: "iptables", Family.IP6: "ip6tables"}


def put(namespace: Namespace, tool: str, family: Family, lines: str) -> None:
    """Give a mesh's own commands to the tool: of table nat, or of nft."""
    if tool == "nftables":
        namespace.run("nft", "-f", "-", stdin=lines)
    else:
        restore = f"{_FAMILIES[family]}-{tool.removeprefix('iptables-')}-restore"
        namespace.run(restore, "--noflush", stdin=f"*nat\n{lines}\nCOMMIT\n")


def held(namespace: Namespace, tool: str) -> Held:
    """Give the rules of each chain that has some, in order."""
    if tool == "nftables":
        return _by_chain(nft_json.parse(namespace.run("nft", "-j", "list", "ruleset")))
    found: Held = {}
    for family, name in _FAMILIES.items():
        text = namespace.run(f"{name}-{tool.removeprefix('iptables-')}-save")
        found |= _by_chain(iptables_save.parse(text, family))
    return found


def _by_chain(ruleset: Ruleset) -> Held:
    return {
        f"{table.family} {table.name} {chain.name}": [
            (tuple(sorted(rule.matches, key=_kind)), rule.action) for rule in chain.rules
        ]
        for table in without_record(ruleset).tables
        for chain in table.chains
        if chain.rules
    }


def _kind(match: Match) -> str:
    return type(match).__name__
