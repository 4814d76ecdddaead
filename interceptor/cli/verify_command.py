"""``interceptor verify``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interceptor.cli.exits import CANNOT, DONE, UNVERIFIED
from interceptor.cli.session import command
from interceptor.names import FAMILY_NAMES
from interceptor.settings import Scope
from interceptor.sheets.build import build, family_of
from interceptor.system import host
from interceptor.verify.run import Verified, verify

if TYPE_CHECKING:
    from interceptor.cli.session import Session
    from interceptor.config import Config
    from interceptor.model import Ruleset
    from interceptor.model.pod_config import SocketPolicy
    from interceptor.sheets.sheet import Sheet

_COLUMNS = ["", "family", "way", "connection", "ended", "because"]


def run(session: Session) -> int:
    """Make real connections and see where they end.

    A neighbour is made for the namespace, and connections go in and out: to every port, from
    every user, group and mark and to every network that the rules name, for each family. Where
    they name UDP, datagrams do too. It works with the proxy running and without; it leaves nothing
    behind.

    Exit code 126 means that one went another way than it should, or that --timeout was up before
    all were tried. What else could not be tried is named, and is no failure as long as something
    was; if nothing could be, the exit code is 4.
    """
    with session.site() as site:
        policy = session.policy(site)
        held = tuple(site.observed(name) for name in site.holders())
        sockets = next((one.sockets for one in held if one.sockets), None)
        verified = verify_policy(session, policy.config, policy.sheet, held, sockets)
    session.printer.json_or_nothing(verified_as_data(verified))
    return print_verified(session, verified)


def verify_policy(
    session: Session,
    config: Config,
    sheet: Sheet,
    held: tuple[Ruleset, ...] = (),
    sockets: SocketPolicy | None = None,
) -> Verified:
    """Verify a policy in the namespace this thread is in.

    ``held`` is what the kernel has beside it, ``sockets`` what programs at sockets enforce.
    """
    here = host.observe(config)
    ruleset = build(sheet, config, here)
    return verify(
        ruleset,
        family_of(config, here).members,
        session.deadline,
        held,
        sockets=sockets.config if sockets else None,
    )


def print_verified(session: Session, done: Verified) -> int:
    """Print a table for people, the verdict for all, and give the exit code."""
    rows = [
        [
            "✓" if result.ok else "✗",
            FAMILY_NAMES[result.probe.packet.family],
            str(result.probe.way),
            result.probe.what,
            result.seen if result.ok else f"{result.seen}, not {result.probe.expected}",
            result.note or result.probe.why,
        ]
        for result in done.results
    ]
    session.printer.table_for_people(_COLUMNS, rows)
    for what in done.not_tried:
        session.printer.talk(f"not tried: {what}")
    for remark in done.remarks:
        session.printer.talk(f"note: {remark}")
    session.printer.talk(_verdict(done))
    if done.in_time and not done.results:
        return CANNOT
    return DONE if done.ok else UNVERIFIED


def _verdict(done: Verified) -> str:
    """Say in one line how it went."""
    if not done.results:
        return "nothing could be tried, so nothing is known"
    failed = sum(not result.ok for result in done.results)
    verdict = f"{failed} went another way" if failed else "all went where they should"
    late = "" if done.in_time else ", and the time was up before all were tried"
    ports = " and ".join(map(str, done.proxy_ports))
    proxy = f"a proxy listens on {ports}" if ports else "no proxy was running"
    return f"{len(done.results)} connections, {verdict}{late}; {proxy}"


def verified_as_data(done: Verified) -> dict[str, Any]:
    """Give the same facts for JSON."""
    return {
        "ok": done.ok,
        "proxy_ports": list(done.proxy_ports),
        "not_tried": list(done.not_tried),
        "remarks": list(done.remarks),
        "connections": [
            {
                "family": str(result.probe.packet.family),
                "way": str(result.probe.way),
                "what": result.probe.what,
                "destination": result.probe.destination,
                "expected": str(result.probe.expected),
                "seen": result.seen,
                "ok": result.ok,
                "why": result.probe.why,
                "note": result.note,
            }
            for result in done.results
        ],
    }


command = command("verify", (Scope.POLICY, Scope.PLACE, Scope.RUN))(run)
