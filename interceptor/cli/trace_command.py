"""``interceptor trace``."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from interceptor.analysis.directions import Direction
from interceptor.analysis.packet import Dropped, Redirected, Transparent
from interceptor.analysis.telling import end_words, visit_facts
from interceptor.cli.exits import DONE
from interceptor.cli.output import use_color
from interceptor.cli.session import command
from interceptor.cli.walked import path_lines
from interceptor.errors import CommandError, UsageError
from interceptor.settings import Scope
from interceptor.values import Ports

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from interceptor.analysis.decision import Decision
    from interceptor.cli.session import Session
    from interceptor.operations.trace import Source

_LONGEST_WAIT_S = 0.1
"""Until it is looked whether to end."""


def run(session: Session, **given: Any) -> int:
    """Show each decision as it is made: who connects where, what becomes of it, and why.

    The kernel itself tells, of the first packet of each connection, and of DNS queries where
    they are captured. Rules are not touched; while it runs there is a table "interceptor-trace-"
    with a number, which the kernel takes away with this process, however it ends.

    The user is the kernel's word; the process is looked up a moment after it sent, and may be
    gone by then. "Not seen to go on" is what something lost that the kernel does not tell of, as
    a rule of iptables-legacy, or a route.

    Where the eBPF backend intercepts, its programs tell: the process is their word too. They
    decide before a source address is chosen, so that there may be none; no rules are met, and what
    rules of others do later they do not see. Eight may trace on one node at once.

    With --output json each line is an object of its own. It ends with Ctrl-C, or as --for and
    --count say, with exit code 0; with 1 if what the eBPF backend had installed is removed.
    """
    from interceptor.operations.trace import traced
    from interceptor.system.termination import told_to_end

    shown, lines = _shown(given), Lines(is_verbose=given["verbose"])
    session.enter_namespace()
    told = 0
    with told_to_end() as stop, traced(session.deadline) as source:
        session.printer.talk(f"tracing {session.place}; Ctrl-C ends it")
        try:
            for decision in filter(shown, _decisions(source, stop, given["for_s"])):
                if session.printer.is_json:
                    session.printer.json_line(_facts(decision))
                else:
                    session.printer.lines_for_people(lines.of(decision))
                told += 1
                # A reader who has enough is no error.
                if told == given["count"] or getattr(sys.stdout, "fault", None):
                    break
        finally:
            session.printer.talk(_summary(told, source.lost()))
    return DONE


def _decisions(
    source: Source, stop: threading.Event, longest_s: float | None
) -> Iterator[Decision]:
    """Give decisions until somebody or the time says that it is enough.

    Raises:
        CommandError: none can come any more.
    """
    end = None if longest_s is None else time.monotonic() + longest_s
    while not stop.is_set():
        left = _LONGEST_WAIT_S if end is None else min(_LONGEST_WAIT_S, end - time.monotonic())
        if left <= 0:
            break
        found = source.wait(left)
        yield from found
        if not found and (over := source.over()):
            raise CommandError(over, hint="install it again, and then trace again")
    # What was decided until then and could not be shown yet.
    yield from source.wait(0)


def _shown(given: dict[str, Any]) -> Callable[[Decision], bool]:
    """Make the filter of the options.

    Raises:
        UsageError: --port has no ports.
    """
    both = given["inbound"] == given["outbound"]
    try:
        ports = Ports.parse(given["port"])
    except ValueError as error:
        raise UsageError(f"--port: {error}", hint="see interceptor trace --help") from None
    return lambda decision: (
        (both or decision.inbound == given["inbound"]) and (decision.destination_port in ports)
    )


class Lines:
    """Decisions as lines for people: columns grow with what was in them."""

    def __init__(self, *, is_verbose: bool) -> None:
        self._is_verbose = is_verbose
        self._widths = [12, 8, 3, 0, 0, 0]
        self._is_colored = use_color()

    def of(self, decision: Decision) -> list[str]:
        """Give the line of a decision, and those of the rules it met."""
        destination = end_words(decision.destination, decision.destination_port)
        cells = [
            datetime.fromtimestamp(decision.at).astimezone().strftime("%H:%M:%S.%f")[:-3],
            str(_direction(decision)),
            decision.protocol,
            f"{_source(decision)}-> {destination}",
            _sender(decision),
            str(decision.fate),
        ]
        self._widths = [max(w, len(c)) for w, c in zip(self._widths, cells, strict=True)]
        padded = [cell.ljust(w) for cell, w in zip(cells, self._widths, strict=True)]
        if self._is_colored:
            padded[-1] = click.style(padded[-1], fg=_color(decision))
        why = decision.why + (", and not seen to go on" if decision.is_lost else "")
        line = "  ".join([*padded, why]).rstrip()
        if self._is_verbose and decision.has_rules:
            return [line, *path_lines(decision.path)]
        return [line]


def _direction(decision: Decision) -> Direction:
    return Direction.INBOUND if decision.inbound else Direction.OUTBOUND


def _source(decision: Decision) -> str:
    """Write where it comes from; nothing where that was not chosen yet."""
    if decision.source is None:
        return ""
    if not decision.source_port:
        return f"{decision.source} "
    return f"{end_words(decision.source, decision.source_port)} "


def _sender(decision: Decision) -> str:
    if decision.inbound:
        return "-"
    if decision.sender is None:
        return "unknown"
    return f"uid {decision.sender.uid} {decision.sender.command}".rstrip()


def _color(decision: Decision) -> str | None:
    match decision.fate:
        case Dropped():
            return "red"
        case Redirected() | Transparent():
            return "green"
    return None


def _facts(decision: Decision) -> dict[str, object]:
    sender = decision.sender
    return {
        "time": datetime.fromtimestamp(decision.at, UTC).isoformat(timespec="milliseconds"),
        "direction": _direction(decision),
        "protocol": decision.protocol,
        "source": None if decision.source is None else str(decision.source),
        "source_port": decision.source_port or None,
        "destination": str(decision.destination),
        "destination_port": decision.destination_port,
        "uid": sender.uid if sender else None,
        "gid": sender.gid if sender else None,
        "pid": sender.pid if sender else None,
        "command": (sender.command or None) if sender else None,
        "fate": str(decision.fate),
        "why": decision.why,
        "decided_by_others": decision.is_others,
        "lost": decision.is_lost,
        "path": [visit_facts(visit) for visit in decision.path],
    }


def _summary(told: int, lost: int) -> str:
    decisions = f"{told} decision{'' if told == 1 else 's'}"
    if not lost:
        return f"{decisions}, none lost"
    return f"{decisions}; {lost} events were lost, and the decisions they were of are not shown"


_OPTIONS = (
    click.Option(["--inbound"], is_flag=True, help="only what arrives"),
    click.Option(["--outbound"], is_flag=True, help="only what is sent from here"),
    click.Option(
        ["--port"], metavar="PORTS", default="*", help="only what is sent to these ports"
    ),
    click.Option(
        ["--count"],
        metavar="N",
        type=click.IntRange(min=1),
        default=None,
        help="end after so many decisions",
    ),
    click.Option(
        ["--for", "for_s"],
        metavar="SECONDS",
        type=click.FloatRange(min=0, min_open=True),
        default=None,
        help="end after so long",
    ),
    click.Option(["--verbose", "-v"], is_flag=True, help="show every rule that was met"),
)

command = command("trace", (Scope.PLACE, Scope.RUN), _OPTIONS)(run)
