"""Decisions as they are made, in whichever kernel language.

A source is a context manager that gives a function: it waits up to so many seconds and gives the
decisions that there are, at once if there are some. It has to be called at least every second.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from interceptor.analysis.decision import Decision, Listing, Sender, decide
from interceptor.analysis.packet import Direct, Dropped, Redirected
from interceptor.analysis.traced import Ways
from interceptor.errors import HostError, InterceptorError
from interceptor.model import Rule, Ruleset
from interceptor.operations.select import EBPF, IPTABLES_LEGACY, IPTABLES_NFT, NFTABLES
from interceptor.operations.site import Site
from interceptor.render.words import rule_words
from interceptor.system import netns, nfnetlink, nft_trace
from interceptor.system.deadline import Deadline
from interceptor.system.senders import sender

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.analysis.packet import Fate
    from interceptor.analysis.traced import Event, Way
    from interceptor.backends.ebpf.tracing import Decision as MadeAtSocket
    from interceptor.model import Table

_LISTING_S = 10.0
_OVER = "no program decides about sockets here any more: what was installed is gone"

Wait = Callable[[float], list[Decision]]
"""Waits for decisions, up to so many seconds."""


class Source(msgspec.Struct, frozen=True):
    """Tells of decisions; ``lost`` gives how many events could not be told so far."""

    wait: Wait
    lost: Callable[[], int]
    over: Callable[[], str] = lambda: ""
    """Says why no decision can come any more; ``""`` if one can."""


@contextmanager
def traced(deadline: Deadline) -> Iterator[Source]:
    """Have decisions told of the namespace this thread is in, whatever language has the rules.

    Raises:
        HostError: the language that has rules of ours cannot tell, or may not be asked to.
    """
    site = Site(deadline)
    holders = site.holders()
    if EBPF in holders:
        with _traced_at_sockets(deadline) as at_sockets:
            yield at_sockets
        return
    if holders == [IPTABLES_LEGACY]:
        raise HostError(
            "iptables-legacy, which holds the rules here, does not tell what it decides",
            hint="explain --live says what it would decide; nf_tables tells: install --backend "
            "nftables, or --iptables-variant nft",
        )
    with nft_trace.told() as told:
        source = _NfTables(told)
        yield Source(source.wait, told.lost)


@contextmanager
def _traced_at_sockets(deadline: Deadline) -> Iterator[Source]:
    """Have programs at sockets tell of the namespace this thread is in."""
    from interceptor.backends.ebpf.machine import Machine
    from interceptor.system.cookie import cookie

    namespace = os.open(netns.CURRENT, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pod = cookie(namespace)
    finally:
        os.close(namespace)
    with Machine(deadline) as machine, machine.traced(pod) as tracing:
        yield Source(
            lambda seconds: [_at_socket(made) for made in tracing.wait(seconds)],
            tracing.lost,
            lambda: "" if tracing.is_enforced() else _OVER,
        )


def _at_socket(made: MadeAtSocket) -> Decision:
    from interceptor.backends.ebpf.reasons import sentence

    if made.verdict == "refused":
        fate: Fate = Dropped()
    else:
        fate = Redirected(made.listener) if made.listener else Direct()
    return Decision(
        at=made.at,
        inbound=made.inbound,
        protocol=made.protocol,
        source=made.source,
        source_port=made.source_port,
        destination=made.address,
        destination_port=made.port,
        fate=fate,
        why=sentence(made.reason, made.protocol),
        has_rules=False,
        sender=None if made.inbound else Sender(made.uid, made.gid, made.pid, made.command),
    )


class _NfTables:
    """Decisions of nf_tables, those of iptables on it among them."""

    def __init__(self, told: nft_trace.Told) -> None:
        self._told = told
        self._ways = Ways(told.table)
        self._losses = 0
        self._listed: list[tuple[int, Listing]] = []
        """By the generation they are of: the newest, and the one before."""

        self._over: list[Way] = []
        self._take(0)
        self._newest()

    def wait(self, seconds: float) -> list[Decision]:
        """Wait for decisions."""
        end = time.monotonic() + seconds
        while True:
            self._take(end - time.monotonic())
            # A socket may be closed soon, so this comes before anything that takes time.
            sent = [(way, self._sender(way)) for way in self._over]
            self._over = []
            found = [self._decided(*one) for one in sent if self._is_wanted(one[0])]
            if found or time.monotonic() >= end:
                return found

    def _take(self, seconds: float) -> None:
        """Wait for events, and see which packets are at their end by them or by the time."""
        due = self._ways.due
        if due is not None:
            seconds = min(seconds, due - time.time())
        for event in self._told.wait(seconds):
            self._over += self._ways.add(event)
        if self._told.losses > self._losses:
            # Which events of which packets are missing, nobody knows.
            self._losses = self._told.losses
            self._ways.forget()
        self._over += self._ways.overdue(time.time())

    def _sender(self, way: Way) -> Sender | None:
        """Give who sent a packet: the kernel's word for the user, a look for the process."""
        if way.is_inbound:
            return None
        logged = self._told.logged and self._told.logged.sender(way.header)
        found = sender(way.protocol, way.header)
        if logged and found:
            return msgspec.structs.replace(logged, pid=found.pid, command=found.command)
        return logged or found

    def _is_wanted(self, way: Way) -> bool:
        """Whether a packet is of the kind that is decided about: DNS may not be captured."""
        return way.protocol != "udp" or self._listing(way.begun).captures_udp

    def _decided(self, way: Way, by: Sender | None) -> Decision:
        return msgspec.structs.replace(decide(way, self._listing, rule_words), sender=by)

    def _listing(self, event: Event) -> Listing:
        """Give the rules that were in force when something happened, as far as they are known."""
        newest = self._newest()
        before = [one for generation, one in self._listed[1:] if event.generation <= generation]
        return before[0] if before else newest

    def _newest(self) -> Listing:
        """Give the rules that are in force, read again if they have changed."""
        generation = self._told.generation
        if not self._listed or self._listed[0][0] < generation:
            listing = Listing(listed(Deadline(_LISTING_S)))
            self._listed = [(generation, listing), *self._listed[:1]]
        return self._listed[0][1]


