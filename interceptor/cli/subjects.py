"""What ``explain``, ``prove``, ``diff`` and ``graph`` look at: settings, a namespace, or dumps."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import click

from interceptor.config import FamilyChoice
from interceptor.errors import ConfigError, UsageError
from interceptor.operations.intended import intent_of
from interceptor.operations.subject import Subject, configured, from_files, live
from interceptor.sheets.build import family_of
from interceptor.system import host

if TYPE_CHECKING:
    from interceptor.analysis.intent import Intent
    from interceptor.cli.session import Session
    from interceptor.config import Config
    from interceptor.facts import HostFacts
    from interceptor.names import Family
    from interceptor.sheets.sheet import Sheet

SOURCES: tuple[click.Parameter, ...] = (
    click.Option(["--live"], is_flag=True, help="look at what --netns holds now, of anybody"),
    click.Option(
        ["--file", "files"],
        multiple=True,
        metavar="DUMP",
        help="look at what iptables-save, ip6tables-save or nft list ruleset printed; again for "
        "another one beside it",
    ),
)


class Looked(NamedTuple):
    """Rules, what is wanted of them, and the sheet that says so."""

    subject: Subject
    intent: Intent
    config: Config
    sheet: Sheet


def look(
    session: Session, *, is_live: bool, files: tuple[str, ...], for_proof: bool = False
) -> Looked:
    """Give the rules a command is about; without a word, those that the settings mean.

    What is wanted of live rules is what was recorded when they were installed. Where nobody knows,
    the settings of this run will do, but not ``for_proof``.

    Raises:
        InterceptorError: they cannot be had.
    """
    if is_live and files:
        raise UsageError("--live and --file name two rulesets", hint="give one of them")
    config, sheet = session.config, session.sheet
    if is_live:
        with session.site(shared=True) as site:
            try:
                policy = session.policy(site)
                config, sheet = policy.config, policy.sheet
            except ConfigError:
                if for_proof:
                    raise
            facts = host.observe(config)
            subject = live(site, session.place, _families(config, facts))
    else:
        session.enter_namespace()
        facts = host.observe(config)
        subject = (
            from_files(files, _families(config, facts))
            if files
            else configured(config, sheet, facts)
        )
    intent = intent_of(config, sheet, facts)
    return Looked(subject, intent, intent.config, sheet)


def _families(config: Config, facts: HostFacts) -> tuple[Family, ...]:
    """Give the families that were asked for; none if that was left open."""
    if config.ip_families is FamilyChoice.AUTO:
        return ()
    return family_of(config, facts).members
