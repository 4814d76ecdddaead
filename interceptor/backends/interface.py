"""What every backend is: a kernel language that can be looked at and changed.

Design: a change is never computed from memory. ``observe`` reads what the kernel holds,
``target`` says what it should hold of ours, ``plan`` is the difference as steps, and each step is
taken by the kernel as a whole or not at all. Undoing a failed change is the same thing once more,
back to what was observed before it, and so is going on after having been killed. To add a
backend, write a class with these methods and name it in ``select``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from interceptor.backends.drift import Finding
    from interceptor.errors import InterceptorError
    from interceptor.model import Ruleset
    from interceptor.names import Family
    from interceptor.system.command import Outcome
    from interceptor.system.deadline import Deadline


class Step(msgspec.Struct, frozen=True):
    """One run of a kernel tool."""

    argv: tuple[str, ...]
    stdin: str
    environment: Mapping[str, str]


def failure(argv: Sequence[str], stdin: str, outcome: Outcome) -> InterceptorError:
    """Say what a tool's failure means."""
    from interceptor.backends.failures import explain  # only failures pay for its many patterns

    return explain(argv, stdin, outcome)


class Backend(Protocol):
    """One kernel language, in the network namespace this thread is in."""

    @property
    def name(self) -> str:
        """The name people know it by: nftables, iptables-nft, iptables-legacy."""

    def observe(self, deadline: Deadline) -> Ruleset:
        """Read all the tables this language can see, foreign ones too."""

    def own(self, observed: Ruleset) -> Ruleset:
        """Give what of it is ours: chains, and rules elsewhere that call them."""

    def target(self, ruleset: Ruleset) -> Ruleset:
        """Give what ``own`` will be once a policy's rules are installed."""

    def made(self, ruleset: Ruleset, observed: Ruleset) -> tuple[str, ...]:
        """Name the tables that installing will make and nobody will miss: ``ip nat``."""

    def plan(
        self, target: Ruleset, observed: Ruleset, made: tuple[str, ...] = ()
    ) -> tuple[Step, ...]:
        """Give the steps that make ``own`` the target; an empty target removes all of ours.

        Tables in ``made`` are removed with our last rule if nothing else is in them.
        """

    def apply(self, step: Step, deadline: Deadline) -> None:
        """Take one step; when it raises, the kernel is as before it."""

    def findings(self, target: Ruleset, observed: Ruleset) -> tuple[Finding, ...]:
        """Give each way in which what is there differs from the target."""

    def families(self) -> frozenset[Family]:
        """Give the families this language can be used for here."""
