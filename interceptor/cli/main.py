"""The ``interceptor`` group: it knows its commands' names and imports only the one called."""

from __future__ import annotations

import importlib
import os
import traceback
from typing import TYPE_CHECKING

import click

from interceptor import __version__
from interceptor.cli.exits import DONE, FOUND, INTERRUPTED, UNVERIFIED, USAGE
from interceptor.cli.output import print_error, streams
from interceptor.errors import InterceptorError, OutputError, UsageError
from interceptor.settings import ENVIRONMENT_PREFIX

if TYPE_CHECKING:
    from collections.abc import Sequence

_ANSWERS = (DONE, FOUND, UNVERIFIED)
"""Exit codes of commands that went through."""

COMMANDS = {
    "check": "Say whether this host can hold the rules, feature by feature.",
    "install": "Put the rules in force, all of them or none.",
    "status": "Say whether what is in force is still what was meant.",
    "detect": "Say which mesh intercepts a pod, with which settings, and whether it has drifted.",
    "verify": "Make real connections and see where they end.",
    "uninstall": "Remove all that was ever installed.",
    "explain": "Say what becomes of one connection, and why, rule by rule.",
    "trace": "Show each decision as it is made: who connects where, what becomes of it, why.",
    "prove": "Prove of all packets that rules do what the settings want.",
    "diff": "Say which traffic fares otherwise under other rules.",
    "graph": "Draw the chains and a packet's way through them.",
    "render": "Print the rules as text for a kernel tool.",
    "sheets": "List the dialects, or show the rows of one.",
    "istio-iptables": "Do what istio-iptables does, with its flags and environment.",
    "linkerd-proxy-init": "Do what Linkerd's proxy-init does, with its flags.",
    "kuma-transparent-proxy": "Do what kumactl's transparent-proxy does, with its flags.",
    "consul-redirect-traffic": "Do what Consul's redirect-traffic does, with its flags.",
    "cni": "Keep the CNI plugin installed on a node.",
    "config": "Show every setting with its value and where it came from.",
}


class Group(click.Group):
    """Looks a command up in its own module, ``cli/<name>_command.py``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give the names in the order a person meets them."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        module = importlib.import_module(f"interceptor.cli.{name}_command")
        found: click.Command = module.command
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Look the first argument up, and say which command may be meant if it is none."""
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            from interceptor.cli.unknown import unknown_command

            raise unknown_command(args[0], [*COMMANDS])
        return super().resolve_command(ctx, args)

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

    With ``--debug`` Python's traceback stands before them. A reader of stdout that has enough
    changes nothing; other faults of it are told once the command is through.
    """
    with streams() as stdout:
        code = _run(argv)
        stdout.flush()
        fault = stdout.fault
        if fault is None or isinstance(fault, BrokenPipeError) or code not in _ANSWERS:
            return code
        lost = OutputError(
            f"the command itself went through, but its output did not: {fault.strerror}"
        )
        print_error(lost, as_json=False)
        return code or lost.exit_code


def _run(argv: Sequence[str]) -> int:
    try:
        return int(group.main(list(argv), prog_name="interceptor", standalone_mode=False) or 0)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return USAGE
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last one to see it, and it is shown
        if _wants("debug", argv):
            traceback.print_exc()
        plain = _plain(error, argv)
        said = plain.as_json
        print_error(plain, as_json=_wants("output", argv, "json") if said is None else said)
        return plain.exit_code


def _plain(error: Exception, argv: Sequence[str]) -> InterceptorError:
    """Make one of our errors of whatever went wrong."""
    match error:
        case InterceptorError():
            return error
        case click.NoSuchOption(ctx=click.Context() as context):
            from interceptor.cli.unknown import unknown_option

            return unknown_option(error.option_name, context)
        case click.UsageError():
            command = next((word for word in argv if word in COMMANDS), "")
            path = error.ctx.command_path if error.ctx else f"interceptor {command}".strip()
            return UsageError(error.format_message(), hint=f"see {path} --help")
        case _:
            return InterceptorError(
                f"a fault of this program: {type(error).__name__}: {error}",
                hint="please report it with what the same command prints with --debug",
            )


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
