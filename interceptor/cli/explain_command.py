"""``interceptor explain``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from interceptor.analysis.directions import Direction
from interceptor.analysis.journey import journey
from interceptor.analysis.packet import Unknown
from interceptor.analysis.telling import (
    packet_facts,
    packet_words,
    reason,
    visit_facts,
)
from interceptor.analysis.trace import trace
from interceptor.cli.exits import DONE, FOUND
from interceptor.cli.packet_options import OPTIONS, packet_of
from interceptor.cli.session import command
from interceptor.cli.subjects import SOURCES, look
from interceptor.cli.walked import path_lines
from interceptor.names import FAMILY_NAMES
from interceptor.settings import Scope

if TYPE_CHECKING:
    from interceptor.analysis.journey import Leg
    from interceptor.cli.session import Session


def run(
    session: Session,
    direction: str,
    *,
    live: bool,
    files: tuple[str, ...],
    show_trace: bool,
    **packet: Any,
) -> int:
    """Say what becomes of one connection, and why, rule by rule.

    Its first packet is followed through raw, mangle, nat and filter in the kernel's order, and if
    the proxy gets it, the connection the proxy makes for it too. It asks the rules that the
    settings mean; with --live those that a namespace holds, with --file those of a dump. Nothing
    is sent, and but for --live no root is needed.

    Exit code 3 means that it is unknown: a rule on the way cannot be read, and matters.
    """
    way = Direction(direction)
    looked = look(session, is_live=live, files=files)
    rules = looked.subject.rules
    legs = journey(rules.ruleset, way, packet_of(way, packet), looked.config, rules.language)
    first = legs[0]
    traced = [line for leg in legs for line in trace(leg)] if show_trace else []
    facts = {
        "origin": looked.subject.origin,
        "direction": direction,
        **_leg_facts(first),
        "journey": [_leg_facts(leg) for leg in legs],
    }
    if show_trace:
        facts["trace"] = traced
    session.printer.data(facts, _lines(looked.subject.origin, legs))
    session.printer.lines_for_people(["", *traced] if traced else [])
    is_unknown = any(isinstance(leg.walk.fate, Unknown) for leg in legs)
    return FOUND if is_unknown else DONE


def _leg_facts(leg: Leg) -> dict[str, object]:
    return {
        "from": leg.maker,
        "to": leg.target,
        "packet": packet_facts(leg.packet),
        "fate": str(leg.walk.fate),
        "why": reason(leg.walk.path),
        "zone": leg.walk.packet.zone,
        "path": [visit_facts(visit) for visit in leg.walk.path],
    }


def _lines(origin: str, legs: tuple[Leg, ...]) -> list[str]:
    lines = [f"{FAMILY_NAMES[legs[0].packet.family]}, {origin}"]
    for leg in legs:
        why = reason(leg.walk.path)
        lines += [
            "",
            f"{leg.maker} -> {leg.target}: {leg.walk.fate}" + (f" ({why})" if why else ""),
            f"  {packet_words(leg.packet)}",
        ]
        lines += path_lines(leg.walk.path)
    return lines


_DIRECTION = click.Argument(["direction"], type=click.Choice([*map(str, Direction)]))
_TRACE = click.Option(
    ["--trace", "show_trace"], is_flag=True, help="every chain it comes to, as the kernel goes"
)

command = command(
    "explain",
    (Scope.POLICY, Scope.HOST, Scope.PLACE, Scope.RUN),
    (_DIRECTION, *OPTIONS, *SOURCES, _TRACE),
)(run)
