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
CALL_COMMENT = "interceptor: "
"""Begins the comment of a rule of ours in a built-in chain that calls no chain of ours: by it such
a rule of iptables is found again.
"""
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

    ``nft_chains`` are the names of chains that are called otherwise there. If only one family is
    intercepted, base chains ask for it in each rule, or the ``other_family_returns`` first.
    """

    nft_tables: dict[str, str]
    verbatim: bool = False
    nft_chains: dict[str, str] = {}
    other_family_returns: bool = False

    def nft_chain(self, table: str, chain: str, *, base: bool) -> str:
        """Name a chain in nft.

        Unless it has a name of its own, a base chain is named by its hook, and by the iptables
        table where several share one nft table.
        """
        if chain in self.nft_chains:
            return self.nft_chains[chain]
        shared = list(self.nft_tables.values()).count(self.nft_tables[table]) > 1
        return f"{table}-{nft_name(chain)}" if base and shared else nft_name(chain)


class Mesh(msgspec.Struct, frozen=True, kw_only=True):
    """What a mesh's own tool leaves in a kernel, and how that is known.

    Args:
        name: of the mesh.
        tool: what leaves it, for people.
        sheets: those of ours that make chains of these names too, with our comments and record;
            the first is the one to compare with what the tool left, unless
            ``backends.generations`` knows better.
        chains: prefixes of its chains' names.
        nft_tables: of family inet, that are its as a whole.
        comment: begins the comments of its rules in built-in chains; "" if it writes none.
        leaves_address: whether ``PASSTHROUGH_IP6`` on ``lo`` is its as well.
    """

    name: str
    tool: str
    sheets: tuple[str, ...]
    chains: tuple[str, ...]
    nft_tables: tuple[str, ...] = ()
    comment: str = ""
    leaves_address: bool = False

    def owns(self, name: str) -> bool:
        """Whether a chain of iptables, or a table of nft, is one it makes."""
        return name.startswith(self.chains) or name in self.nft_tables

    def owns_comment(self, why: str) -> bool:
        """Whether a rule in a built-in chain with this comment is one it makes."""
        return bool(self.comment) and why.startswith(self.comment)


ISTIO = Mesh(
    name="istio",
    tool="istio-iptables",
    sheets=("istio", "istio-1.5", "istio-0.1", "ambient", "ambient-host"),
    chains=("ISTIO_",),
    nft_tables=("istio-proxy-raw", "istio-proxy-mangle", "istio-proxy-nat"),
    leaves_address=True,
)
OSM = Mesh(name="osm", tool="osm-init", sheets=("osm",), chains=("OSM_PROXY_",))

MESHES = (
    ISTIO,
    OSM,
    Mesh(
        name="linkerd",
        tool="linkerd-init",
        sheets=("linkerd",),
        chains=("PROXY_INIT_",),
        comment="proxy-init/",
    ),
    Mesh(
        name="kuma",
        tool="kumactl",
        sheets=("kuma",),
        chains=("KUMA_MESH_",),
        comment="kuma/mesh/transparent/proxy",
        leaves_address=True,
    ),
    Mesh(
        name="consul",
        tool="consul connect redirect-traffic",
        sheets=("consul",),
        chains=("CONSUL_PROXY_", "CONSUL_DNS_", "CONSUL_NAT_"),
        nft_tables=("consul_tproxy",),
    ),
)
"""Meshes whose place we take: a pod is intercepted by one or the other, and whoever takes it over
replaces all of it. Rules that stand in built-in chains without a comment are known by their form,
see ``backends.ownership``.
"""


class Ownership(msgspec.Struct, frozen=True):
    """Names that make a thing in a kernel ours: to change, to report on, to remove."""

    chain_prefixes: tuple[str, ...]
    nft_tables: tuple[str, ...]
    comments: tuple[str, ...] = ()

    def owns_chain(self, name: str) -> bool:
        """Whether an iptables chain is ours."""
        return name.startswith(self.chain_prefixes)

    def owns_comment(self, why: str) -> bool:
        """Whether a rule in a built-in chain of iptables is ours by its comment."""
        return why.startswith(self.comments)

    def owns_table(self, name: str) -> bool:
        """Whether an nft table of family inet is ours, as a whole."""
        return name in self.nft_tables or name.startswith(TRACE_PREFIX)


OWN = Dialect(dict.fromkeys(PRIORITIES, OWN_TABLE))
"""The naming of ``sidecar`` and of every sheet a user writes."""

OURS = Ownership(
    (OWN_PREFIX, *(prefix for mesh in MESHES for prefix in mesh.chains)),
    (OWN_TABLE, *(table for mesh in MESHES for table in mesh.nft_tables)),
    (CALL_COMMENT, *(mesh.comment for mesh in MESHES if mesh.comment)),
)
"""What is ours. What another mesh's tool leaves is, too: see ``MESHES``."""


PASSTHROUGH_IP6 = IPv6Address("::6")
"""The address of ``lo`` that Istio's proxy, and ours, hands IPv6 connections over from."""


def is_tracers(family: Family, table: str) -> bool:
    """Whether an nft table is one that ``interceptor trace`` makes."""
    return family is Family.INET and table.startswith(TRACE_PREFIX)
