"""The two changes people make, install and uninstall, in the namespace this thread is in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from interceptor import __version__
from interceptor.backends.drift import Kind
from interceptor.backends.interface import Wanted
from interceptor.backends.overtake import overtaking
from interceptor.backends.shadow import fingerprint
from interceptor.config import BackendChoice
from interceptor.errors import HostError, SheetError, UnprovenError
from interceptor.model import Ruleset
from interceptor.operations.select import EBPF
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
    from interceptor.facts import HostFacts
    from interceptor.model.pod_config import SocketPolicy
    from interceptor.names import Family
    from interceptor.operations.site import Site
    from interceptor.sheets.sheet import Sheet
    from interceptor.system.deadline import Deadline


class Installed(msgspec.Struct, frozen=True):
    """What an installation did: steps in the chosen backend, and removals from others.

    ``ruleset`` is the policy's; ``chains`` and ``rules`` count what the backend makes of it, as
    ``status`` does. ``passed_over`` says of backends that were tried first why they could not do
    it, ``shadowed`` names rules of others that decide before ours are asked. ``enforced`` is what
    there is instead of chains where the backend has none.
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
    warnings: tuple[str, ...] = ()
    enforced: SocketPolicy | None = None

    @property
    def changed(self) -> bool:
        """Whether anything had to be done."""
        return bool(self.steps or self.removed_from)


def install(
    config: Config,
    sheet: Sheet,
    site: Site,
    deadline: Deadline,
    *,
    anew: bool = False,
    facts: HostFacts | None = None,
) -> Installed:
    """Make the namespace hold exactly what the configuration means, or leave it as it was.

    With ``anew`` all rules are written again, also if they seem to be in place. ``facts`` are for
    whoever knows more of the pod than can be seen from here. What another
    backend holds of ours is removed once the new rules are in force. Where the
    choice of a backend is ours, one whose kernel or tools lack something makes room for the next.

    Raises:
        InterceptorError: why not.
    """
    if config.backend is BackendChoice.EBPF:
        # Before the namespace is looked at: who may not enrol it may not look at all of it.
        site.refuse_own()
    here = facts or host.observe(config)
    ruleset = build(sheet, config, here)
    family = family_of(config, here)
    # Late: uninstall has no use for settings' sources.
    from interceptor.sources import sheet_layer

    said = config.with_accounts(here.users, here.groups)
    record = Record(__version__, recorded_settings(said, sheet_layer(sheet).values))
    names = site.preferences(config)
    if EBPF in names and here.pod is None:
        # Nobody asked for it by name, and it is what holds our policy.
        here = msgspec.structs.replace(here, pod=host.pod(config))
        ruleset = build(sheet, config, here)
    site.refuse_hidden()
    errors: list[HostError] = []
    for name in names:
        try:
            if name == EBPF:
                site.refuse_own()
            warning = check_families(site.backend(name), family)
            main, removals = _changes(site, sheet, name, ruleset, record, anew=anew)
            if not config.unproven and main.steps():
                _refuse_unproven(config, sheet, here, ruleset, main)
            before, after = _routing(site, ruleset)
            changes = [before, main, *removals, after]
            if config.dry_run:
                steps = tuple(step for c in (before, main, after) for step in c.steps())
            else:
                done = apply(changes, deadline)
                steps = (*done[0], *done[1], *done[-1])
        except HostError as error:
            errors.append(error)
            continue
        return Installed(
            name,
            family,
            ruleset,
            *without_record(main.wanted.ruleset).counts,
            steps,
            tuple(change.backend.name for change in removals),
            tuple(f"{tried}: {e.message}" for tried, e in zip(names, errors, strict=False)),
            shadowing(site, name, main.wanted.ruleset),
            (warning,) if warning else (),
            main.wanted.ruleset.sockets,
        )
    raise _none_works(names, errors)


