"""The ``interceptor`` group: it knows its commands' names and imports only the one called."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING

import click

from interceptor import __version__
from interceptor.cli.exits import FAILED, USAGE
from interceptor.cli.output import print_error
from interceptor.errors import InterceptorError, UsageError
from interceptor.settings import ENVIRONMENT_PREFIX

if TYPE_CHECKING:
    from collections.abc import Sequence

_INTERRUPTED = 130

COMMANDS = {
    "check": "Say whether this host can hold the rules, feature by feature.",
    "install": "Put the rules in force, all of them or none.",
    "status": "Say whether what is in force is still what was meant.",
    "verify": "Make real connections and see where they end.",
    "uninstall": "Remove all that was ever installed.",
    "render": "Print the rules as text for a kernel tool.",
    "sheets": "List the dialects, or show the rows of one.",
    "config": "Show every setting with its value and where it came from.",
}


class Group(click.Group):
    """Looks a command up in its own module, ``cli/<name>.py``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give the names in the order a person meets them."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"interceptor.cli.{cmd_name}_command")
        found: click.Command = module.command
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _print_version(ctx: click.Context, _param: click.Parameter, value: object) -> None:
    if value:
        click.echo(f"interceptor {__version__}")
        ctx.exit()


group = Group(
    "interceptor",
    help="Steer every TCP connection of a pod through its sidecar proxy, proven and reversible.",
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            help="Show the version and exit.",
            callback=_print_version,
        )
    ],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 99},
)


def run(argv: Sequence[str]) -> int:
    """Run a command line and give its exit code; errors become one line and a hint.

    Raises:
        InterceptorError: with ``--debug``, so that Python shows where it came from.
    """
    try:
        code: int = group.main(list(argv), prog_name="interceptor", standalone_mode=False)
    except InterceptorError as error:
        if _wants("debug", argv):
            raise
        print_error(error, as_json=_wants("output", argv, "json"))
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return USAGE
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "interceptor"
        plain = UsageError(error.format_message(), hint=f"see {path} --help")
        print_error(plain, as_json=_wants("output", argv, "json"))
        return USAGE
    except (click.Abort, KeyboardInterrupt):
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has enough; give Python nothing left to flush into it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        if _wants("debug", argv):
            raise
        bug = InterceptorError(
            f"a fault of this program: {type(error).__name__}: {error}",
            hint="please report it with what the same command prints with --debug",
        )
        print_error(bug, as_json=_wants("output", argv, "json"))
        return FAILED
    return code


def _wants(setting: str, argv: Sequence[str], value: str = "") -> bool:
    """Whether a setting is on, as far as can be told when reading settings may have failed."""
    flag = f"--{setting}"
    if value:
        pairs = zip(argv, [*argv[1:], ""], strict=True)
        if (flag, value) in pairs or f"{flag}={value}" in argv:
            return True
        return os.environ.get(ENVIRONMENT_PREFIX + setting.upper()) == value
    on = os.environ.get(ENVIRONMENT_PREFIX + setting.upper(), "").lower() in (
        "1",
        "true",
        "yes",
        "on",
    )
    return flag in argv or on
