"""All or nothing, on a backend in memory: failures at every step, foreign rules, running again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from interceptor.backends.fake import FakeBackend
from interceptor.backends.interface import Wanted
from interceptor.dialect import OURS, OWN
from interceptor.errors import CommandError, InterceptorError
from interceptor.model import Ruleset
from interceptor.names import Family
from interceptor.operations.transaction import Change, apply
from interceptor.system.deadline import Deadline
from tests.unit.common import rules

if TYPE_CHECKING:
    from interceptor.backends.step import Step

_FOREIGN = {
    "PREROUTING": ["-p udp -j THEIRS"],
    "INPUT": [],
    "OUTPUT": ["-d 127.0.0.11/32 -j THEIRS"],
    "POSTROUTING": [],
    "THEIRS": ["-m helper --helper x -j DNAT --to-destination 1.2.3.4"],
}


@pytest.fixture
def backend() -> FakeBackend:
    made = FakeBackend(OURS)
    for family in (Family.IP, Family.IP6):
        made.tables[family, "nat"] = {chain: [*lines] for chain, lines in _FOREIGN.items()}
    return made


def change(backend: FakeBackend, target: Ruleset) -> int:
    """Bring it to a target and give how many steps it took."""
    deadline = Deadline(5)
    [steps] = apply([Change(backend, Wanted(target), backend.observe(deadline))], deadline)
    return len(steps)


def target_of(backend: FakeBackend, **settings: str) -> Ruleset:
    return backend.target(rules(**settings), OWN)


def state(backend: FakeBackend) -> list[str]:
    return [backend.dump(family) for family in (Family.IP, Family.IP6)]


def test_there_and_back(backend: FakeBackend) -> None:
    before = state(backend)
    target = target_of(backend)
    assert change(backend, target) == 2
    assert change(backend, target) == 0
    assert not backend.findings(target, backend.observe(Deadline(5)))
    assert change(backend, target_of(backend, ip_families="ipv4", proxy_uid="1,5-9")) == 2
    assert change(backend, Ruleset()) == 1
    assert state(backend) == before


@pytest.mark.parametrize("fail_at", [0, 1])
@pytest.mark.parametrize("old", [None, {}, {"include_inbound_ports": "80"}])
def test_a_failure_at_any_step_leaves_what_was(
    backend: FakeBackend, fail_at: int, old: dict[str, str] | None
) -> None:
    if old is not None:
        change(backend, target_of(backend, **old))
    before = state(backend)
    backend.fail_at = backend.applied + fail_at
    with pytest.raises(CommandError, match="told to fail"):
        change(backend, target_of(backend, inbound_port="9", exclude_interfaces="eth9"))
    assert state(backend) == before


def test_when_undoing_fails_too_it_says_so() -> None:
    class Broken(FakeBackend):
        def load(self, family: Family, text: str) -> None:
            if self.applied >= 1:
                raise CommandError("the disk is on fire")
            super().load(family, text)

    broken = Broken(OURS)
    with pytest.raises(InterceptorError, match=r"on fire; undoing it failed as well") as caught:
        change(broken, target_of(broken))
    assert "run the same command again" in caught.value.hint


def test_only_what_differs_is_touched(backend: FakeBackend) -> None:
    change(backend, target_of(backend))
    target = target_of(backend, inbound_port="16006")
    [step, _] = backend.plan(Wanted(target), backend.observe(Deadline(5)))
    assert step.describe()["stdin"] == (
        "*nat\n"
        ":INTERCEPTOR_IN_REDIRECT - [0:0]\n"
        '-A INTERCEPTOR_IN_REDIRECT -p tcp -m comment --comment "to the inbound listener of the '
        'proxy" -j REDIRECT --to-ports 16006\n'
        "COMMIT\n"
    )


def test_a_doubled_jump_becomes_one_again(backend: FakeBackend) -> None:
    target = target_of(backend)
    change(backend, target)
    jumps = backend.tables[Family.IP, "nat"]["PREROUTING"]
    jumps.append(jumps[-1])
    assert change(backend, target) == 1
    assert jumps.count(jumps[-1]) == 2
    assert len(backend.tables[Family.IP, "nat"]["PREROUTING"]) == 2


def test_undoing_one_goes_on_when_another_cannot_be_undone(backend: FakeBackend) -> None:
    """Also when what went wrong is no error of ours."""

    class Silent(FakeBackend):
        def plan(self, wanted: Wanted, observed: Ruleset) -> tuple[Step, ...]:
            del wanted, observed
            raise TimeoutError("no answer")

    before = state(backend)
    silent = Silent(OURS)
    deadline = Deadline(5)
    changes = [
        Change(one, Wanted(target_of(one)), one.observe(deadline)) for one in (backend, silent)
    ]
    with pytest.raises(InterceptorError, match="undoing it failed as well: fake: no answer"):
        apply(changes, deadline)
    assert state(backend) == before
