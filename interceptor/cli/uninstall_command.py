"""``interceptor uninstall``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.cli.exits import DONE
from interceptor.cli.session import command
from interceptor.operations.install import uninstall
from interceptor.settings import Scope

if TYPE_CHECKING:
    from interceptor.cli.session import Session


def run(session: Session) -> int:
    """Remove all that was ever installed.

    It needs no settings: what is ours is found in the kernel, whatever configuration, backend or
    version left it. Nothing there to remove is no error.
    """
    with session.site() as site:
        names = uninstall(site, session.deadline)
    lines = [f"removed from {session.place}: {', '.join(names)}"]
    session.printer.data(
        {"changed": bool(names), "netns": session.config.netns, "removed_from": list(names)},
        lines if names else [f"nothing of ours in {session.place}"],
    )
    return DONE


command = command("uninstall", (Scope.PLACE, Scope.RUN))(run)
