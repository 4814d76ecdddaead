"""The eBPF backend: programs at sockets, and what they decide by for the pod this thread is in."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from interceptor.backends.drift import Finding, Kind
from interceptor.backends.ebpf import PIN_ROOT, RECORDS, elders
from interceptor.backends.ebpf.machine import Machine
from interceptor.backends.ebpf.programs import Loader, programs
from interceptor.backends.ebpf.records import Records
from interceptor.dialect import OWN_TABLE, RECORD_CHAIN, RECORD_CHAINS
from interceptor.model import Chain, Return, Rule, Ruleset, Table
from interceptor.model.pod_config import PodConfig, SocketPolicy
from interceptor.names import Family
from interceptor.system import netns
from interceptor.system.cookie import own_cookie
from interceptor.system.libbpf import CGROUP_KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.backends.interface import Wanted
    from interceptor.backends.step import Step
    from interceptor.dialect import Dialect
    from interceptor.system.deadline import Deadline

NAME = "ebpf"

_INBOUND = "inbound"
"""The program each pod has a copy of."""
PROGRAMS = tuple(sorted((*CGROUP_KINDS, _INBOUND)))
"""Those that decide about one pod."""


class EbpfBackend:
    """One policy in the kernel's maps for one network namespace.

    Its rulesets hold a policy in ``sockets`` and, as the only table, the record's chain, whose
    comments are kept in a file.

    Args:
        pin_root: where programs and maps are pinned.
        records: directory of the records.
        loader: where programs come from, if any are loaded.
    """

    name = NAME

    def __init__(
        self, pin_root: str = PIN_ROOT, records: str = RECORDS, loader: Loader = "libbpf"
    ) -> None:
        self._pin_root = pin_root
        self._records = Records(records)
        self._loader = loader

    def families(self) -> frozenset[Family]:
        """Give both families: the programs are for both."""
        return frozenset(Family.INET.members)

    def observe(self, deadline: Deadline) -> Ruleset:
        """Read what is enforced in the namespace this thread is in."""
        if not os.path.isdir(self._pin_root):
            return Ruleset()
        number = own_cookie()
        with Machine(deadline, self._pin_root) as machine:
            held, lost = machine.held().get(number), machine.lost(number)
            is_elders = elders.holds(self._pin_root, number)
            if held is None and not (lost or is_elders):
                return Ruleset()
            is_linked = machine.namespaces().get(number)
            attached = {*machine.attached(), *([_INBOUND] if is_linked else [])}
            digest = b"" if lost or held is None else machine.loaded()
        missing = tuple(name for name in PROGRAMS if name not in attached)
        recorded = _as_tables(self._records.read(number))
        config = None if held is None else held.config
        return Ruleset(recorded, sockets=SocketPolicy(config, missing, digest, lost, is_elders))

    def decisions(self, deadline: Deadline) -> dict[str, int]:
        """Give how often each reason decided in the namespace this thread is in."""
        if not os.path.isdir(self._pin_root):
            return {}
        number = own_cookie()
        with Machine(deadline, self._pin_root) as machine:
            return machine.counts().get(number, {})

    def own(self, observed: Ruleset) -> Ruleset:
        """Give all of it: nobody else's is read."""
        return observed

    def target(self, ruleset: Ruleset, dialect: Dialect) -> Ruleset:
        """Give the policy for sockets, and the record if there is one."""
        del dialect
        return Ruleset(_as_tables(_lines(ruleset)), sockets=ruleset.sockets)

    def made(self, target: Ruleset) -> tuple[str, ...]:
        """Name nothing: what is ours is known by itself."""
        del target
        return ()

    def plan(self, wanted: Wanted, observed: Ruleset) -> tuple[Step, ...]:
        """Give one step, or none if all is as it should be, the programs too."""
        there, lines = observed.sockets, _lines(wanted.ruleset)
        meant = wanted.ruleset.sockets
        config = None if meant is None else meant.config
        if meant is not None and config is None:
            # Undone is a change of what could not be read: nobody can put that back.
            return ()
        is_same = there == meant
        if there is not None and meant is not None:
            # What is undone had programs of its own, which need not be this loader's.
            digest = meant.digest or programs(self._loader).digest()
            is_same = there == SocketPolicy(config, digest=digest)
        if is_same and lines == _lines(observed) and not wanted.anew:
            return ()
        return (EbpfStep(self._pin_root, self._records, self._loader, config, lines),)

    def findings(self, target: Ruleset, observed: Ruleset) -> tuple[Finding, ...]:
        """Give each field of the policy that differs."""
        return tuple(_differences(target.sockets, observed.sockets))

    def shadowing(self, target: Ruleset, observed: Ruleset) -> tuple[Finding, ...]:
        """Find nothing: sockets are asked before any rule."""
        del target, observed
        return ()


