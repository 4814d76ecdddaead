"""Install and remove: all or nothing, nothing twice, and nothing of anybody else's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from interceptor.errors import InterceptorError
from interceptor.system.command import held_interrupts
from interceptor.system.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interceptor.backends.interface import Backend, Step
    from interceptor.model import Ruleset

_UNDO_TIMEOUT_S = 20.0
"""Undoing is not hurried by a ``--timeout`` that is already over."""


class Changed(msgspec.Struct, frozen=True):
    """What was done: the steps taken, none if all was in place."""

    backend: str
    steps: tuple[Step, ...]


def converge(
    backend: Backend,
    target: Ruleset,
    observed: Ruleset,
    deadline: Deadline,
    made: Sequence[str] = (),
) -> Changed:
    """Make our part of what a backend holds the target, or leave it as it was.

    Interrupts wait until the change is whole or undone. If a step fails, or a tool had to be
    killed, what is there is observed anew and turned back into what was there before.

    Raises:
        InterceptorError: why a step failed; our part is as it was before the call, or the
            message says that it is not.
    """
    steps = backend.plan(target, observed, tuple(made))
    with held_interrupts():
        try:
            for step in steps:
                backend.apply(step, deadline)
        except InterceptorError as error:
            _undo(backend, backend.own(observed), made, error)
            raise
    return Changed(backend.name, steps)


def _undo(backend: Backend, before: Ruleset, made: Sequence[str], cause: InterceptorError) -> None:
    deadline = Deadline(_UNDO_TIMEOUT_S)
    try:
        for step in backend.plan(before, backend.observe(deadline), tuple(made)):
            backend.apply(step, deadline)
    except InterceptorError as error:
        raise InterceptorError(
            f"{cause.message}; undoing it failed as well: {error.message}",
            hint="run the same command again: it goes on from whatever is there",
        ) from error
