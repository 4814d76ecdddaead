"""Rules in the order they are recorded, and the texts Istio makes of them for kernel tools."""

from __future__ import annotations

from typing import NamedTuple

V4, V6 = 4, 6
_IP = {V4: "ip", V6: "ip6"}
_BUILT_IN = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")

Each = dict[int, str]
"""One address for each family."""


class _Rule(NamedTuple):
    where: str
    words: str
    at: int
    """The place to insert it at, from 1; 0 is the end."""

    @property
    def table(self) -> str:
        """As iptables calls it."""
        return self.where.split()[0]

    @property
    def chain(self) -> str:
        """Likewise."""
        return self.where.split()[1]


class Rules:
    """A list of rules for each family of iptables, and one for nft; ``-I`` as it is said."""

    def __init__(self, families: tuple[int, ...]) -> None:
        self.families = families
        self.iptables: dict[int, list[_Rule]] = {V4: [], V6: []}
        self.nft: list[_Rule] = []

    def both(
        self, where: str, iptables: str, nft: str, each: Each | None = None, at: int = 0
    ) -> None:
        """Record a rule for iptables and for nft.

        Args:
            where: table and chain, as iptables calls them.
            iptables: the rule's words, with ``{}`` for its address.
            nft: its words there, with ``{ip}`` for ``ip`` or ``ip6`` too.
            each: its address in each family it is for; without, it has none and is for all.
            at: where to insert it, from 1.
        """
        self.for_iptables(where, iptables, each, at=at)
        self.for_nft(where, nft, each, at=at)

    def for_iptables(self, where: str, words: str, each: Each | None = None, at: int = 0) -> None:
        """Record it in the list of each family that is on."""
        for version in self.families:
            if each is None or version in each:
                address = each[version] if each else ""
                said = words.replace("{}", address)
                self.iptables[version].append(_Rule(where, said, at))

    def for_nft(self, where: str, words: str, each: Each | None = None, at: int = 0) -> None:
        """Record it once, or once for each address of a family that is on."""
        if each is None:
            self.nft.append(_Rule(where, words, at))
            return
        for version in self.families:
            if version in each:
                said = words.replace("{ip}", _IP[version]).replace("{}", each[version])
                self.nft.append(_Rule(where, said, at))

    def restore_text(self, version: int) -> str:
        """Give what ``iptables-restore --noflush`` or ``ip6tables-restore`` is fed."""
        lines: list[str] = []
        rules = self.iptables[version]
        for table in sorted({rule.table for rule in rules}):
            inside = [rule for rule in rules if rule.table == table]
            targets = [rule.words.rpartition("-j ")[2].split()[0] for rule in inside]
            chains = [*(r.chain for r in inside), *(t for t in targets if t.startswith("ISTIO_"))]
            lines.append(f"* {table}")
            lines += [f"-N {chain}" for chain in dict.fromkeys(chains) if chain not in _BUILT_IN]
            lines += [
                f"-I {rule.chain} {rule.at} {rule.words}"
                if rule.at
                else f"-A {rule.chain} {rule.words}"
                for rule in inside
            ]
            lines.append("COMMIT")
        return "".join(f"{line}\n" for line in lines)

    def nft_text(self) -> str:
        """Give what ``nft -f -`` is fed."""
        lines: list[str] = []
        for table, chains in _NFT_CHAINS.items():
            inside = [rule for rule in self.nft if rule.table == table]
            if not inside:
                continue
            name = f"inet istio-proxy-{table}"
            lines += [f"add table {name}", f"flush table {name}"]
            lines += [
                f"add chain {name} {_nft_name(chain)}{base}"
                for chain, base in chains.items()
                if any(rule.chain == chain for rule in inside)
            ]
            held = dict.fromkeys(chains, 0)
            for rule in inside:
                place = f"{name} {_nft_name(rule.chain)}"
                # nft counts from 0, and cannot insert behind the last.
                if 0 < rule.at <= held[rule.chain]:
                    lines.append(f"insert rule {place} index {rule.at - 1} {rule.words}")
                else:
                    lines.append(f"add rule {place} {rule.words}")
                held[rule.chain] += 1
        return "".join(f"{line}\n" for line in lines)


def _base(kind: str, hook: str, priority: int) -> str:
    return f" {{ type {kind} hook {hook} priority {priority} ; }}"


_NFT_CHAINS = {
    "nat": {
        "PREROUTING": _base("nat", "prerouting", -100),
        "OUTPUT": _base("nat", "output", -100),
        "ISTIO_INBOUND": "",
        "ISTIO_REDIRECT": "",
        "ISTIO_IN_REDIRECT": "",
        "ISTIO_OUTPUT": "",
        "ISTIO_OUTPUT_DNS": "",
    },
    "mangle": {
        "PREROUTING": _base("filter", "prerouting", -150),
        "OUTPUT": _base("route", "output", -150),
        "ISTIO_DIVERT": "",
        "ISTIO_TPROXY": "",
        "ISTIO_INBOUND": "",
        "ISTIO_DROP": "",
    },
    "raw": {
        "PREROUTING": _base("filter", "prerouting", -300),
        "OUTPUT": _base("filter", "output", -300),
        "ISTIO_INBOUND": "",
        "ISTIO_OUTPUT_DNS": "",
    },
}
"""Chains in the order they are added, those of a hook with what ties them to it."""


def _nft_name(chain: str) -> str:
    return chain.lower().replace("_", "-")
