"""Changes of one or more backends: all of them or none, nothing twice, nothing of others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from interceptor.backends.interface import Wanted
from interceptor.errors import InterceptorError
from interceptor.system.command import held_interrupts
from interceptor.system.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interceptor.backends.interface import Backend
    from interceptor.backends.step import Step
    from interceptor.model import Ruleset

_UNDO_TIMEOUT_S = 20.0
"""Undoing is not hurried by a ``--timeout`` that is already over."""


class Change(msgspec.Struct, frozen=True):
    """What one backend should hold, and what it was seen to hold."""

    backend: Backend
    wanted: Wanted
    observed: Ruleset

    def steps(self) -> tuple[Step, ...]:
        """Plan it."""
        return self.backend.plan(self.wanted, self.observed)


def apply(changes: Sequence[Change], deadline: Deadline) -> tuple[tuple[Step, ...], ...]:
    """Make all changes, in order, or leave everything as it was; give the steps of each.

    Interrupts wait until the whole is done or undone. If a step fails, or a tool had to be
    killed, what is there is observed anew and turned back into what was there before, in the
    same places among other people's rules.

    Raises:
        InterceptorError: why a step failed; all is as it was before the call, or the message
            says that it is not.
    """
    done: list[tuple[Step, ...]] = []
    begun: list[Change] = []
    with held_interrupts():
        try:
            for change in changes:
                begun.append(change)
                done.append(change.steps())
                for step in done[-1]:
                    step.apply(deadline)
        except BaseException as cause:
            _undo(begun, cause)
            raise
    return tuple(done)


def _undo(begun: Sequence[Change], cause: BaseException) -> None:
    deadline = Deadline(_UNDO_TIMEOUT_S)
    failed: list[str] = []
    for change in reversed(begun):
        try:
            now = change.backend.observe(deadline)
            before = change.backend.own(change.observed)
            back = Wanted(before, change.wanted.made, like=change.observed)
            for step in change.backend.plan(back, now):
                step.apply(deadline)
        except Exception as error:  # noqa: BLE001 - the others are to be undone whatever this was
            failed.append(f"{change.backend.name}: {error}")
    if failed:
        raise InterceptorError(
            f"{cause}; undoing it failed as well: {'; '.join(failed)}",
            hint="run the same command again: it goes on from whatever is there",
        ) from cause
