"""``interceptor diff``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from interceptor.analysis.compare import compare
from interceptor.analysis.cover import TooManyError
from interceptor.analysis.telling import packet_facts, packet_words
from interceptor.cli.exits import DONE, FOUND
from interceptor.cli.options import flag_values
from interceptor.cli.session import Session, command
from interceptor.cli.subjects import look
from interceptor.errors import InterceptorError, UsageError, did_you_mean
from interceptor.names import FAMILY_NAMES
from interceptor.settings import Scope
from interceptor.sheets.loader import shipped
from interceptor.sources import read_settings

if TYPE_CHECKING:
    from interceptor.operations.subject import Subject


def run(session: Session, before: str, after: str) -> int:
    """Say which traffic fares otherwise under B than under A.

    A and B are each one of: config (what this command's settings mean), config:FILE (the same with
    a file of settings), the name of a sheet (the same in another dialect; sheet:PATH for one of
    your own), live (what --netns holds now), or the path of a dump, also as file:PATH;
    file:PATH,PATH is one of each family.

    The answer holds for every packet there can be. Exit code 3 means that there is a difference.
    """
    subjects = [_subject(session, text) for text in (before, after)]
    try:
        rules, others = (subject.rules for subject in subjects)
        changes = compare(rules, others, session.in_time("comparing"))
    except TooManyError:
        raise InterceptorError(
            "the two have so little in common that the list would be of no use",
            hint="ask for single connections: interceptor explain",
        ) from None
    facts = {
        "before": subjects[0].origin,
        "after": subjects[1].origin,
        "changes": [
            {
                "direction": str(change.direction),
                "families": [FAMILY_NAMES[f] for f in change.families],
                "where": change.where,
                "before": change.before,
                "after": change.after,
                "example": packet_facts(change.example),
            }
            for change in changes
        ],
    }
    lines = []
    for change in changes:
        both = len(change.families) == len(FAMILY_NAMES)
        over = "" if both else f" over {FAMILY_NAMES[change.families[0]]}"
        lines.append(f"{change.direction}{over} {change.where}: {change.before} → {change.after}")
        lines.append(f"  as {packet_words(change.example)}")
    session.printer.data(facts, lines or ["no traffic fares otherwise"])
    return FOUND if changes else DONE


def _subject(session: Session, text: str) -> Subject:
    kind, colon, rest = text.partition(":")
    if text == "config":
        return look(session, is_live=False, files=()).subject
    if text == "live":
        return look(session, is_live=True, files=()).subject
    if text in shipped() or (colon and kind == "sheet"):
        return look(_with({"sheet": rest or text}), is_live=False, files=()).subject
    if colon and kind == "config":
        return look(_with({}, rest), is_live=False, files=()).subject
    if colon and kind == "file":
        return look(session, is_live=False, files=tuple(rest.split(","))).subject
    if os.path.exists(text):
        return look(session, is_live=False, files=(text,)).subject
    raise UsageError(
        f"{text!r} is nothing to compare",
        hint=did_you_mean(text, shipped())
        or "give config, config:FILE, a sheet's name, live, or the path of a dump",
    )


def _with(more: dict[str, str], path: str | None = None) -> Session:
    """Give this command's session with other settings laid over its own."""
    flags = flag_values(click.get_current_context().params) | more
    given = path if path is not None else click.get_current_context().params.get("config")
    return Session(*read_settings(flags, given, os.environ))


_WHAT = (
    click.Argument(["before"], metavar="A"),
    click.Argument(["after"], metavar="B"),
)

command = command("diff", (Scope.POLICY, Scope.HOST, Scope.PLACE, Scope.RUN), _WHAT)(run)
