"""What is there: the facts about a host and its namespace that rules depend on, as a value.

``system.host`` observes them; everything that decides takes them as an argument.
"""

from __future__ import annotations

import msgspec

from interceptor.values import Networks


class HostFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Facts that ``sheets.build`` needs.

    ``has_ipv6`` is whether an interface other than ``lo`` has an IPv6 address that is not
    link-local, so that connections over IPv6 can leave or reach the namespace. ``users`` and
    ``groups`` hold the ids of the names a ``Config`` mentions, as far as this host knows them.
    ``resolvers`` are the name servers the namespace's processes ask, if a ``Config`` wants to
    know.
    """

    has_ipv6: bool = True
    users: dict[str, int] = {}
    groups: dict[str, int] = {}
    resolvers: Networks = Networks()
