"""How a sheet names its things in a kernel, and by which names ours are found again.

The two are apart on purpose. Naming belongs to a sheet; ownership belongs to the program:
``status`` and ``uninstall`` must find what any sheet, version or configuration left, without it.
"""

from __future__ import annotations

from ipaddress import IPv6Address

import msgspec

from interceptor.names import PRIORITIES, Family

OWN_PREFIX = "INTERCEPTOR_"
OWN_TABLE = "interceptor"
TRACE_PREFIX = "interceptor-trace-"
"""Of the tables that ``interceptor trace`` has while it runs."""
ISTIO_PREFIX = "ISTIO_"
_ISTIO_TABLES = ("istio-proxy-raw", "istio-proxy-mangle", "istio-proxy-nat")
RECORD_CHAIN = "INTERCEPTOR_RECORD"


def nft_name(chain: str) -> str:
    """Name an iptables chain in nft: in small letters, so that people find it by both names.

    The prefix stays: ``redirect`` alone would be a word of nft's own language.
    """
    return chain.lower().replace("_", "-")


RECORD_CHAINS = (RECORD_CHAIN, nft_name(RECORD_CHAIN))
"""The record's chain, in iptables and in nft."""


class Dialect(msgspec.Struct, frozen=True):
    """The names of one sheet: which nft table of family inet its iptables tables go to.

    ``verbatim`` is whether its rules are to be as another mesh's own tool leaves them: without
    comments and record, and in nft without regard to the families that were chosen.
    """

    nft_tables: dict[str, str]
    verbatim: bool = False

    def nft_chain(self, table: str, chain: str, *, base: bool) -> str:
        """Name a chain in nft.

        A base chain is named by its hook, and by the iptables table where several share one nft
        table.
        """
        shared = list(self.nft_tables.values()).count(self.nft_tables[table]) > 1
        return f"{table}-{nft_name(chain)}" if base and shared else nft_name(chain)


class Ownership(msgspec.Struct, frozen=True):
    """Names that make a thing in a kernel ours: to change, to report on, to remove."""

    chain_prefixes: tuple[str, ...]
    nft_tables: tuple[str, ...]

    def owns_chain(self, name: str) -> bool:
        """Whether an iptables chain is ours."""
        return name.startswith(self.chain_prefixes)

    def owns_table(self, name: str) -> bool:
        """Whether an nft table of family inet is ours, as a whole."""
        return name in self.nft_tables or name.startswith(TRACE_PREFIX)


OWN = Dialect(dict.fromkeys(PRIORITIES, OWN_TABLE))
"""The naming of ``sidecar`` and of every sheet a user writes."""

OURS = Ownership((OWN_PREFIX, ISTIO_PREFIX), (OWN_TABLE, *_ISTIO_TABLES))
"""What is ours. What istio-iptables leaves is, too: a pod is intercepted by one or the other, and
whoever takes it over replaces all of it.
"""


PASSTHROUGH_IP6 = IPv6Address("::6")
"""The address of ``lo`` that Istio's proxy, and ours, hands IPv6 connections over from."""


def is_tracers(family: Family, table: str) -> bool:
    """Whether an nft table is one that ``interceptor trace`` makes."""
    return family is Family.INET and table.startswith(TRACE_PREFIX)


def is_istios(name: str) -> bool:
    """Whether a chain of iptables, or a table of nft, is one istio-iptables makes."""
    return name.startswith(ISTIO_PREFIX) or name in _ISTIO_TABLES
