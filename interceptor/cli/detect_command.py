"""``interceptor detect``."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click

from interceptor.analysis.telling import packet_facts
from interceptor.cli.exits import DONE, FOUND
from interceptor.cli.session import command
from interceptor.detection.found import Detected, Found, Verdict
from interceptor.detection.terms import OPTION
from interceptor.names import FAMILY_NAMES
from interceptor.operations.detect import detect_files, detect_live, known_sheets
from interceptor.settings import SETTINGS, Scope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.analysis.compare import Change
    from interceptor.backends.drift import Finding
    from interceptor.cli.session import Session

_MOST = 8
"""Changes that are shown to a person."""
_HEADS = {
    Verdict.SAME: "in-sync",
    Verdict.ALIKE: "behaves as",
    Verdict.DRIFTED: "drifted",
}


def run(session: Session, *, files: tuple[str, ...], paths: tuple[str, ...]) -> int:
    """Say which mesh intercepts a pod, with which settings, and whether it has drifted.

    It goes by what rules do, not by what chains are called: each sheet's rows are laid upon the
    rules there are, of all kernel languages, and the nearest sheet is the answer. Several meshes
    are each named. With --file it looks at dumps, and no root is needed.

    Exit code 0 means that there is a mesh, and that no packet fares otherwise than by its sheet; 3
    that one has drifted, that something is out of sight, or that no mesh that is known intercepts.
    """
    sheets = known_sheets(paths)
    check = session.in_time("comparing")
    if files:
        detected = detect_files(files, sheets, check)
        place = " and ".join(files)
    else:
        with session.site(shared=True) as site:
            detected = detect_live(site, session.resolved, session.sheet, sheets, check)
            for what in (*site.unseen(), *site.others.unlisted):
                session.printer.talk(f"not looked at: {what}")
        place = session.place
    session.printer.data(_as_data(detected, place), [*_lines(detected, place)])
    return DONE if detected.is_in_sync else FOUND


def _as_data(detected: Detected, place: str) -> dict[str, Any]:
    return {
        "place": place,
        "in_sync": detected.is_in_sync,
        "meshes": [_mesh_facts(one) for one in detected.found],
        "unknown": [{"where": one.where, "what": one.what} for one in detected.unknown],
        "unseen": list(detected.unseen),
    }


def _mesh_facts(one: Found) -> dict[str, Any]:
    return {
        "sheet": one.sheet,
        "summary": one.summary,
        "verdict": str(one.verdict),
        "backend": one.backend,
        "families": [str(family) for family in one.families],
        "rules": one.rules,
        "settings": dict(one.settings),
        "install": _install(one),
        "recorded_by": one.recorded or None,
        "recorded": dict(one.record) or None,
        "other_names": dict(one.renamed),
        "also": list(one.also),
        "findings": _listed(one.findings),
        "noted": _listed(one.noted),
        "changes": [
            {
                "direction": str(change.direction),
                "families": [FAMILY_NAMES[family] for family in change.families],
                "where": change.where,
                "should": change.before,
                "does": change.after,
                "example": packet_facts(change.example),
            }
            for change in one.changes
        ],
    }


def _listed(findings: tuple[Finding, ...]) -> list[dict[str, str]]:
    return [{"kind": str(f.kind), "where": f.where, "what": f.what} for f in findings]


def _lines(detected: Detected, place: str) -> Iterator[str]:
    if not (detected.found or detected.unknown):
        yield f"no mesh intercepts in {place}"
    for one in detected.found:
        yield from _told(one, place)
    if detected.unknown:
        yield f"unknown: no sheet has these rules, which hand connections over, in {place}"
        yield from (f"  {one.where}: {one.what}" for one in detected.unknown)
    yield from (f"unseen: {what}" for what in detected.unseen)


def _told(one: Found, place: str) -> Iterator[str]:
    families = " and ".join(FAMILY_NAMES[family] for family in one.families)
    size = f", {one.rules} rules" if one.rules else ""
    yield f"{_HEADS[one.verdict]}: {one.sheet} on {one.backend} in {place}, {families}{size}"
    yield f"  is        {one.summary}"
    if one.recorded:
        yield f"  recorded  by interceptor {one.recorded} at install"
    for name, text in one.settings.items():
        shown = text or '""'
        yield f"  with      {name.removeprefix(OPTION)} = {shown}"
    if one.renamed:
        named = ", ".join(f"{there} for {name}" for name, there in one.renamed.items())
        yield f"  names     {named}"
    if one.also:
        yield f"  also      the rules of {', '.join(one.also)}"
    yield f"  install   {_install(one)}"
    if one.record:
        recorded = ", ".join(f"{name} = {text}" for name, text in one.record.items())
        yield f"  meant     {recorded}"
    yield from (f"  {finding}" for finding in one.findings)
    for change in one.changes[:_MOST]:
        yield f"  {_change(change)}"
    if len(one.changes) > _MOST:
        yield f"  and {len(one.changes) - _MOST} more changes, see --output json"
    yield from (f"  decides first, in part: {finding}" for finding in one.noted)


def _change(change: Change) -> str:
    both = len(change.families) == len(FAMILY_NAMES)
    over = "" if both else f" over {FAMILY_NAMES[change.families[0]]}"
    return f"{change.direction}{over} {change.where}: {change.before} → {change.after}"


def _install(one: Found) -> str:
    """Give the command that installs the same rules with ours."""
    words = ["interceptor", "install", "--sheet", one.path or one.sheet]
    for name, text in one.settings.items():
        if name.startswith(OPTION):
            words += ["--option", f"{name.removeprefix(OPTION)}={text}"]
        elif SETTINGS[name].is_switch:
            flag = SETTINGS[name].flag
            words.append(flag if text == "true" else f"--no-{flag[2:]}")
        else:
            words += [SETTINGS[name].flag, text]
    return shlex.join(words)


_FILES = click.Option(
    ["--file", "files"],
    multiple=True,
    metavar="DUMP",
    help="look at what iptables-save, ip6tables-save or nft list ruleset printed; again for "
    "another one beside it",
)

_SHEETS = click.Option(
    ["--sheet", "paths"],
    multiple=True,
    metavar="PATH",
    help="look for a sheet of yours beside the shipped ones; may be repeated",
)

command = command("detect", (Scope.PLACE, Scope.RUN), (_FILES, _SHEETS))(run)
