"""What is there: the facts about a host and its namespace that rules depend on, as a value.

``system.host`` observes them; everything that decides takes them as an argument.
"""

from __future__ import annotations

import msgspec

from interceptor.values import Networks

IdMap = tuple[tuple[int, int, int], ...]
"""First id inside, first id of the machine, and how many follow (user_namespaces(7))."""

ALL_IDS: IdMap = ((0, 0, 2**32 - 1),)


class PodFacts(msgspec.Struct, frozen=True):
    """What there is of a pod.

    Args:
        own: its addresses but those of loopback; what it sends to them stays in it.
        source4: where its connections to the world come from.
        source6: likewise for IPv6; both ``""`` if it cannot reach the world.
        users: ids in the user namespace that owns its network namespace. The kernel tells
            programs ids of the machine; settings and iptables mean those of the pod.
        groups: likewise.
    """

    own: Networks = Networks()
    source4: str = ""
    source6: str = ""
    users: IdMap = ALL_IDS
    groups: IdMap = ALL_IDS


class HostFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Facts that ``sheets.build`` needs.

    ``has_ipv6`` is whether an interface other than ``lo`` has an IPv6 address that is not
    link-local, so that connections over IPv6 can leave or reach the namespace. ``users`` and
    ``groups`` hold the ids of the names a ``Config`` mentions, as far as this host knows them.
    ``resolvers`` are the name servers the namespace's processes ask, if a ``Config`` wants to
    know. ``pod`` is what programs at sockets have to know beside, ``None`` where nobody asks.
    """

    has_ipv6: bool = True
    users: dict[str, int] = {}
    groups: dict[str, int] = {}
    resolvers: Networks = Networks()
    pod: PodFacts | None = None
