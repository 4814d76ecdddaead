"""Steps: what a plan consists of. Each is taken by the kernel as a whole or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from interceptor.system.command import run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from interceptor.errors import InterceptorError
    from interceptor.system.command import Outcome
    from interceptor.system.deadline import Deadline
    from interceptor.system.nfnetlink import Remains


class Step(Protocol):
    """One change of a kernel."""

    def apply(self, deadline: Deadline) -> None:
        """Make it; when it raises, the kernel is as before it."""

    def describe(self) -> dict[str, object]:
        """Say what it does, for people and for JSON: ``argv`` and ``stdin``."""


class ToolStep(msgspec.Struct, frozen=True):
    """One run of a kernel tool."""

    argv: tuple[str, ...]
    stdin: str
    environment: Mapping[str, str] = {}

    def apply(self, deadline: Deadline) -> None:
        """Run it."""
        outcome = run(self.argv, deadline, stdin=self.stdin, environment=self.environment)
        if outcome.returncode != 0:
            raise failure(self.argv, self.stdin, outcome)

    def describe(self) -> dict[str, object]:
        """Give the command and its input."""
        return {"argv": list(self.argv), "stdin": self.stdin}


class RemovalStep(msgspec.Struct, frozen=True):
    """The removal of what was made for us in or with a table, unless somebody uses it by now."""

    remains: Remains

    def apply(self, deadline: Deadline) -> None:
        """Remove it; what is in use stays, and that is no failure."""
        from interceptor.system.nfnetlink import remove

        deadline.remaining(f"tidying up table {self.remains.family} {self.remains.table}")
        remove(self.remains)

    def describe(self) -> dict[str, object]:
        """Say it in nft's words, which cannot say "only if nobody uses it"."""
        remains = self.remains
        table = f"{remains.family} {remains.table}"
        lines = [f"delete chain {table} {chain}" for chain in (*remains.own, *remains.bases)]
        if remains.whole:
            lines.append(f"delete table {table}")
        return {"argv": [], "stdin": "".join(f"# if unused: {line}\n" for line in lines)}


def failure(argv: Sequence[str], stdin: str, outcome: Outcome) -> InterceptorError:
    """Say what a tool's failure means."""
    from interceptor.backends.failures import explain  # only failures pay for its many patterns

    return explain(argv, stdin, outcome)
