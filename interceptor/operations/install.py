"""The two changes people make, install and uninstall, in the namespace this thread is in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from interceptor import __version__
from interceptor.backends.drift import Kind
from interceptor.backends.interface import Wanted
from interceptor.backends.shadow import fingerprint
from interceptor.errors import HostError
from interceptor.operations.site import check_families
from interceptor.operations.transaction import Change, apply
from interceptor.record import Record, without_record
from interceptor.settings import recorded_settings
from interceptor.sheets.build import build, family_of
from interceptor.system import host

if TYPE_CHECKING:
    from interceptor.backends.drift import Finding
    from interceptor.backends.step import Step
    from interceptor.config import Config
    from interceptor.model import Ruleset
    from interceptor.names import Family
    from interceptor.operations.site import Site
    from interceptor.sheets.sheet import Sheet
    from interceptor.system.deadline import Deadline


class Installed(msgspec.Struct, frozen=True):
    """What an installation did: steps in the chosen backend, and removals from others.

    ``ruleset`` is the policy's; ``chains`` and ``rules`` count what the backend makes of it, as
    ``status`` does. ``passed_over`` says of backends that were tried first why they could not do
    it, ``shadowed`` names rules of others that decide before ours are asked.
    """

    backend: str
    family: Family
    ruleset: Ruleset
    chains: int
    rules: int
    steps: tuple[Step, ...]
    removed_from: tuple[str, ...]
    passed_over: tuple[str, ...] = ()
    shadowed: tuple[Finding, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether anything had to be done."""
        return bool(self.steps or self.removed_from)


def install(config: Config, sheet: Sheet, site: Site, deadline: Deadline) -> Installed:
    """Make the namespace hold exactly what the configuration means, or leave it as it was.

    What another backend holds of ours is removed once the new rules are in force. Where the
    choice of a backend is ours, one whose kernel or tools lack something makes room for the next.

    Raises:
        InterceptorError: why not.
    """
    here = host.observe(config)
    ruleset = build(sheet, config, here)
    family = family_of(config, here)
    record = Record(__version__, recorded_settings(config.with_accounts(here.users, here.groups)))
    names = site.preferences(config)
    site.refuse_hidden()
    passed_over: list[str] = []
    hint = ""
    for name in names:
        try:
            check_families(site.backend(name), family)
            changes = _changes(site, sheet, name, ruleset, record)
            steps = changes[0].steps() if config.dry_run else apply(changes, deadline)[0]
        except HostError as error:
            if len(names) == 1:
                raise
            passed_over.append(f"{name}: {error.message}")
            hint = error.hint
            continue
        others = tuple(change.backend.name for change in changes[1:])
        return Installed(
            name,
            family,
            ruleset,
            *without_record(changes[0].wanted.ruleset).counts,
            steps,
            others,
            tuple(passed_over),
            changes[0].shadowing(),
        )
    raise HostError(f"no backend takes these rules: {'; '.join(passed_over)}", hint=hint)


def _changes(
    site: Site, sheet: Sheet, name: str, ruleset: Ruleset, record: Record
) -> list[Change]:
    """Give the change of the chosen backend, and the removal of ours from each other one."""
    backend, observed = site.backend(name), site.observed(name)
    rules = backend.target(ruleset, sheet.dialect)
    before = site.record(name)
    made = dict.fromkeys((*(before.made if before else ()), *backend.made(rules)))
    kept = tuple(one for one in made if _is_part(one, rules))
    met = {
        fingerprint(finding)
        for finding in backend.shadowing(rules, observed)
        if finding.kind is Kind.FOREIGN_BEFORE
    }
    recorded = msgspec.structs.replace(record, made=kept, met=tuple(sorted(met))).added_to(ruleset)
    wanted = Wanted(backend.target(recorded, sheet.dialect), tuple(made))
    removals = [removal(site, other) for other in site.holders() if other != name]
    return [Change(backend, wanted, observed), *removals]


def _is_part(made: str, rules: Ruleset) -> bool:
    """Whether rules need what was made for us: a table, or one base chain of it."""
    family, table, *chain = made.split()
    return any(
        (t.family, t.name) == (family, table) and (not chain or t.chain(chain[0]) is not None)
        for t in rules.tables
    )


def removal(site: Site, name: str) -> Change:
    """Give the removal of all of ours from one backend, and of tables made for it."""
    record = site.record(name)
    made = record.made if record else ()
    return Change(site.backend(name), Wanted(made=made), site.observed(name))


def uninstall(site: Site, deadline: Deadline) -> tuple[str, ...]:
    """Remove all of ours from every backend that holds any, and name those.

    Nothing being there is no error; if one removal fails, all are undone.
    """
    names = tuple(site.holders())
    site.refuse_hidden()
    apply([removal(site, name) for name in names], deadline)
    return names
