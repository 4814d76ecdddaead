"""Which meshes intercept in a namespace, or in dumps of one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from interceptor.backends.drift import Kind
from interceptor.detection.detect import detect
from interceptor.detection.found import Detected, Found, Layer, Verdict
from interceptor.model import Ruleset
from interceptor.names import Family
from interceptor.operations.policy import installed_policy
from interceptor.operations.select import EBPF, IPTABLES_LEGACY, IPTABLES_NFT, NFTABLES
from interceptor.operations.status import State, status
from interceptor.operations.subject import read_files
from interceptor.render import iptables, nftables
from interceptor.settings import recorded_settings
from interceptor.sheets import loader
from interceptor.sources import sheet_layer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from interceptor.layers import Resolved
    from interceptor.model import Table
    from interceptor.operations.site import Site
    from interceptor.sheets.sheet import Sheet

_VERDICTS = {State.IN_SYNC: Verdict.SAME}


def known_sheets(paths: Iterable[str] = ()) -> tuple[Sheet, ...]:
    """Give the sheets at these paths, and all that are shipped.

    Raises:
        SheetError: one cannot be read, or makes no sense.
    """
    shipped = loader.shipped()
    own = [os.path.abspath(path) for path in paths if path not in shipped]
    return tuple(map(loader.load, (*own, *shipped)))


def detect_files(
    paths: Iterable[str], sheets: tuple[Sheet, ...], check: Callable[[], object]
) -> Detected:
    """Say which meshes are in dumps.

    Raises:
        ParseError: a file is no dump, or cannot be read.
    """
    return detect(_dumped(read_files(paths).tables), sheets, check=check)


def _dumped(tables: tuple[Table, ...]) -> tuple[Layer, ...]:
    """Tell what iptables has from what only nft has, as far as tables show it."""
    inet = tuple(table for table in tables if table.family is Family.INET)
    others = tuple(table for table in tables if table.family is not Family.INET)
    return (
        Layer(iptables.LANGUAGE, iptables.LANGUAGE, others, is_whole=False),
        Layer(nftables.LANGUAGE, nftables.LANGUAGE, inet, is_whole=False),
    )


def detect_live(
    site: Site,
    resolved: Resolved,
    sheet: Sheet,
    sheets: tuple[Sheet, ...],
    check: Callable[[], object],
) -> Detected:
    """Say which meshes are in a namespace: in rules of any language, or at its sockets.

    Raises:
        InterceptorError: a language that is there cannot be read.
    """
    layers = tuple(_layers(site))
    found = detect(layers, sheets, site.routed.routing, check)
    at_sockets = tuple(_at_sockets(site, resolved, sheet))
    hidden = tuple(f"{name}: {error.message}" for name, error in site.hidden().items())
    return msgspec.structs.replace(
        found,
        found=(*at_sockets, *(_routed(one, site) for one in found.found)),
        unseen=hidden,
    )


def _layers(site: Site) -> Iterator[Layer]:
    known: set[tuple[Family, str]] = set()
    for name in (IPTABLES_LEGACY, IPTABLES_NFT, NFTABLES):
        if site.seen[name].error is not None:
            continue
        tables = site.observed(name).tables
        if name == IPTABLES_NFT:
            known = {(table.family, table.name) for table in tables}
        if name == NFTABLES:
            tables = tuple(table for table in tables if (table.family, table.name) not in known)
            yield Layer(name, nftables.LANGUAGE, tables)
        else:
            yield Layer(name, iptables.LANGUAGE, tables)


def _at_sockets(site: Site, resolved: Resolved, sheet: Sheet) -> Iterator[Found]:
    """Give what programs of ours enforce, as ``status`` sees it."""
    if not site.seen[EBPF].holds_ours:
        return
    policy = installed_policy(resolved, sheet, site)
    now = status(policy, site)
    if now.backend != EBPF:
        return
    yield Found(
        sheet=policy.sheet.name,
        summary=policy.sheet.summary,
        verdict=_VERDICTS.get(now.state, Verdict.DRIFTED),
        backend=EBPF,
        families=now.family.members if now.family else (),
        settings=_without_sheet(
            recorded_settings(policy.config, sheet_layer(policy.sheet).values)
        ),
        findings=now.findings,
        noted=now.noted,
        recorded=now.version,
    )


def _without_sheet(settings: dict[str, str]) -> dict[str, str]:
    return {name: text for name, text in settings.items() if name != "sheet"}


_MISSING = (Kind.MISSING_IP_RULE, Kind.MISSING_ROUTE, Kind.MISSING_ADDRESS)


def _routed(one: Found, site: Site) -> Found:
    """Add the addresses and routes that a mesh needs and that are not there."""
    missing = tuple(
        finding
        for finding in site.routing.findings(Ruleset(routing=one.routing), site.routed)
        if finding.kind in _MISSING
    )
    if not missing:
        return one
    return msgspec.structs.replace(
        one, findings=(*one.findings, *missing), verdict=Verdict.DRIFTED
    )