def listed(deadline: Deadline) -> Ruleset:
    """Give all rules of nf_tables with the kernel's numbers, as far as they can be read.

    iptables' own chains are as iptables prints them: there they have their comments.
    """
    site = Site(deadline)
    printed = _numbered(_observed(site, IPTABLES_NFT))
    seen = _observed(site, NFTABLES)
    chains = {(t.family, t.name): {chain.name for chain in t.chains} for t in printed}
    # What iptables does not print of a table nft does.
    rest = [
        msgspec.structs.replace(
            table,
            chains=tuple(
                chain
                for chain in table.chains
                if chain.name not in chains.get((table.family, table.name), ())
            ),
        )
        for table in seen.tables
    ]
    return Ruleset((*printed, *rest))


def _observed(site: Site, language: str) -> Ruleset:
    """Read a language; what cannot be read, or just now, is not known, and said to be so."""
    try:
        return site.observed(language)
    except (InterceptorError, OSError):
        return Ruleset()


def _numbered(observed: Ruleset) -> list[Table]:
    """Add the kernel's numbers to what iptables prints, rule by rule in their order."""
    if not observed.tables:
        return []
    handles = nfnetlink.rule_handles()
    found = []
    for table in observed.tables:
        chains = []
        for chain in table.chains:
            numbers = handles.get((table.family, table.name, chain.name), [])
            rules = chain.rules
            if len(numbers) == len(rules):
                rules = tuple(map(_with_handle, rules, numbers))
            chains.append(msgspec.structs.replace(chain, rules=rules))
        found.append(msgspec.structs.replace(table, chains=tuple(chains)))
    return found


def _with_handle(rule: Rule, handle: int) -> Rule:
    return msgspec.structs.replace(rule, handle=handle)
