"""One network namespace: what each kernel language in it holds, looked at once."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING

from interceptor.backends.ebpf import PIN_ROOT, may_hold
from interceptor.config import LoaderChoice
from interceptor.dialect import MESHES, OURS, PASSTHROUGH_IP6, Mesh
from interceptor.errors import HostError
from interceptor.model import Ruleset, SetConnectionMark, TProxy
from interceptor.names import Family
from interceptor.operations.select import (
    EBPF,
    IPTABLES_LEGACY,
    IPTABLES_NFT,
    NFTABLES,
    Seen,
    hidden,
    holders,
    ipv6_or_warning,
    preferences,
)
from interceptor.record import Record, made_for_us
from interceptor.system import host, nfnetlink
from interceptor.system.command import find
from interceptor.system.cookie import own_cookie
from interceptor.values import Mark

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.backends.ebpf.backend import EbpfBackend
    from interceptor.backends.interface import Backend
    from interceptor.backends.routing import RoutingBackend
    from interceptor.config import Config
    from interceptor.model import Table
    from interceptor.operations.others import Others
    from interceptor.system.deadline import Deadline
    from interceptor.system.nfnetlink import Held


class Site:
    """The namespace this thread is in.

    Looking is lazy and cheap: netlink and /proc tell which languages have tables here at all, and
    only those are read.

    Args:
        deadline: for every look.
        legacy_lock: a file for iptables-legacy to lock, see ``lock.private_xtables_lock``.
        in_process: ask libiptc about iptables-legacy, see ``libiptc``.
        is_own: whether it is the one this program was started in.
        loader: where programs at sockets come from, if any are to be loaded.
    """

    def __init__(
        self,
        deadline: Deadline,
        *,
        legacy_lock: str | None = None,
        in_process: bool = False,
        is_own: bool = False,
        loader: LoaderChoice = LoaderChoice.LIBBPF,
    ) -> None:
        self._deadline = deadline
        self._legacy_lock = legacy_lock
        self._in_process = in_process
        self._is_own = is_own
        self._loader = loader
        self._observed: dict[str, Ruleset] = {}
        self._backends: dict[str, Backend] = {}

    def backend(self, name: str) -> Backend:
        """Give a backend; those that are not needed are not even imported."""
        if name not in self._backends:
            self._backends[name] = self._make(name)
        return self._backends[name]

    def _make(self, name: str) -> Backend:
        if name == NFTABLES:
            from interceptor.backends.nftables import NftablesBackend

            return NftablesBackend(OURS)
        if name == EBPF:
            return self._ebpf
        from interceptor.backends.iptables import IptablesBackend

        if name == IPTABLES_NFT:
            return IptablesBackend("nft", OURS)
        return IptablesBackend(
            "legacy", OURS, legacy_lock=self._legacy_lock, in_process=self._in_process
        )

    @cached_property
    def _ebpf(self) -> EbpfBackend:
        from interceptor.backends.ebpf.backend import EbpfBackend

        return EbpfBackend(loader=self._loader)

    def trial(self) -> Backend:
        """Give the eBPF backend with programs and maps of its own, for who only tries it."""
        from interceptor.backends.ebpf.backend import EbpfBackend

        return EbpfBackend(f"{PIN_ROOT}-check", loader=self._loader)

    def decisions(self) -> dict[str, int]:
        """Give how often each reason decided at this namespace's sockets."""
        return self._ebpf.decisions(self._deadline)

    def observed(self, name: str) -> Ruleset:
        """Give all that one language holds, read at the first call."""
        if name not in self._observed:
            self._observed[name] = self.backend(name).observe(self._deadline)
        return self._observed[name]

    def own(self, name: str) -> Ruleset:
        """Give what of that is ours."""
        return self.backend(name).own(self.observed(name))

    def record(self, name: str) -> Record | None:
        """Give what was recorded when ours was installed."""
        return Record.find(self.own(name))

    def made(self, name: str) -> tuple[str, ...]:
        """Name what was made for ours there, see ``Record.made``.

        Other meshes' tools, and we in istio-iptables' place, leave no record; the tables their
        rules are in count as made for them. What of those others use stays anyway.
        """
        own = self.own(name)
        left = left_by(own)
        theirs = [
            f"{table.family} {table.name}"
            for table in own.tables
            if any(_is_of(mesh, table) for mesh in left)
        ]
        return (*made_for_us(own), *theirs)

    @cached_property
    def routing(self) -> RoutingBackend:
        """Give what looks after routes and addresses, and takes over what meshes left of them."""
        from interceptor.backends.routing import Adopted, RoutingBackend

        left = [(own, left_by(own)) for own in map(self.own, self.holders())]
        marks = frozenset(mark for own, by in left if by for mark in routed_marks(own))
        is_left = any(mesh.leaves_address for _, by in left for mesh in by)
        return RoutingBackend(Adopted(marks, frozenset({PASSTHROUGH_IP6} if is_left else ())))

    @cached_property
    def routed(self) -> Ruleset:
        """What there is of routes and addresses, of anybody."""
        return self.routing.observe(self._deadline)

    @cached_property
    def others(self) -> Others:
        """What others have beside ours, to see what of it comes first."""
        from interceptor.operations.others import Others

        try:
            held = self._held
        except HostError:
            held = {}
        read = {language: self._iptables(language) for language in (IPTABLES_NFT, IPTABLES_LEGACY)}
        return Others(held, read, lambda: self.observed(NFTABLES))

    def _iptables(self, language: str) -> Ruleset:
        """Give what one of the two iptables holds, as far as it can be read."""
        if self.seen[language].error:
            return Ruleset()
        is_legacy = language == IPTABLES_LEGACY
        tables = self._legacy_tables() if is_legacy else self._nf_tables(language)
        return self.observed(language) if tables else Ruleset()

    @cached_property
    def seen(self) -> dict[str, Seen]:
        """What every language holds, looked at as cheaply as the answer allows.

        Raises:
            InterceptorError: a language that is there cannot be read. It may hold rules of ours,
                so going on without it would be going on blind.
        """
        rules = {name: self._look(name) for name in (NFTABLES, IPTABLES_NFT, IPTABLES_LEGACY)}
        return {**rules, EBPF: self._look_at_sockets()}

    def _look_at_sockets(self) -> Seen:
        """Look whether programs at sockets hold a policy for this namespace."""
        if not os.path.isdir(PIN_ROOT):
            return Seen()
        try:
            if not may_hold(own_cookie()):
                return Seen()
        except HostError as error:
            return Seen(error)
        try:
            _need_privilege()
            observed = self.observed(EBPF)
        except HostError as error:
            return Seen(error, hides="a policy of ours is in force at this pod's sockets")
        return Seen(holds_rules=bool(observed.sockets), holds_ours=bool(observed.sockets))

    def _look(self, name: str) -> Seen:
        # Not known yet, which is not the same as none.
        tables: list[str] | None = None
        try:
            _need_privilege()
        except HostError as error:
            return Seen(error)
        try:
            tables = self._legacy_tables() if name == IPTABLES_LEGACY else self._nf_tables(name)
            self._need_tools(name)
            if not tables:
                return Seen()
            observed = self.observed(name)
        except HostError as error:
            return Seen(error, hides=self._hides(name, tables))
        return Seen(
            holds_rules=any(c.rules for table in observed.tables for c in table.chains),
            holds_ours=bool(self.own(name).tables),
        )

    @staticmethod
    def _legacy_tables() -> list[str]:
        return [
            f"{family} {table}"
            for family in Family.INET.members
            for table in sorted(host.legacy_tables(ipv6=family is Family.IP6))
        ]

    def _nf_tables(self, name: str) -> list[str]:
        """Name the tables in which one of the two languages on nf_tables could hold ours."""
        if name == NFTABLES:
            return [f"{f} {t}" for f, t in self._held if f is Family.INET and OURS.owns_table(t)]
        return [f"{f} {t}" for f, t in self._held if f is not Family.INET]

    def _hides(self, name: str, tables: list[str] | None) -> str:
        """Say where rules of ours are, or may be, although the language cannot be used.

        nf_tables shows the names of its chains to whoever may look at all; iptables-legacy shows
        only whether it has tables.
        """
        if tables is None:
            return f"rules of ours may be in {name}" if name == IPTABLES_LEGACY else ""
        if name == IPTABLES_NFT:
            ours = {
                f"{family} {name}"
                for (family, name), table in self._held.items()
                if any(map(OURS.owns_chain, table.chains))
            }
            tables = [table for table in tables if table in ours]
        if not tables:
            return ""
        may = "may be" if name == IPTABLES_LEGACY else "are"
        return f"rules of ours {may} in {name}, {' and '.join(tables)}"

    @cached_property
    def _held(self) -> Held:
        return nfnetlink.look()

    def _need_tools(self, name: str) -> None:
        names = ("nft",) if name == NFTABLES else (f"{name}-save", f"{name}-restore")
        # Under other names they may be there too; the backend knows, but has to be imported.
        if not all(map(find, names)) and Family.IP not in self.backend(name).families():
            tool = "nft" if name == NFTABLES else name
            raise HostError(
                f"there is no {tool} on this host",
                hint="install nftables or iptables, whichever the kernel has",
            )

    def preferences(self, config: Config) -> list[str]:
        """Name the backends to install with, best first."""
        return preferences(config.backend, config.iptables_variant, self.seen)

    def holders(self) -> list[str]:
        """Name the languages that hold rules of ours."""
        return holders(self.seen)

    def hidden(self) -> dict[str, HostError]:
        """Say of each language with rules of ours out of sight where they are, or may be."""
        return hidden(self.seen)

    def refuse_hidden(self) -> None:
        """Refuse to change anything beside rules of ours that cannot be changed.

        Raises:
            HostError: there are, or may be, such rules.
        """
        for error in self.hidden().values():
            raise error

    def refuse_own(self) -> None:
        """Refuse to enrol the namespace this program was started in: it may be the node's.

        Raises:
            HostError: it is that.
        """
        if self._is_own:
            raise HostError(
                "the eBPF backend is the node's: it intercepts a namespace it is told of",
                hint="give the pod's namespace with --netns, or choose --backend nftables",
            )

    def unseen(self) -> tuple[str, ...]:
        """Say which languages could not be looked at, and why."""
        return tuple(seen.error.message for seen in self.seen.values() if seen.error)


