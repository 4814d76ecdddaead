"""``interceptor graph``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from interceptor.analysis.directions import Direction
from interceptor.analysis.journey import journey
from interceptor.analysis.telling import packet_words, reason
from interceptor.cli.exits import DONE
from interceptor.cli.packet_options import OPTIONS, packet_of
from interceptor.cli.session import command
from interceptor.cli.subjects import SOURCES, look
from interceptor.render.graph.draw import draw
from interceptor.render.graph.drawing import Hop, Marks, VisitAt
from interceptor.settings import Scope

if TYPE_CHECKING:
    from collections.abc import Callable

    from interceptor import model
    from interceptor.analysis.journey import Leg
    from interceptor.cli.session import Session
    from interceptor.cli.subjects import Looked
    from interceptor.render.graph.drawing import Counters, Drawing


def run(
    session: Session,
    *,
    live: bool,
    files: tuple[str, ...],
    form: str,
    direction: str | None,
    **packet: Any,
) -> int:
    """Draw the chains and what they do, as a page, a picture or text for a drawing tool.

    It goes to stdout: a page that any browser opens without a network, SVG, Mermaid as GitHub
    shows it, or DOT for Graphviz. With --packet the way of one connection is highlighted, the
    proxy's own connection that follows from it included; with --live each rule shows how many
    packets it has matched.
    """
    looked = look(session, is_live=live, files=files)
    ruleset = looked.subject.rules.ruleset
    legs: tuple[Leg, ...] = ()
    if direction is not None:
        way = Direction(direction)
        rules = looked.subject.rules
        legs = journey(ruleset, way, packet_of(way, packet), looked.config, rules.language)
    drawing = draw(ruleset, _marks(looked, legs))
    text = _writer(form)(drawing)
    session.printer.data(
        {"origin": looked.subject.origin, "format": form, "text": text}, [text.rstrip("\n")]
    )
    return DONE


def _marks(looked: Looked, legs: tuple[Leg, ...]) -> Marks:
    title = looked.subject.origin
    if legs:
        title = f"{title}: {packet_words(legs[0].packet)}"
    return Marks(
        title,
        tuple(
            VisitAt(leg.packet.family, visit.table, visit.chain, visit.number)
            for leg in legs
            for visit in leg.walk.path
        ),
        _counters(looked.subject.rules.ruleset),
        tuple(
            Hop(leg.maker, leg.target.partition(":")[0], str(leg.walk.fate), reason(leg.walk.path))
            for leg in legs
        ),
    )


def _counters(ruleset: model.Ruleset) -> Counters:
    return {
        (table.family, table.name, chain.name, number): rule.counted
        for table in ruleset.tables
        for chain in table.chains
        for number, rule in enumerate(chain.rules, 1)
        if rule.counted is not None
    }


def _writer(form: str) -> Callable[[Drawing], str]:
    match form:
        case "mermaid":
            from interceptor.render.graph.mermaid import mermaid

            return mermaid
        case "dot":
            from interceptor.render.graph.dot import dot

            return dot
        case "svg":
            from interceptor.render.graph.svg import svg

            return svg
    from interceptor.render.graph.page import page

    return page


_FORM = click.Option(
    ["--format", "form"],
    type=click.Choice(["html", "svg", "mermaid", "dot"]),
    default="html",
    help="what to write  [default: html]",
)
_PACKET = click.Option(
    ["--packet", "direction"],
    type=click.Choice([*map(str, Direction)]),
    help="highlight the way of one packet, described as for explain",
)

command = command(
    "graph",
    (Scope.POLICY, Scope.HOST, Scope.PLACE, Scope.RUN),
    (*SOURCES, _FORM, _PACKET, *OPTIONS),
)(run)
