"""Which of our sheets to compare with what a mesh's own tool left.

Pure. Istio's chains have had the same names since its first version, so its generations are told
apart by what is in them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.dialect import ISTIO
from interceptor.model import Gid, Jump, OutInterface, Return, Uid
from interceptor.names import LOOPBACK_INTERFACE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.dialect import Mesh
    from interceptor.model import Rule, Ruleset, Table

_FIRST_COMMENT = "istio/"
"""Begins the comments of Istio before 0.8; later ones wrote none."""

_AMBIENT_TABLES, _AMBIENT_CHAIN = "istio-ambient-", "ISTIO_PRERT"


def sheet_left(mesh: Mesh, own: Ruleset) -> str:
    """Name the sheet whose rules are those that a mesh's tool left among ours."""
    first, *_ = mesh.sheets
    if mesh is not ISTIO:
        return first
    if any(_is_ambients(table) for table in own.tables):
        return "ambient"
    if any(rule.why.startswith(_FIRST_COMMENT) for rule in _rules(own)):
        return "istio-0.1"
    return "istio-1.5" if _is_1_5(own) else first


def _is_ambients(table: Table) -> bool:
    """Whether a table is nft's of ambient mode, or has its chain for what comes in."""
    return table.name.startswith(_AMBIENT_TABLES) or table.chain(_AMBIENT_CHAIN) is not None


def _is_1_5(own: Ruleset) -> bool:
    """Whether its chain for what is sent does not ask who it is that calls the pod by ``lo``.

    Later ones do, of each user and group of the proxy: theirs go inbound, others' nowhere.
    """
    by_lo = [
        rule
        for rule in _rules(own, f"{ISTIO.chains[0]}OUTPUT")
        if any(isinstance(match, OutInterface) and _is_lo(match) for match in rule.matches)
    ]
    asks_who = any(isinstance(match, Uid | Gid) for rule in by_lo for match in rule.matches)
    return not asks_who and any(isinstance(rule.action, Jump | Return) for rule in by_lo)


def _is_lo(match: OutInterface) -> bool:
    return match.interfaces.names == (LOOPBACK_INTERFACE,) and not match.negated


def _rules(own: Ruleset, chain: str = "") -> Iterator[Rule]:
    """Give the rules of all chains, or of those of one name."""
    for table in own.tables:
        for one in table.chains:
            if chain in ("", one.name):
                yield from one.rules