def left_by(own: Ruleset) -> tuple[Mesh, ...]:
    """Name the meshes whose own tools left some of what is ours.

    Rules of our sheets have the same names; whose they are the record says.
    """
    record = Record.find(own)
    sheet = record.settings.get("sheet", "") if record else ""
    return tuple(
        mesh
        for mesh in MESHES
        if sheet not in mesh.sheets and any(_is_of(mesh, table) for table in own.tables)
    )


def _is_of(mesh: Mesh, table: Table) -> bool:
    """Whether a mesh's chains or rules are in a table."""
    return mesh.owns(table.name) or any(
        mesh.owns(chain.name) or any(mesh.owns_comment(rule.why) for rule in chain.rules)
        for chain in table.chains
    )


def routed_marks(own: Ruleset) -> Iterator[Mark]:
    """Give the marks by which rules keep packets here: of hand-overs, and of connections."""
    for table in own.tables:
        for chain in table.chains:
            for rule in chain.rules:
                match rule.action:
                    case TProxy(_, mark):
                        yield Mark(mark)
                    case SetConnectionMark(value, mask):
                        yield Mark(value, mask)


def _need_privilege() -> None:
    if not host.has_capability(host.CAP_NET_ADMIN):
        raise HostError(
            "this process may not look at or change rules: it lacks CAP_NET_ADMIN",
            hint="run as root, or give the container the NET_ADMIN capability",
        )


def check_families(backend: Backend, family: Family) -> str:
    """Refuse rules for a family that this host has no way to hold; else give a warning, or ``""``.

    Raises:
        HostError: IPv6 is asked for and the kernel or the tools lack it.
    """
    return ipv6_or_warning(
        family, can_hold=Family.IP6 in backend.families(), in_kernel=host.kernel_has_ipv6()
    )
