"""Foretell what becomes of packets, send them, and say where the kernel did something else."""

from __future__ import annotations

import shlex
from collections import Counter
from contextlib import closing
from itertools import count
from random import Random
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from interceptor.analysis.packet import (
    LOCALHOST,
    Direct,
    Dropped,
    Fate,
    Packet,
    Redirected,
    Translated,
    Transparent,
)
from interceptor.analysis.walk import Walk, walk, walk_sent
from interceptor.model import Drop, Rule, Ruleset, TProxy
from interceptor.names import Hook
from interceptor.settings import SETTINGS
from tests.lab.differential.configs import settings
from tests.lab.differential.ground import HOSTS, LISTENED, Proxy, new_ground
from tests.lab.differential.kernel import Kernel, Seen
from tests.lab.differential.packets import Maker, SourcePorts, is_of_stranger, show

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from tests.lab.differential.ground import Installed
    from tests.lab.paths import RulePath

_TRIES = 200
"""Settings that contradict one another, and are tried nevertheless."""
_AWAY = 0.15
"""Of configurations, those whose proxy does not listen yet."""


_COMMAND = ("interceptor", "install", "--unproven")


def _flag(key: str, text: str) -> tuple[str, ...]:
    flag = f"--{key.replace('_', '-')}"
    return (flag,) if SETTINGS[key].is_switch else (flag, text)


class Disagreement(NamedTuple):
    """A packet of which the kernel made something else than was foretold."""

    seed: str
    path: RulePath
    installed: Installed
    packet: Packet
    rules: str
    foretold: Walk
    fault: str
    seen: Seen

    def __str__(self) -> str:
        flags = [word for pair in self.installed.settings.items() for word in _flag(*pair)]
        way = [
            f"      {visit.table} {visit.chain} {visit.number}: {visit.rule.action}"
            for visit in self.foretold.path
        ]
        lines = [
            f"seed {self.seed} on {self.path}: {self.fault}",
            f"  config: {shlex.join([*_COMMAND, *self.path.flags, *flags])}",
            f"  packet: {show(self.packet)}",
            f"  foretold from the rules {self.rules}: {self.foretold.fate}, by way of",
            *way,
            f"  the kernel: {self.seen}",
        ]
        return "\n".join(lines)


