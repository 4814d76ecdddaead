"""``interceptor check``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interceptor.cli.exits import DONE, FOUND
from interceptor.cli.session import command
from interceptor.operations.check import Answer, Checked, Feature, check
from interceptor.settings import Scope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.cli.session import Session

_SYMBOLS = {Answer.YES: "✓", Answer.NO: "✗", Answer.UNKNOWN: "?"}


def run(session: Session) -> int:
    """Say whether this host can hold the rules, feature by feature.

    The real rules are installed in a network namespace made for the purpose, read back and
    removed, with every backend there is; with eBPF only where it is asked for or holds the policy
    already. The namespace you work in is only looked at.
    """
    with session.site(shared=True) as site:
        checked = check(session.config, session.sheet, site, session.deadline)
    session.printer.table(_as_data(checked), ["", "what", "detail"], list(_rows(checked)))
    return DONE if checked.ok else FOUND


def _as_data(checked: Checked) -> dict[str, Any]:
    return {
        "ok": checked.ok,
        "backend": checked.backend,
        "features": [
            {
                "category": f.category,
                "name": f.name,
                "answer": str(f.answer),
                "needed": f.needed,
                "detail": f.detail,
                "hint": f.hint,
            }
            for f in checked.features
        ],
    }


def _rows(checked: Checked) -> Iterator[list[str]]:
    for feature in checked.features:
        yield [_symbol(feature), f"{feature.category}: {feature.name}", feature.detail]
        if feature.hint:
            yield ["", "", f"hint: {feature.hint}"]


def _symbol(feature: Feature) -> str:
    """A lack that nothing depends on is no fault."""
    if feature.answer is Answer.NO and not feature.needed:
        return "·"
    return _SYMBOLS[feature.answer]


command = command("check", (Scope.POLICY, Scope.HOST, Scope.PLACE, Scope.RUN))(run)
