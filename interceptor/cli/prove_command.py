"""``interceptor prove``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from interceptor.analysis.properties import Property
from interceptor.analysis.prove import prove
from interceptor.analysis.telling import packet_facts, packet_words, visit_facts
from interceptor.cli.exits import DONE, FOUND
from interceptor.cli.session import command
from interceptor.cli.subjects import SOURCES, look
from interceptor.cli.walked import path_lines
from interceptor.names import FAMILY_NAMES
from interceptor.settings import Scope

if TYPE_CHECKING:
    from interceptor.analysis.proof import Violation
    from interceptor.cli.session import Session
    from interceptor.sheets.sheet import Sheet


def run(
    session: Session, *, live: bool, files: tuple[str, ...], properties: tuple[str, ...]
) -> int:
    """Prove of all packets there can be that rules do what the settings want.

    Every property is decided over the whole space of first packets, not by trying some: family,
    protocol, addresses, ports, users, groups, interfaces and marks. For each that does not hold
    it prints a packet and the rules that packet meets.

    Exit code 3 means that a property does not hold, or that nobody can tell because rules on the
    way cannot be read.
    """
    looked = look(session, is_live=live, files=files, for_proof=True)
    wanted = [Property(name) for name in properties] or [*Property]
    found = prove(looked.subject.rules, looked.intent, session.in_time("proving"))
    violations = [one for one in found if one.property in wanted]
    facts = {
        "origin": looked.subject.origin,
        "families": [FAMILY_NAMES[f] for f in looked.subject.rules.families],
        "proven": not violations,
        "properties": [
            {
                "id": str(one),
                "says": one.says,
                "holds": _holds(one, violations),
                "violations": [_facts(v) for v in violations if v.property is one],
            }
            for one in wanted
        ],
    }
    session.printer.json_or_nothing(facts)
    session.printer.table_for_people(
        ["", "property", "says"],
        [
            [
                _SIGNS[_holds(one, violations)],
                str(one),
                one.says + _known(looked.sheet, one, violations),
            ]
            for one in wanted
        ],
    )
    session.printer.lines_for_people(
        line for same in _over_families(violations) for line in ("", *_lines(same))
    )
    return FOUND if violations else DONE


def _known(sheet: Sheet, wanted: Property, violations: list[Violation]) -> str:
    """Say why a dialect does not have a property, where that is known and it does not hold."""
    why = sheet.breaks.get(wanted, "")
    return "" if not why or _holds(wanted, violations) else f" ({sheet.name}: {why})"


_SIGNS = {True: "✓", False: "✗", None: "?"}


def _holds(wanted: Property, violations: list[Violation]) -> bool | None:
    """Say whether a property holds; ``None`` if nobody can tell."""
    own = [one for one in violations if one.property is wanted]
    if any(not one.is_unknown for one in own):
        return False
    return None if own else True


def _facts(violation: Violation) -> dict[str, object]:
    return {
        "says": violation.says,
        "is_unknown": violation.is_unknown,
        "family": violation.family and FAMILY_NAMES[violation.family],
        "direction": violation.direction and str(violation.direction),
        "packet": violation.packet and packet_facts(violation.packet),
        "wanted": violation.wanted and str(violation.wanted),
        "found": violation.found and str(violation.found),
        "path": [visit_facts(visit) for visit in violation.path],
    }


def _over_families(violations: list[Violation]) -> list[list[Violation]]:
    """Put what is violated alike over both families together; one packet then shows both."""
    groups: dict[object, list[Violation]] = {}
    for one in violations:
        groups.setdefault((one.property, one.direction, one.says), []).append(one)
    return [*groups.values()]


def _lines(same: list[Violation]) -> list[str]:
    violation = same[0]
    families = " and ".join(FAMILY_NAMES[one.family] for one in same if one.family)
    where = " ".join(filter(None, (families, violation.direction)))
    lines = [f"{violation.property}: {f'{where}: ' if where else ''}{violation.says}"]
    if violation.packet is not None:
        lines.append(f"  {packet_words(violation.packet)}: {violation.found}")
        lines += path_lines(violation.path)
    return lines


_PROPERTY = click.Option(
    ["--property", "properties"],
    multiple=True,
    type=click.Choice([*map(str, Property)]),
    metavar="ID",
    help="only this one; again for others",
)

command = command(
    "prove", (Scope.POLICY, Scope.HOST, Scope.PLACE, Scope.RUN), (*SOURCES, _PROPERTY)
)(run)