class EbpfStep(msgspec.Struct, frozen=True):
    """Enforce a policy, or none, in the namespace this thread is in."""

    pin_root: str
    records: Records
    loader: Loader
    config: PodConfig | None
    lines: tuple[str, ...]

    def apply(self, deadline: Deadline) -> None:
        """Do it; what was enforced is enforced still if it fails."""
        with (
            _here() as (descriptor, number),
            Machine(deadline, self.pin_root, self.loader) as machine,
        ):
            if self.config is None:
                machine.disable(number)
            else:
                self._enable(machine, descriptor, self.config)
            # Not before: there is no moment without a policy.
            elders.let_go(self.pin_root, deadline, number)
            if self.config is None:
                machine.unload()
            self.records.write(number, self.lines)

    @staticmethod
    def _enable(machine: Machine, descriptor: int, config: PodConfig) -> None:
        try:
            machine.enable(descriptor, config)
        except BaseException:
            # What was loaded for this pod alone serves nobody.
            if not machine.namespaces():
                machine.unload()
            raise

    def describe(self) -> dict[str, object]:
        """Say it: no tool is started."""
        if self.config is None:
            return {"argv": [], "stdin": "# enforce nothing at this pod's sockets\n"}
        fields = msgspec.structs.asdict(self.config).items()
        said = "".join(f"#   {name} = {value}\n" for name, value in fields)
        head = f"# enforce at this pod's sockets, by programs of {self.loader}:"
        return {"argv": [], "stdin": f"{head}\n{said}"}


@contextmanager
def _here() -> Iterator[tuple[int, int]]:
    """Open the namespace this thread is in, and give its cookie too."""
    descriptor = os.open(netns.CURRENT, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor, own_cookie()
    finally:
        os.close(descriptor)


def _lines(ruleset: Ruleset) -> tuple[str, ...]:
    """Give the comments of the record's chain."""
    return tuple(
        rule.why
        for table in ruleset.tables
        for chain in table.chains
        if chain.name in RECORD_CHAINS
        for rule in chain.rules
    )


def _as_tables(lines: tuple[str, ...]) -> tuple[Table, ...]:
    if not lines:
        return ()
    chain = Chain(RECORD_CHAIN, tuple(Rule((), Return(), line) for line in lines))
    return (Table(Family.INET, OWN_TABLE, (chain,)),)


def _differences(meant: SocketPolicy | None, held: SocketPolicy | None) -> Iterator[Finding]:
    if meant is None or held is None:
        if meant is not held:
            kind = Kind.MISSING_POLICY if held is None else Kind.EXTRA_POLICY
            yield Finding(kind, "this pod's sockets")
        return
    if held.is_elders:
        why = "enforced by another version's programs, until it is installed again"
        yield Finding(Kind.CHANGED_POLICY, "this pod's sockets", why)
        if held.config is None:
            return
    for name in held.missing:
        yield Finding(Kind.MISSING_PROGRAM, name, "not attached")
    for name in held.lost:
        yield Finding(Kind.CHANGED_POLICY, name, "the map is not pinned, so none can be read")
    if meant.config is None or held.config is None:
        return
    for field in meant.config.__struct_fields__:
        wanted, there = getattr(meant.config, field), getattr(held.config, field)
        if wanted != there:
            yield Finding(Kind.CHANGED_POLICY, field, f"{_said(there)}, not {_said(wanted)}")


def _said(value: object) -> str:
    return str(value) or "none"
