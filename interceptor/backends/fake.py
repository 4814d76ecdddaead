"""A backend that keeps its rules in memory and minds them as a kernel would.

For tests of everything above backends, without root. It goes by the text of its steps, not by
what the caller meant with them, and refuses what ``iptables-restore`` would refuse: a jump to a
missing chain, the deletion of a rule that is not there or of a chain that is still called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from interceptor.backends.drift import Finding, compare
from interceptor.backends.iptables_plan import FAMILIES, both_families, own_part, transition
from interceptor.backends.shadow import shadowing
from interceptor.errors import CommandError, InterceptorError
from interceptor.model import Ruleset
from interceptor.names import PRIORITIES, Family
from interceptor.parse import iptables_save
from interceptor.render import iptables as render

if TYPE_CHECKING:
    from interceptor.backends.interface import Wanted
    from interceptor.backends.step import Step
    from interceptor.dialect import Dialect, Ownership
    from interceptor.system.deadline import Deadline


class FakeBackend:
    """Both families of an iptables that is only a dictionary of lines.

    ``tables`` maps family and table to chain and rule lines; built-in chains are always there.
    ``fail_at`` makes the step of that number, counted from 0 over the object's life, fail.
    """

    name = "fake"

    def __init__(self, ownership: Ownership) -> None:
        self._ownership = ownership
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
        """Write what is kept as iptables-save would: tables and chains of one's own by name."""
        lines = []
        for (kept_family, name), kept in sorted(self.tables.items()):
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
        return own_part(observed, self._ownership)

    def target(self, ruleset: Ruleset, dialect: Dialect) -> Ruleset:
        """Lower to both families."""
        return both_families(ruleset, verbatim=dialect.verbatim)

    def made(self, target: Ruleset) -> tuple[str, ...]:
        """Name nothing: an empty table is no table here."""
        del target
        return ()

    def plan(self, wanted: Wanted, observed: Ruleset) -> tuple[Step, ...]:
        """Give one step for each family that changes."""
        texts = {f: transition(wanted, observed, f, self._ownership) for f in FAMILIES}
        return tuple(FakeStep(self, family, text) for family, text in texts.items() if text)

    def findings(self, target: Ruleset, observed: Ruleset) -> tuple[Finding, ...]:
        """Compare with the target."""
        return tuple(compare(target, self.own(observed), render.words))

    def shadowing(self, target: Ruleset, observed: Ruleset) -> tuple[Finding, ...]:
        """Find what would decide before our rules."""
        return tuple(shadowing(target, observed, self._ownership))

    def load(self, family: Family, text: str) -> None:
        """Take each table's lines on a copy, and keep the copies if all lines are good."""
        number, self.applied = self.applied, self.applied + 1
        if number == self.fail_at:
            raise CommandError("this step was told to fail")
        for part in text.split("COMMIT\n")[:-1]:
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


class FakeStep(msgspec.Struct, frozen=True):
    """One text for one family."""

    backend: FakeBackend
    family: Family
    stdin: str

    def apply(self, deadline: Deadline) -> None:
        """Load it."""
        deadline.remaining("applying")
        self.backend.load(self.family, self.stdin)

    def describe(self) -> dict[str, object]:
        """Give the text."""
        return {"argv": ["fake", str(self.family)], "stdin": self.stdin}


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
            case "-I":
                number, _, words = rule.partition(" ")
                if int(number) > len(chains[chain]) + 1:
                    raise CommandError(f"index of insertion too big: {line}")
                chains[chain].insert(int(number) - 1, words)
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
