"""A backend that keeps its rules in memory and minds them as a kernel would.

For tests of everything above backends, without root. It goes by the text of its steps, not by
what the caller meant with them, and refuses what ``iptables-restore`` would refuse: a jump to a
missing chain, the deletion of a rule that is not there or of a chain that is still called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.backends.drift import Finding, compare
from interceptor.backends.interface import Step
from interceptor.backends.iptables_plan import (
    FAMILIES,
    both_families,
    of_family,
    own_part,
    transition,
)
from interceptor.errors import CommandError, InterceptorError
from interceptor.model import Ruleset
from interceptor.names import PRIORITIES, Family
from interceptor.parse import iptables_save
from interceptor.render import iptables as render

if TYPE_CHECKING:
    from interceptor.dialect import Dialect
    from interceptor.system.deadline import Deadline


class FakeBackend:
    """Both families of an iptables that is only a dictionary of lines.

    ``tables`` maps family and table to chain and rule lines; built-in chains are always there.
    ``fail_at`` makes the step of that number, counted from 0 over the object's life, fail.
    """

    name = "fake"

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self.tables: dict[tuple[Family, str], dict[str, list[str]]] = {}
        self.fail_at: int | None = None
        self.applied = 0

    def families(self) -> frozenset[Family]:
        """Give both families."""
        return frozenset(FAMILIES)

    def observe(self, deadline: Deadline) -> Ruleset:
        """Read the dump of what is kept."""
        deadline.remaining("observing")
        return Ruleset(
            tuple(
                table
                for family in FAMILIES
                for table in iptables_save.parse(self.dump(family), family).tables
            )
        )

    def dump(self, family: Family) -> str:
        """Write what is kept as iptables-save would, chains of one's own by name."""
        lines = []
        for (kept_family, name), kept in self.tables.items():
            if kept_family is family:
                own = sorted(chain for chain in kept if not _builtin(name, chain))
                chains = {c: kept[c] for c in (*(c for c in kept if _builtin(name, c)), *own)}
                lines.append(f"*{name}")
                lines += [f":{c} {'ACCEPT' if _builtin(name, c) else '-'} [0:0]" for c in chains]
                lines += [f"-A {c} {rule}" for c, rules in chains.items() for rule in rules]
                lines.append("COMMIT")
        return "\n".join(lines)

    def own(self, observed: Ruleset) -> Ruleset:
        """Give our chains and the rules that call them."""
        return own_part(observed, self._dialect)

    def target(self, ruleset: Ruleset) -> Ruleset:
        """Lower to both families."""
        return both_families(ruleset)

    def made(self, ruleset: Ruleset, observed: Ruleset) -> tuple[str, ...]:
        """Name nothing."""
        del ruleset, observed
        return ()

    def plan(
        self, target: Ruleset, observed: Ruleset, made: tuple[str, ...] = ()
    ) -> tuple[Step, ...]:
        """Give one step for each family that changes."""
        del made
        own = self.own(observed)
        texts = {
            f: transition(of_family(target, f), of_family(own, f), self._dialect) for f in FAMILIES
        }
        return tuple(Step((f,), text, {}) for f, text in texts.items() if text)

    def apply(self, step: Step, deadline: Deadline) -> None:
        """Take each table's lines on a copy, and keep the copy if all of them are good."""
        deadline.remaining("applying")
        number, self.applied = self.applied, self.applied + 1
        if number == self.fail_at:
            raise CommandError("this step was told to fail")
        family = Family(step.argv[0])
        for part in step.stdin.split("COMMIT\n")[:-1]:
            name, *lines = part.splitlines()
            key = (family, name[1:])
            builtins = {hook.upper(): list[str]() for hook in PRIORITIES[name[1:]]}
            chains = {c: [*rules] for c, rules in self.tables.get(key, builtins).items()}
            for line in lines:
                _take(line, chains)
            _check_closed(chains, name[1:])
            self.tables[key] = chains
            if chains == builtins:
                # As a kernel has none before the first rule.
                del self.tables[key]

    def findings(self, target: Ruleset, observed: Ruleset) -> tuple[Finding, ...]:
        """Compare with the target."""
        return tuple(compare(target, self.own(observed), render.words))


def _builtin(table: str, chain: str) -> bool:
    return any(hook.upper() == chain for hook in PRIORITIES[table])


def _take(line: str, chains: dict[str, list[str]]) -> None:
    try:
        if line.startswith(":"):
            chains[line[1:].split(maxsplit=1)[0]] = []
            return
        operation, chain, *rest = line.split(" ", 2)
        rule = rest[0] if rest else ""
        match operation:
            case "-A":
                chains[chain].append(rule)
            case "-D":
                chains[chain].remove(rule)
            case "-X" if not chains[chain]:
                del chains[chain]
            case _:
                raise CommandError(f"this line cannot be taken: {line}")
    except (KeyError, ValueError):
        raise CommandError(f"no such chain or rule: {line}") from None


def _check_closed(chains: dict[str, list[str]], table: str) -> None:
    text = "\n".join(
        [
            f"*{table}",
            *(f":{chain} - [0:0]" for chain in chains),
            *(f"-A {chain} {rule}" for chain, rules in chains.items() for rule in rules),
            "COMMIT",
        ]
    )
    try:
        iptables_save.parse(text, Family.IP).validate()
    except InterceptorError as error:
        raise CommandError(error.message) from None
