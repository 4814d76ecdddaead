"""What the commands share that stand in for other meshes' tools: install, print, tell."""

from __future__ import annotations

from functools import wraps
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import click
import msgspec

from interceptor.cli.exits import FAILED
from interceptor.cli.session import Session
from interceptor.config import BackendChoice
from interceptor.errors import InterceptorError, OutputError
from interceptor.layers import DEFAULTS, Layer, resolve
from interceptor.names import Family
from interceptor.sheets import loader
from interceptor.sources import sheet_layer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from interceptor.frontends.translation import Translation

_RESTORE = {Family.IP: "iptables-restore", Family.IP6: "ip6tables-restore"}


def session_of(name: str, settings: Mapping[str, str], origins: Mapping[str, str]) -> Session:
    """Start a session of a sheet: settings as text, and what errors call the place of each."""
    sheet = loader.load(name)
    layer = Layer(settings, lambda key: origins.get(key, key), given=True)
    return Session(resolve([DEFAULTS, sheet_layer(sheet), layer]), sheet)


def install(session: Session, *, anew: bool = False) -> dict[str, Any]:
    """Put the rules in force and tell a person; give the facts."""
    from interceptor.cli.summary import remarks, summary
    from interceptor.operations.install import install as put

    # Whoever takes a tool's place does what it does, its faults included.
    config = msgspec.structs.replace(session.config, unproven=True)
    with session.site() as site:
        done = put(config, session.sheet, site, session.deadline, anew=anew)
    for remark in remarks(done):
        session.printer.talk(remark)
    tell(session, summary(config, session.place, done))
    return {
        "changed": done.changed,
        "backend": done.backend,
        "families": [str(family) for family in done.family.members],
        "chains": done.chains,
        "rules": done.rules,
        "removed_from": list(done.removed_from),
        "passed_over": list(done.passed_over),
    }


def stand_in(session: Session, translation: Translation, *, dry_run: bool) -> None:
    """Do what a tool does with the rules of its mesh: install them, or print them."""
    for note in translation.notes:
        session.printer.talk(f"note: {note}")
    if dry_run:
        print_rules(session)
        return
    session.printer.json_or_nothing({"sheet": session.sheet.name, **install(session)})


def tell(session: Session, lines: Sequence[str]) -> None:
    """Print lines for a person; who wants JSON gets one object at the end."""
    if not session.printer.is_json:
        session.printer.data({}, lines)


def print_rules(session: Session, also_to: str = "") -> None:
    """Print the rules as text for the kernel's tools, and what is done beside them.

    Args:
        session: whose rules.
        also_to: path of a file they are written to as well, which ``DRY_RUN_FILE_PATH`` named.

    Raises:
        OutputError: it cannot be.
    """
    session.enter_namespace()
    texts, routing = _rules(session)
    lines: list[str] = []
    for tool, text in texts.items():
        lines += [f"# {tool}", text.rstrip("\n")]
    lines += [f"# {line}" for line in routing]
    if also_to:
        try:
            with open(also_to, "w", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in lines)
        except OSError as error:
            raise OutputError(
                f"DRY_RUN_FILE_PATH: {also_to} cannot be written: {error.strerror}",
                hint="give the path of a file that can be, or leave it out",
            ) from None
    facts = {
        "dry_run": True,
        "sheet": session.sheet.name,
        "texts": texts,
        "routing": list(routing),
    }
    session.printer.data(facts, lines)


def _rules(session: Session) -> tuple[dict[str, str], list[str]]:
    """Give the text for each tool, and what else packets need."""
    from interceptor.sheets.build import build, family_of
    from interceptor.system import host

    config, dialect = session.config, session.sheet.dialect
    facts = host.observe(config)
    ruleset = build(session.sheet, config, facts)
    texts = {}
    if config.backend in (BackendChoice.NFTABLES, BackendChoice.AUTO):
        from interceptor.render import nftables

        texts["nft -f -"] = nftables.text(nftables.lower(ruleset, dialect))
    else:
        from interceptor.render import iptables

        for family in family_of(config, facts).members:
            lowered = iptables.lower(ruleset, family, verbatim=dialect.verbatim)
            texts[_RESTORE[family]] = iptables.text(lowered)
    return texts, [str(one) for one in ruleset.routing]


class FrontEndCommand(click.Command):
    """A command whose words click does not look at."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Leave all to the callback."""
        ctx.params = {"argv": tuple(args)}
        return []


def command(name: str, run: Callable[[Sequence[str]], int]) -> click.Command:
    """Make a command of a function that takes all words after its name."""
    return FrontEndCommand(name, callback=run, help=run.__doc__, add_help_option=False)


def like_its_tool(run: Callable[[Sequence[str]], int]) -> Callable[[Sequence[str]], int]:
    """Have a command fail with the one exit code that its tool knows, whatever the reason."""

    @wraps(run)
    def run_so(argv: Sequence[str]) -> int:
        try:
            return run(argv)
        except InterceptorError as error:
            error.exit_code = FAILED
            if error.as_json is None and _asks_for_json(argv):
                error.as_json = True
            raise

    return run_so


def _asks_for_json(argv: Sequence[str]) -> bool:
    """Whether words that may not all be readable ask for JSON, with however many dashes."""
    words = [word.lstrip("-") for word in argv]
    joined = {f"{word}={after}" for word, after in pairwise(words)} | set(words)
    return not joined.isdisjoint({"output=json", "log-format=json"})