class Judge:
    """Says for one configuration whether what is seen is what was foretold."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy

    def fault(self, packet: Packet, foretold: Walk, seen: Seen) -> str:
        """Say what the kernel did otherwise; nothing if it did as foretold."""
        if seen.error and seen.error != "EPERM":
            return f"it cannot be sent: {seen.error}"
        fate = self._fate(packet, seen)
        if self._plain(packet, foretold.fate) != self._plain(packet, fate):
            return f"{fate}, not {foretold.fate}"
        # Only what goes where it was sent leaves, and by where it was routed to.
        by = packet.out_interface if packet.uid is not None else seen.left_by
        if seen.left_by and (seen.left_by != by or fate != Direct()):
            return f"{fate}, and it left by {seen.left_by}"
        if seen.track is None or isinstance(fate, Dropped):
            return ""
        zone, mark = foretold.packet.zone or 0, foretold.packet.connection_mark
        if seen.track.zone != zone:
            return f"zone {seen.track.zone}, not {zone}"
        if seen.track.mark != mark:
            return f"connection mark {seen.track.mark:#x}, not {mark:#x}"
        return ""

    def _fate(self, packet: Packet, seen: Seen) -> Fate:
        """Tell from what was seen what became of a packet; what nobody saw go on went nowhere."""
        to = packet.destination, packet.destination_port
        is_here = not seen.left_by
        is_taken = packet.protocol == "tcp" and is_here and seen.answer == "accept"
        if seen.track and seen.track.to != to:
            address, port = seen.track.to
            if is_taken and port != self._proxy.port:
                # It has another destination, but the proxy's socket got it first.
                return Transparent(self._proxy.port)
            if address not in _redirects(packet):
                return Translated(address, port)
            # From localhost, nobody can answer in the name of somebody outside.
            is_mute = packet.protocol == "udp" or is_of_stranger(packet)
            return Redirected(port) if is_mute or seen.answer else Dropped()
        if is_taken:
            return Transparent(self._proxy.port)
        came_through = bool(seen.answer or seen.left_by)
        if packet.protocol == "udp":
            came_through = came_through or seen.track is not None
        return Direct() if came_through else Dropped()

    def _plain(self, packet: Packet, fate: Fate) -> Fate:
        """Take for one what ends in the same: to be sent where one already goes."""
        port = packet.destination_port
        match fate:
            case Redirected(to) if to == port and packet.destination in _redirects(packet):
                return Direct()
            case Transparent(to) if to == port and packet.destination in LISTENED:
                return Direct()
            case _:
                return fate


def _redirects(packet: Packet) -> tuple[object, ...]:
    """Give where a redirect may take a packet: to localhost, or where it came in."""
    if packet.uid is not None:
        return (LOCALHOST[packet.family],)
    return (HOSTS[packet.in_interface][packet.source.version],)


def foretell(rules: Ruleset, packet: Packet, language: str) -> Walk:
    """Say what becomes of a packet."""
    if packet.uid is None:
        return walk(rules, Hook.PREROUTING, packet, language)
    return walk_sent(rules, packet, language)


def same(rules: Ruleset) -> Ruleset:
    """Change nothing."""
    return rules


def changed(rules: Ruleset, change: Callable[[Rule], Rule | None]) -> Ruleset:
    """Change every rule, or leave it out."""
    tables = []
    for table in rules.tables:
        chains = []
        for chain in table.chains:
            kept = tuple(found for rule in chain.rules if (found := change(rule)) is not None)
            chains.append(msgspec.structs.replace(chain, rules=kept))
        tables.append(msgspec.structs.replace(table, chains=tuple(chains)))
    return msgspec.structs.replace(rules, tables=tuple(tables))


def without_proxy(rules: Ruleset, language: str) -> Ruleset:
    """Give rules that do what these do as long as nobody listens for TPROXY.

    iptables' drops then (tproxy_tg4 in xt_TPROXY.c); nft's goes on with the next rule
    (nft_tproxy_eval_v4 in nft_tproxy.c).
    """

    def change(rule: Rule) -> Rule | None:
        if not isinstance(rule.action, TProxy):
            return rule
        is_dropped = language == "iptables"
        return msgspec.structs.replace(rule, action=Drop()) if is_dropped else None

    return changed(rules, change)


class Round(NamedTuple):
    """What one configuration was put to: how many packets, and what was wrong of them.

    ``fates`` counts what was foretold, by its kind.
    """

    installed: Installed
    packets: int
    wrong: list[Disagreement]
    fates: Counter[str]


def seeds(seed: str) -> Iterator[str]:
    """Give the seeds of configurations that come from one."""
    return (f"{seed}/{number}" for number in count())


def rounds(
    path: RulePath,
    chosen: Iterable[str],
    packets: int,
    per_config: int,
    change: Callable[[Ruleset], Ruleset] = same,
    patience_s: float = 2.0,
) -> Generator[Round, None, None]:
    """Put packets to random configurations.

    Args:
        path: where the rules are installed.
        chosen: a seed for each configuration and its packets; the same gives the same.
        packets: how many there are to be, at most.
        per_config: how many of them each configuration gets.
        change: makes the rules that are foretold from of those the kernel shows.
        patience_s: how long to wait for what was foretold.
    """
    sources = SourcePorts()
    with new_ground(path) as ground, closing(Kernel(ground, patience_s)) as kernel:
        for seed in chosen:
            if packets <= 0:
                break
            random = Random(seed)
            tries = (ground.install(settings(random)) for _ in range(_TRIES))
            installed = next(found for found in tries if found is not None)
            kernel.forget()
            is_away = random.random() < _AWAY
            with closing(Proxy(ground, installed.config, is_away=is_away)) as proxy:
                maker = Maker(random, installed.config, kernel.routes, sources)
                made = maker.packets(min(per_config, packets))
                setting = _Setting(seed, path, installed, proxy, change)
                yield _round(setting, made, kernel)
            packets -= len(made)
        ground.uninstall()


class _Setting(NamedTuple):
    """What packets are put to."""

    seed: str
    path: RulePath
    installed: Installed
    proxy: Proxy
    change: Callable[[Ruleset], Ruleset]

    def foretell(self, packets: list[Packet]) -> list[dict[str, Walk]]:
        """Say of each packet what becomes of it, from either of the rules."""
        installed = self.installed
        rules = {"meant": installed.meant, "held": self.change(installed.held)}
        if self.proxy.is_away:
            rules = {k: without_proxy(held, installed.language) for k, held in rules.items()}
        return [
            {
                name: foretell(held, packet, installed.language)
                for name, held in rules.items()
                if name == "held" or packet.family in installed.families
            }
            for packet in packets
        ]


def _round(setting: _Setting, packets: list[Packet], kernel: Kernel) -> Round:
    foretold = setting.foretell(packets)
    judge = Judge(setting.proxy)

    def is_plausible(number: int, seen: Seen) -> bool:
        packet, walks = packets[number], foretold[number].values()
        return not any(judge.fault(packet, one, seen) for one in walks)

    found = kernel.meet(packets, setting.proxy, is_plausible)
    wrong = [
        Disagreement(
            setting.seed, setting.path, setting.installed, packet, rules, one, fault, seen
        )
        for packet, walks, seen in zip(packets, foretold, found, strict=True)
        for rules, one in walks.items()
        if (fault := judge.fault(packet, one, seen))
    ]
    fates = Counter(type(walks["held"].fate).__name__ for walks in foretold)
    return Round(setting.installed, len(packets), wrong, fates)
