"""Who has to answer the datagrams that rules take to a port here, for answers to come back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from interceptor.analysis.packet import LOCALHOST, Packet, Redirected
from interceptor.analysis.walk import walk_sent
from interceptor.names import LOOPBACK_INTERFACE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interceptor.model import Ruleset
    from interceptor.verify.named import Identity


def answerers(
    ruleset: Ruleset,
    queries: Sequence[Packet],
    named: Sequence[Identity],
    able: Sequence[Identity],
) -> dict[int, Identity | None]:
    """Give for each port that queries are redirected to who is to listen there.

    Conntrack knows an answer only in the zone of its query, and it is by their sender that rules
    tell the proxy's answers from other datagrams. ``None`` is that this process cannot act as any
    of those who might answer.

    Args:
        ruleset: the policy's rules.
        queries: packets as the app sends them.
        named: who may answer, the likeliest first.
        able: those of them this process can act as; at least one.
    """
    found: dict[int, Identity | None] = {}
    for query in queries:
        asked = walk_sent(ruleset, query)
        if isinstance(asked.fate, Redirected) and asked.fate.port not in found:
            port, zone = asked.fate.port, asked.packet.zone or 0
            fitting = [who for who in named if _zone(ruleset, query, port, who) == zone]
            # Where nobody fits, the rules are wrong: then it is to be seen that they are.
            who = [one for one in fitting or able if one in able]
            found[port] = who[0] if who else None
    return found


def _zone(ruleset: Ruleset, query: Packet, port: int, who: Identity) -> int:
    """Give the zone of somebody's answer to a query that was redirected to a port."""
    answer = msgspec.structs.replace(
        query,
        source=LOCALHOST[query.family],
        source_port=port,
        destination=query.source,
        destination_port=query.source_port,
        uid=who.uid,
        gid=who.gid,
        mark=who.mark,
        out_interface=LOOPBACK_INTERFACE,
    )
    return walk_sent(ruleset, answer).packet.zone or 0
