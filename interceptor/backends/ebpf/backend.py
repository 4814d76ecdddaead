"""The eBPF backend: programs at sockets, and what they decide by for the pod this thread is in."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from interceptor.backends.drift import Finding, Kind
from interceptor.backends.ebpf import PIN_ROOT, RECORDS
from interceptor.backends.ebpf.machine import Machine
from interceptor.backends.ebpf.records import Records
from interceptor.dialect import OWN_TABLE, RECORD_CHAIN, RECORD_CHAINS
from interceptor.model import Chain, Return, Rule, Ruleset, Table
from interceptor.model.pod_config import PodConfig, SocketPolicy
from interceptor.names import Family
from interceptor.system import netns
from interceptor.system.cookie import cookie
from interceptor.system.libbpf import CGROUP_KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.backends.interface import Wanted
    from interceptor.backends.step import Step
    from interceptor.dialect import Dialect
    from interceptor.system.deadline import Deadline

NAME = "ebpf"


class EbpfBackend:
    """One policy in the kernel's maps for one network namespace.

    Its rulesets hold a policy in ``sockets`` and, as the only table, the record's chain, whose
    comments are kept in a file.

    Args:
        pin_root: where programs and maps are pinned.
        records: directory of the records.
    """

    name = NAME

    def __init__(self, pin_root: str = PIN_ROOT, records: str = RECORDS) -> None:
        self._pin_root = pin_root
        self._records = Records(records)

    def families(self) -> frozenset[Family]:
        """Give both families: the programs are for both."""
        return frozenset(Family.INET.members)

    def observe(self, deadline: Deadline) -> Ruleset:
        """Read what is enforced in the namespace this thread is in."""
        if not os.path.isdir(self._pin_root):
            return Ruleset()
        with _here() as (_, number), Machine(deadline, self._pin_root) as machine:
            held = machine.held().get(number)
            if held is None:
                return Ruleset()
            whole = bool(held.inode) and machine.attached() == tuple(sorted(CGROUP_KINDS))
        recorded = _as_tables(self._records.read(number))
        return Ruleset(recorded, sockets=SocketPolicy(held.config, whole))

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
        """Give one step, or none if all is as it should be."""
        there, lines = observed.sockets, _lines(wanted.ruleset)
        meant = wanted.ruleset.sockets
        if meant == there and lines == _lines(observed) and not wanted.anew:
            return ()
        config = None if meant is None else meant.config
        return (EbpfStep(self._pin_root, self._records, config, lines),)

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
    config: PodConfig | None
    lines: tuple[str, ...]

    def apply(self, deadline: Deadline) -> None:
        """Do it; what was enforced is enforced still if it fails."""
        with _here() as (descriptor, number), Machine(deadline, self.pin_root) as machine:
            if self.config is None:
                machine.disable(number)
                machine.unload()
            else:
                machine.enable(descriptor, self.config)
            self.records.write(number, self.lines)

    def describe(self) -> dict[str, object]:
        """Say it: no tool is started."""
        if self.config is None:
            return {"argv": [], "stdin": "# enforce nothing at this pod's sockets\n"}
        fields = msgspec.structs.asdict(self.config).items()
        said = "".join(f"#   {name} = {value}\n" for name, value in fields)
        return {"argv": [], "stdin": f"# enforce at this pod's sockets:\n{said}"}


@contextmanager
def _here() -> Iterator[tuple[int, int]]:
    """Open the namespace this thread is in, and give its cookie too."""
    descriptor = os.open(netns.CURRENT, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor, cookie(descriptor)
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
    if not held.whole:
        yield Finding(Kind.MISSING_PROGRAM, "this pod's sockets", "not all are attached")
    for field in meant.config.__struct_fields__:
        wanted, there = getattr(meant.config, field), getattr(held.config, field)
        if wanted != there:
            yield Finding(Kind.CHANGED_POLICY, field, f"{there}, not {wanted}")