def _refuse_unproven(
    config: Config, sheet: Sheet, here: HostFacts, policy: Ruleset, change: Change
) -> None:
    """Refuse rules that do not do what the settings want.

    Raises:
        UnprovenError: with the first packet for which they do not, unless the sheet says that
            they do not.
        SheetError: the sheet says so of what is no property.
    """
    from interceptor.analysis.proof import Rules
    from interceptor.analysis.properties import Property
    from interceptor.analysis.prove import prove
    from interceptor.operations.intended import intent_of

    lowered, language = without_record(change.wanted.ruleset), change.backend.name.split("-")[0]
    if policy.sockets is not None:
        # Programs are what they are; what is proven is the policy, as rules of the same sheet.
        from interceptor.render.nftables import lower

        lowered, language = lower(policy, sheet.dialect), "nftables"
    rules = Rules(lowered, family_of(config, here).members, language, policy=policy)
    unknown = set(sheet.breaks) - set(Property)
    if unknown:
        raise SheetError(
            f"{sheet.place('breaks')}: [breaks] names {min(unknown)!r}, which is no property",
            hint=f"known are {', '.join(Property)}",
        )
    found = prove(rules, intent_of(config, sheet, here))
    violations = [one for one in found if one.property not in sheet.breaks]
    if violations:
        from interceptor.analysis.telling import packet_words

        first = violations[0]
        packet = f", as for {packet_words(first.packet)}" if first.packet else ""
        more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        raise UnprovenError(f"{first.property}: {first.says}{packet}{more}")


def _none_works(names: list[str], errors: list[HostError]) -> HostError:
    """Make one error of the reasons; where they are one and the same, it is not the backends'."""
    if len({error.message for error in errors}) == 1:
        return errors[0]
    reasons = "; ".join(f"{n}: {e.message}" for n, e in zip(names, errors, strict=True))
    return HostError(f"no backend takes these rules: {reasons}", hint=errors[-1].hint)


def _routing(site: Site, ruleset: Ruleset) -> tuple[Change, Change]:
    """Give two changes of routes and addresses: what is to be there before the rules, and after.

    Before, what old rules need stays beside what the new ones need; what of that nobody needs
    any more goes last.
    """
    backend, routed = site.routing, site.routed
    both = Ruleset(routing=(*backend.own(routed).routing, *ruleset.routing))
    meant = Ruleset(routing=ruleset.routing)
    before = Change(backend, Wanted(both), routed)
    return before, Change(backend, Wanted(meant), backend.expected(before.wanted, routed))


def _changes(
    site: Site, sheet: Sheet, name: str, ruleset: Ruleset, record: Record, *, anew: bool
) -> tuple[Change, list[Change]]:
    """Give the change of the chosen backend, and the removal of ours from each other one."""
    backend, observed = site.backend(name), site.observed(name)
    rules = backend.target(ruleset, sheet.dialect)
    made = _without_parts({*site.made(name), *backend.made(rules)})
    kept = tuple(one for one in made if _is_part(one, rules))
    met = {
        fingerprint(finding)
        for finding in shadowing(site, name, rules)
        if finding.kind is Kind.FOREIGN_BEFORE
    }
    if not sheet.verbatim:
        record = msgspec.structs.replace(record, made=kept, met=tuple(sorted(met)))
        ruleset = record.added_to(ruleset)
    wanted = Wanted(backend.target(ruleset, sheet.dialect), made, anew=anew)
    removals = [removal(site, other) for other in site.holders() if other != name]
    return Change(backend, wanted, observed), removals


def shadowing(site: Site, name: str, rules: Ruleset) -> tuple[Finding, ...]:
    """Find rules of others that decide before rules of one language do, in it or elsewhere."""
    beside = site.backend(name).shadowing(rules, site.observed(name))
    return (*beside, *overtaking(rules, site.others.beside(name, rules)))


def _without_parts(made: set[str]) -> tuple[str, ...]:
    """Sort them, and leave out chains that go with their table."""
    return tuple(sorted(one for one in made if " ".join(one.split()[:2]) not in made - {one}))


def _is_part(made: str, rules: Ruleset) -> bool:
    """Whether rules need what was made for us: a table, or one base chain of it."""
    family, table, *chain = made.split()
    return any(
        (t.family, t.name) == (family, table) and (not chain or t.chain(chain[0]) is not None)
        for t in rules.tables
    )


def removal(site: Site, name: str) -> Change:
    """Give the removal of all of ours from one backend, and of tables made for it."""
    return Change(site.backend(name), Wanted(made=site.made(name)), site.observed(name))


def uninstall(site: Site, deadline: Deadline) -> tuple[str, ...]:
    """Remove all of ours from every backend that holds any, and name those.

    Routes and addresses go once no rule needs them. Nothing being there is no error; if one
    removal fails, all are undone.
    """
    names = tuple(site.holders())
    site.refuse_hidden()
    # What was taken over is named as ours first: a process that is killed leaves it so.
    named, routing = _routing(site, Ruleset())
    done = apply([named, *(removal(site, name) for name in names), routing], deadline)
    return (*names, site.routing.name) if done[-1] and not names else names
