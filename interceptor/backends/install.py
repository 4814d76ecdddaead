"""The two changes people make, install and uninstall, in the namespace this thread is in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from interceptor import __version__
from interceptor.backends.change import Changed, converge
from interceptor.errors import InterceptorError
from interceptor.model import Ruleset
from interceptor.record import Record
from interceptor.settings import recorded_settings
from interceptor.sheets.build import build, family_of
from interceptor.system import facts

if TYPE_CHECKING:
    from interceptor.backends.interface import Step
    from interceptor.backends.site import Site
    from interceptor.config import Config
    from interceptor.names import Family
    from interceptor.sheets.sheet import Sheet
    from interceptor.system.deadline import Deadline


class Installed(msgspec.Struct, frozen=True):
    """What an installation did: steps in the chosen backend, and removals from others."""

    backend: str
    family: Family
    ruleset: Ruleset
    steps: tuple[Step, ...]
    removed_from: tuple[str, ...]

    @property
    def changed(self) -> bool:
        """Whether anything had to be done."""
        return bool(self.steps or self.removed_from)


def install(config: Config, sheet: Sheet, site: Site, deadline: Deadline) -> Installed:
    """Make the namespace hold exactly what the configuration means, or leave it as it was.

    What another backend holds of ours is removed once the new rules are in force; if that
    fails, the new rules are undone.

    Raises:
        InterceptorError: why not.
    """
    here = facts.observe(config)
    ruleset = build(sheet, config, here)
    family = family_of(config, here)
    backend = site.choose(config)
    site.check_families(backend, family)
    observed = site.observed(backend.name)
    before = site.record(backend.name)
    made = dict.fromkeys((*(before.made if before else ()), *backend.made(ruleset, observed)))
    numbered = config.with_accounts(here.users, here.groups)
    record = Record(__version__, recorded_settings(numbered), tuple(made))
    target = backend.target(record.added_to(ruleset, sheet.dialect.record_chain))
    others = [name for name in site.holders() if name != backend.name]
    if config.dry_run:
        steps = backend.plan(target, observed, tuple(made))
        return Installed(backend.name, family, ruleset, steps, tuple(others))
    done = converge(backend, target, observed, deadline, tuple(made))
    try:
        for name in others:
            remove(site, name, deadline)
    except InterceptorError:
        now = backend.observe(deadline)
        converge(backend, backend.own(observed), now, deadline, tuple(made))
        raise
    return Installed(backend.name, family, ruleset, done.steps, tuple(others))


def remove(site: Site, name: str, deadline: Deadline) -> Changed:
    """Remove all of ours from one backend, and tables that were made for it."""
    record = site.record(name)
    made = record.made if record else ()
    return converge(site.backend(name), Ruleset(), site.observed(name), deadline, made)


def uninstall(site: Site, deadline: Deadline) -> tuple[Changed, ...]:
    """Remove all of ours from every backend that holds any; nothing there is no error."""
    return tuple(remove(site, name, deadline) for name in site.holders())
