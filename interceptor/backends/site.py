"""One network namespace: what each kernel language in it holds, looked at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.backends.select import (
    IPTABLES_LEGACY,
    IPTABLES_NFT,
    NFTABLES,
    Seen,
    choose,
    holders,
)
from interceptor.errors import HostError, InterceptorError
from interceptor.model import Ruleset, Table
from interceptor.names import Family
from interceptor.record import Record
from interceptor.system import facts
from interceptor.system.command import find

if TYPE_CHECKING:
    from interceptor.backends.interface import Backend
    from interceptor.config import Config
    from interceptor.dialect import Dialect
    from interceptor.system.deadline import Deadline


class Site:
    """The namespace this thread is in, for one dialect.

    Looking is lazy and cheap: one ``nft list`` also tells whether iptables-nft holds anything,
    and iptables-legacy is only asked in a namespace that has its tables.

    Args:
        dialect: the names by which ours are known.
        deadline: for every look.
        legacy_lock: a file for iptables-legacy to lock, see ``lock.private_xtables_lock``.
        in_process: ask libiptc about iptables-legacy, see ``libiptc``.
    """

    def __init__(
        self,
        dialect: Dialect,
        deadline: Deadline,
        *,
        legacy_lock: str | None = None,
        in_process: bool = False,
    ) -> None:
        self._in_process = in_process
        self._dialect = dialect
        self._deadline = deadline
        self._observed: dict[str, Ruleset] = {}
        self._legacy_lock = legacy_lock
        self._backends: dict[str, Backend] = {}

    def backend(self, name: str) -> Backend:
        """Give a backend; those that are not needed are not even imported."""
        if name not in self._backends:
            self._backends[name] = self._make(name)
        return self._backends[name]

    def _make(self, name: str) -> Backend:
        if name == NFTABLES:
            from interceptor.backends.nftables import NftablesBackend

            return NftablesBackend(self._dialect)
        from interceptor.backends.iptables import IptablesBackend

        if name == IPTABLES_NFT:
            return IptablesBackend("nft", self._dialect)
        return IptablesBackend(
            "legacy", self._dialect, legacy_lock=self._legacy_lock, in_process=self._in_process
        )

    def observed(self, name: str) -> Ruleset:
        """Give all that one language holds, read at the first call."""
        if name not in self._observed:
            self._observed[name] = self.backend(name).observe(self._deadline)
        return self._observed[name]

    def own(self, name: str) -> Ruleset:
        """Give what of that is ours."""
        return self.backend(name).own(self.observed(name))

    def rules(self, name: str) -> Ruleset:
        """Give what of ours is rules, without the record of the installation."""
        return self.without_record(self.own(name))

    def without_record(self, ruleset: Ruleset) -> Ruleset:
        """Leave the record's chain out."""
        return without_chains(ruleset, self._record_chains())

    def record(self, name: str) -> Record | None:
        """Give what was recorded when ours was installed."""
        own = self.own(name)
        records = (Record.find(own, chain) for chain in self._record_chains())
        return next((record for record in records if record), None)

    def _record_chains(self) -> tuple[str, str]:
        chain = self._dialect.record_chain
        return chain, self._dialect.nft_chain("nat", chain, base=False)

    def seen(self) -> dict[str, Seen]:
        """Look at every language as cheaply as its answer allows."""
        nftables = self._look(NFTABLES)
        if nftables.error is None and not self._compat_tables():
            iptables_nft = self._empty(IPTABLES_NFT)
        else:
            iptables_nft = self._look(IPTABLES_NFT)
        if facts.legacy_tables(ipv6=False) or facts.legacy_tables(ipv6=True):
            iptables_legacy = self._look(IPTABLES_LEGACY)
        else:
            iptables_legacy = self._empty(IPTABLES_LEGACY)
        return {
            NFTABLES: nftables,
            IPTABLES_NFT: iptables_nft,
            IPTABLES_LEGACY: iptables_legacy,
        }

    def _compat_tables(self) -> bool:
        """Whether there is any table that iptables-nft may have made."""
        return any(table.family is not Family.INET for table in self.observed(NFTABLES).tables)

    def _empty(self, name: str) -> Seen:
        """See a language that has no tables here: all that counts is whether it is installed."""
        if find(f"{name}-restore") and facts.has_capability(facts.CAP_NET_ADMIN):
            return Seen()
        return self._look(name)

    def _look(self, name: str) -> Seen:
        backend = self.backend(name)
        if not facts.has_capability(facts.CAP_NET_ADMIN):
            return Seen(
                HostError(
                    "this process may not look at or change rules: it lacks CAP_NET_ADMIN",
                    hint="run as root, or give the container the NET_ADMIN capability",
                )
            )
        try:
            if Family.IP not in backend.families():
                tool = "nft" if name == NFTABLES else name
                raise HostError(
                    f"there is no {tool} on this host",
                    hint="install nftables or iptables, whichever the kernel has",
                )
            observed = self.observed(name)
        except InterceptorError as error:
            return Seen(error)
        return Seen(
            holds_rules=any(c.rules for table in observed.tables for c in table.chains),
            holds_ours=bool(backend.own(observed).tables),
        )

    def choose(self, config: Config) -> Backend:
        """Choose the backend to install with."""
        return self.backend(choose(config.backend, config.iptables_variant, self.seen()))

    def holders(self) -> list[str]:
        """Name the languages that hold rules of ours."""
        return holders(self.seen())

    def unseen(self) -> tuple[str, ...]:
        """Say which languages could not be looked at, and why."""
        return tuple(seen.error.message for seen in self.seen().values() if seen.error)

    def check_families(self, backend: Backend, family: Family) -> None:
        """Refuse rules for a family that this host has no way to hold.

        Raises:
            HostError: IPv6 is asked for and the kernel or the tools lack it.
        """
        if Family.IP6 not in family.members or Family.IP6 in backend.families():
            return
        missing = "the kernel has no IPv6" if not facts.kernel_has_ipv6() else "no ip6tables here"
        raise HostError(
            f"IPv6 cannot be intercepted: {missing}",
            hint="enable IPv6 on this host, or say --ip-families ipv4",
        )


def without_chains(ruleset: Ruleset, names: tuple[str, ...]) -> Ruleset:
    """Give the tables without the chains of these names."""
    return Ruleset(
        tuple(
            Table(table.family, table.name, tuple(c for c in table.chains if c.name not in names))
            for table in ruleset.tables
        )
    )
