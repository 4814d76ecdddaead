"""What every backend is: a kernel language that can be looked at and changed.

Design: a change is never computed from memory. ``observe`` reads what the kernel holds,
``target`` says what it should hold of ours, ``plan`` is the difference as steps, and each step is
taken by the kernel as a whole or not at all. Undoing a failed change is the same thing once more,
back to what was observed before it, and so is going on after having been killed. To add a
backend, write a class with these methods; docs/architecture.md says where to name it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from interceptor.model import Ruleset

if TYPE_CHECKING:
    from interceptor.backends.drift import Finding
    from interceptor.backends.step import Step
    from interceptor.dialect import Dialect
    from interceptor.names import Family
    from interceptor.system.deadline import Deadline


class Wanted(msgspec.Struct, frozen=True):
    """What a backend should hold of ours.

    Args:
        ruleset: our part, lowered; empty to remove all of ours.
        made: tables (``ip nat``) and base chains (``ip nat OUTPUT``) that are there only for us,
            to be removed once nobody uses them.
        like: an observation whose order of our rules and others' is to be restored; without it
            our rules stay where they are, and new ones come after others', but for those that are
            ``first``.
        anew: write all of ours again, also what seems to be as wanted.
    """

    ruleset: Ruleset = Ruleset()
    made: tuple[str, ...] = ()
    like: Ruleset | None = None
    anew: bool = False


class Backend(Protocol):
    """One kernel language, in the network namespace this thread is in."""

    @property
    def name(self) -> str:
        """The name people know it by: nftables, iptables-nft, iptables-legacy."""

    def families(self) -> frozenset[Family]:
        """Give the families this language can be used for here; none if its tools are missing."""

    def observe(self, deadline: Deadline) -> Ruleset:
        """Read all the tables this language can see, foreign ones too.

        Raises:
            HostError: this host does not have the language.
            InterceptorError: it has, and still could not be read.
        """

    def own(self, observed: Ruleset) -> Ruleset:
        """Give what of it is ours: chains, and rules elsewhere that call them."""

    def target(self, ruleset: Ruleset, dialect: Dialect) -> Ruleset:
        """Give what ``own`` will be once a policy's rules are installed."""

    def made(self, target: Ruleset) -> tuple[str, ...]:
        """Name what installing a target will make here and nobody will miss."""

    def plan(self, wanted: Wanted, observed: Ruleset) -> tuple[Step, ...]:
        """Give the steps that lead from what was observed to what is wanted."""

    def findings(self, target: Ruleset, observed: Ruleset) -> tuple[Finding, ...]:
        """Give each way in which what is there differs from the target."""

    def shadowing(self, target: Ruleset, observed: Ruleset) -> tuple[Finding, ...]:
        """Give rules of others that decide, or would decide, before the target's are asked."""
