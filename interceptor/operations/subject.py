"""What an analysis is about: rules from settings, from the kernel or from a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from interceptor.analysis.proof import Rules
from interceptor.config import BackendChoice
from interceptor.errors import ParseError, UsageError
from interceptor.files import read_file
from interceptor.model import Ruleset, Table
from interceptor.names import Family
from interceptor.operations.select import EBPF, IPTABLES_LEGACY, IPTABLES_NFT, NFTABLES
from interceptor.parse import dump
from interceptor.record import without_record
from interceptor.render import iptables, nftables
from interceptor.sheets.build import build, family_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from interceptor.config import Config
    from interceptor.facts import HostFacts
    from interceptor.operations.site import Site
    from interceptor.sheets.sheet import Sheet

_MOST_BYTES = 1 << 28
"""Of a dump; a node with ten thousand services has some thirty million."""


class Subject(msgspec.Struct, frozen=True):
    """Rules, and in words where they come from."""

    rules: Rules
    origin: str


def configured(config: Config, sheet: Sheet, facts: HostFacts) -> Subject:
    """Give the rules settings mean, as a backend would install them.

    Raises:
        InterceptorError: settings or a sheet that make no sense.
    """
    policy = build(sheet, config, facts)
    families = family_of(config, facts).members
    if config.backend is BackendChoice.IPTABLES:
        language, lowered = iptables.LANGUAGE, _both(policy, families, verbatim=sheet.verbatim)
    else:
        language, lowered = nftables.LANGUAGE, nftables.lower(policy, sheet.dialect)
    rules = Rules(lowered, families, language, policy=policy)
    # Programs at sockets decide as these rules do; nobody else's come before them.
    meant = "enforced at sockets, told as" if config.backend is BackendChoice.EBPF else "as"
    return Subject(rules, f"sheet {sheet.name}, {meant} {language}")


def _both(policy: Ruleset, families: Iterable[Family], *, verbatim: bool) -> Ruleset:
    tables = [
        table
        for family in families
        for table in iptables.lower(policy, family, verbatim=verbatim).tables
    ]
    return Ruleset(tuple(tables), policy.routing)


def from_files(paths: Iterable[str], families: tuple[Family, ...] = ()) -> Subject:
    """Give the rules in dumps: of iptables-save, ip6tables-save, nft, as text or JSON.

    Raises:
        ParseError: a file is none of these, or cannot be read.
    """
    names = list(paths)
    return Subject(_dumped(read_files(names), families, has_routing=False), " and ".join(names))


def read_files(paths: Iterable[str]) -> Ruleset:
    """Give all tables in dumps, records too.

    Raises:
        ParseError: a file is no dump, or cannot be read.
    """
    return dump.joined([_read(path) for path in paths])


def _read(path: str) -> Ruleset:
    try:
        text = read_file(path, _MOST_BYTES, pipe_s=30.0).decode(errors="replace")
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        raise ParseError(
            f"{path}: cannot be read: {reason}", hint="give the path of a dump"
        ) from None
    try:
        return dump.read(text)
    except ParseError as error:
        raise ParseError(f"{path}: {error.message}", hint=error.hint) from None


def live(site: Site, place: str, families: tuple[Family, ...] = ()) -> Subject:
    """Give all rules a namespace holds, in every language, and its routes.

    Raises:
        UsageError: what decides there are no rules.
        InterceptorError: a language that is there cannot be read.
    """
    if (hidden := site.hidden().get(EBPF)) is not None:
        raise hidden
    if site.seen[EBPF].holds_ours:
        raise UsageError(
            f"what decides in {place} are programs at sockets, and --live looks at rules",
            hint="leave --live out and say --backend ebpf with the settings; status compares them",
        )
    tables: list[Table] = []
    for name in (IPTABLES_LEGACY, IPTABLES_NFT, NFTABLES):
        error = site.seen[name].error
        if error is not None and site.seen[name].hides:
            raise error
        if error is None:
            known = {(t.family, t.name) for t in tables} if name == NFTABLES else set()
            observed = site.observed(name).tables
            tables += [t for t in observed if (t.family, t.name) not in known]
    ruleset = Ruleset(tuple(tables), site.routed.routing)
    return Subject(_dumped(ruleset, families, has_routing=True), place)


def _dumped(ruleset: Ruleset, families: tuple[Family, ...], *, has_routing: bool) -> Rules:
    """Take the families that have tables with rules, if none are asked for."""
    there = {
        family
        for table in ruleset.tables
        if any(chain.rules for chain in table.chains)
        for family in table.family.members
    }
    kept = msgspec.structs.replace(ruleset, tables=without_record(ruleset).tables)
    chosen = families or tuple(f for f in Family.INET.members if f in there) or (Family.IP,)
    return Rules(kept, chosen, has_routing=has_routing)
