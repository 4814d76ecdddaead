"""``interceptor verify``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interceptor.cli.exits import DONE, UNVERIFIED
from interceptor.cli.session import command
from interceptor.names import Family
from interceptor.settings import Scope
from interceptor.sheets.build import build, family_of
from interceptor.system import facts
from interceptor.verify.run import Verified, verify

if TYPE_CHECKING:
    from interceptor.cli.session import Session
    from interceptor.config import Config
    from interceptor.model import Ruleset
    from interceptor.sheets.sheet import Sheet


_FAMILIES = {Family.IP: "IPv4", Family.IP6: "IPv6"}


def run(session: Session) -> int:
    """Make real connections and see where they end.

    A neighbour is made for the namespace, and connections go in and out: to every port, from
    every user, group and mark and to every network that the rules name, for each family. It
    works with the proxy running and without; it leaves nothing behind. Exit code 126 means that
    one went another way than it should.
    """
    with session.site() as site:
        config, sheet, _ = session.installed(site)
        held = tuple(site.observed(name) for name in site.holders())
        return verify_and_print(session, config, sheet, held)


def verify_and_print(
    session: Session, config: Config, sheet: Sheet, held: tuple[Ruleset, ...] = ()
) -> int:
    """Verify in the namespace this thread is in."""
    here = facts.observe(config)
    ruleset = build(sheet, config, here)
    done = verify(ruleset, family_of(config, here).members, session.deadline, held)
    rows = [
        [
            "✓" if result.ok else "✗",
            _FAMILIES[result.probe.packet.family],
            str(result.probe.way),
            result.probe.what,
            result.seen if result.ok else f"{result.seen}, not {result.probe.expected}",
            result.note or result.probe.why,
        ]
        for result in done.results
    ]
    columns = ["", "family", "way", "connection", "ended", "because"]
    session.printer.table(_facts(done), columns, rows)
    for what in done.not_tried:
        session.printer.talk(f"not tried: {what}")
    failed = sum(not result.ok for result in done.results)
    ports = " and ".join(map(str, done.proxy_ports))
    proxy = f"a proxy listens on {ports}" if ports else "no proxy was running"
    verdict = f"{failed} went another way" if failed else "all went where they should"
    session.printer.talk(f"{len(done.results)} connections, {verdict}; {proxy}")
    return DONE if done.ok else UNVERIFIED


def _facts(done: Verified) -> dict[str, Any]:
    return {
        "ok": done.ok,
        "proxy_ports": list(done.proxy_ports),
        "not_tried": list(done.not_tried),
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


command = command("verify", (Scope.POLICY, Scope.RUN))(run)
