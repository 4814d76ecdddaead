"""Can this host hold the rules? Tried out, not guessed, and in a namespace nobody is in."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from interceptor.backends.interface import Wanted
from interceptor.backends.routing import RoutingBackend
from interceptor.config import BackendChoice
from interceptor.errors import HostError, InterceptorError
from interceptor.model import Ruleset
from interceptor.names import Family
from interceptor.operations.select import EBPF, IPTABLES_LEGACY, NFTABLES, Seen, preferences
from interceptor.operations.site import check_families
from interceptor.operations.transaction import Change, apply
from interceptor.sheets.build import build, family_of
from interceptor.system import host, netns, routes
from interceptor.system.command import find, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.backends.interface import Backend
    from interceptor.config import Config
    from interceptor.operations.site import Site
    from interceptor.sheets.sheet import Sheet
    from interceptor.system.deadline import Deadline


class Answer(StrEnum):
    """Whether a feature is there; ``unknown`` when there is no way to find out."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class Feature(msgspec.Struct, frozen=True):
    """One thing looked at; with ``needed``, a "no" means that install will fail."""

    category: str
    name: str
    answer: Answer
    detail: str = ""
    hint: str = ""
    needed: bool = False


class Checked(msgspec.Struct, frozen=True):
    """All that was looked at, and the backend that install would choose."""

    features: tuple[Feature, ...]
    backend: str | None

    @property
    def ok(self) -> bool:
        """Whether install can be expected to work."""
        return self.backend is not None and not any(
            f.needed and f.answer is Answer.NO for f in self.features
        )


def check(config: Config, sheet: Sheet, site: Site, deadline: Deadline) -> Checked:
    """Look at privileges, kernel and tools, and try each backend with the real rules."""
    here = host.observe(config)
    ruleset = build(sheet, config, here)
    family = family_of(config, here)
    features = [*_privileges(config), *_kernel(family)]
    tried: dict[str, Seen] = {}
    for name, seen in site.seen.items():
        if name == EBPF and config.backend is not BackendChoice.EBPF and not seen.holds_ours:
            # Never chosen, only asked for.
            error = seen.error
        elif name == EBPF:
            outcome, error = _try_sockets(config, sheet, site, seen, deadline)
            features.append(outcome)
        else:
            backend = site.backend(name)
            target = backend.target(ruleset, sheet.dialect)
            outcome, error = _try(backend, target, family, seen, deadline)
            features += [*_version(name, deadline), outcome]
        tried[name] = msgspec.structs.replace(seen, error=error)
    if ruleset.routing:
        features.append(_try_routing(ruleset, deadline))
    for name, error in site.hidden().items():
        features.append(
            Feature(name, "can be looked at", Answer.NO, error.message, error.hint, needed=True)
        )
    try:
        chosen = preferences(config.backend, config.iptables_variant, tried)[0]
    except InterceptorError as error:
        lacking = Feature("choice", "backend", Answer.NO, error.message, error.hint, needed=True)
        return Checked((*features, lacking), None)
    return Checked((*features, Feature("choice", "backend", Answer.YES, chosen)), chosen)


def _privileges(config: Config) -> Iterator[Feature]:
    for number, name, why, needed in (
        (host.CAP_NET_ADMIN, "CAP_NET_ADMIN", "to change rules", True),
        (host.CAP_NET_RAW, "CAP_NET_RAW", "for iptables-legacy", False),
        (
            host.CAP_SYS_ADMIN,
            "CAP_SYS_ADMIN",
            "for --netns, and for verify to connect from outside",
            config.is_elsewhere,
        ),
    ):
        there = host.has_capability(number)
        answer = Answer.YES if there else Answer.NO
        hint = "" if there else f"run as root, or add {name.removeprefix('CAP_')} to the container"
        yield Feature("privileges", name, answer, why, hint, needed)


def _kernel(family: Family) -> Iterator[Feature]:
    wanted = Family.IP6 in family.members
    there = host.kernel_has_ipv6()
    detail = "intercepted" if wanted else "left alone"
    hint = "" if there or not wanted else "enable it, or say --ip-families ipv4"
    yield Feature("kernel", "IPv6", Answer.YES if there else Answer.NO, detail, hint, wanted)


