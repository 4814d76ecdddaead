"""How a mesh names its things in each kernel language, which is also how they are found again."""

from __future__ import annotations

import msgspec

OWN_PREFIX = "INTERCEPTOR_"
OWN_TABLE = "interceptor"
RECORD = "RECORD"


class Dialect(msgspec.Struct, frozen=True):
    """The names of one sheet.

    ``prefix`` begins the name of each of its iptables chains; a chain that begins so is ours to
    change and remove. ``nft_tables`` says, for each iptables table the sheet has rows in, which
    nft table of family inet those go to; such a table is ours as a whole.
    """

    prefix: str
    nft_tables: dict[str, str]

    def owns_chain(self, name: str) -> bool:
        """Whether an iptables chain is ours."""
        return name.startswith(self.prefix)

    def owns_table(self, name: str) -> bool:
        """Whether an nft table of family inet is ours."""
        return name in self.nft_tables.values()

    @property
    def record_chain(self) -> str:
        """The iptables chain that holds what was recorded at install."""
        return self.prefix + RECORD

    def nft_chain(self, table: str, chain: str, *, base: bool) -> str:
        """Name a chain in nft: as in iptables in small letters, so that it is found by both.

        A base chain is named by its hook, and by the iptables table where several share one nft
        table. The prefix stays: ``redirect`` alone would be a word of nft's own language.
        """
        name = chain.lower().replace("_", "-")
        shared = list(self.nft_tables.values()).count(self.nft_tables[table]) > 1
        return f"{table}-{name}" if base and shared else name


OWN = Dialect(OWN_PREFIX, dict.fromkeys(("raw", "mangle", "nat"), OWN_TABLE))
"""The names of ``sidecar`` and of every sheet a user writes."""