def _version(name: str, deadline: Deadline) -> Iterator[Feature]:
    tool = "nft" if name == NFTABLES else name
    path = find(tool)
    if path is None:
        yield Feature(name, "tool", Answer.NO, f"there is no {tool}")
        return
    outcome = run([path, "--version"], deadline)
    said = outcome.stdout.decode(errors="replace").strip()
    yield Feature(name, "tool", Answer.YES if said else Answer.NO, f"{said} at {path}")


def _try(
    backend: Backend, target: Ruleset, family: Family, seen: Seen, deadline: Deadline
) -> tuple[Feature, InterceptorError | None]:
    """Install the rules in a namespace made for it, read them back, remove them, throw it away."""
    name = "takes these rules"
    if seen.error:
        detail = seen.error.message
        return Feature(backend.name, name, Answer.NO, detail, seen.error.hint), seen.error
    try:
        check_families(backend, family)
        if not host.has_capability(host.CAP_SYS_ADMIN):
            return _unknown(backend, name), None
        scratch = netns.make()
        with netns.closing(scratch), netns.inside(scratch):
            _round_trip(backend, target, deadline)
    except InterceptorError as error:
        return Feature(backend.name, name, Answer.NO, error.message, error.hint), error
    return Feature(backend.name, name, Answer.YES, "tried in a namespace of its own"), None


def _try_sockets(
    config: Config, sheet: Sheet, site: Site, seen: Seen, deadline: Deadline
) -> tuple[Feature, InterceptorError | None]:
    """Enforce the policy in a namespace made for it, by programs that are nobody else's."""
    backend, name = site.trial(), "takes this policy"
    try:
        site.refuse_own()
        if seen.error:
            raise seen.error
        scratch = netns.make()
        with netns.closing(scratch), netns.inside(scratch):
            routes.switch_loopback_on()
            # What an address of the pod is here matters to nobody: it is not the pod.
            there = msgspec.structs.replace(host.observe(config), pod=host.pod(config))
            target = backend.target(build(sheet, config, there), sheet.dialect)
            _round_trip(backend, target, deadline)
    except InterceptorError as error:
        return Feature(EBPF, name, Answer.NO, error.message, error.hint), error
    return Feature(EBPF, name, Answer.YES, "tried in a namespace of its own"), None


def _try_routing(ruleset: Ruleset, deadline: Deadline) -> Feature:
    """Add what the policy needs beside rules, in a namespace made for it, and throw it away."""
    backend = RoutingBackend()
    name, wanted = "takes these routes", Ruleset(routing=ruleset.routing)
    if not (host.has_capability(host.CAP_SYS_ADMIN) and host.has_capability(host.CAP_NET_ADMIN)):
        return _unknown(backend, name)
    try:
        scratch = netns.make()
        with netns.closing(scratch), netns.inside(scratch):
            routes.switch_loopback_on()
            _round_trip(backend, wanted, deadline)
    except InterceptorError as error:
        return Feature(backend.name, name, Answer.NO, error.message, error.hint, needed=True)
    return Feature(backend.name, name, Answer.YES, "tried in a namespace of its own")


def _unknown(backend: Backend, name: str) -> Feature:
    needs = "NET_RAW and " if backend.name == IPTABLES_LEGACY else ""
    return Feature(
        backend.name,
        name,
        Answer.UNKNOWN,
        "trying needs a namespace of its own, which only CAP_SYS_ADMIN may make",
        f"run check as root on the node; install itself needs {needs}NET_ADMIN only",
    )


def _round_trip(backend: Backend, target: Ruleset, deadline: Deadline) -> None:
    empty = backend.observe(deadline)
    made = backend.made(target)
    apply([Change(backend, Wanted(target, made), empty)], deadline)
    observed = backend.observe(deadline)
    findings = backend.findings(target, observed)
    if findings:
        raise HostError(
            f"{backend.name} took the rules but holds others: {findings[0]}",
            hint="try another --backend or --iptables-variant, and report this",
        )
    apply([Change(backend, Wanted(made=made), observed)], deadline)
