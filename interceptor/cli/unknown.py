"""What to say of a command or an option that is none: where it is one, or what is like it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from interceptor.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def unknown_command(name: str, known: Sequence[str]) -> UsageError:
    """Make the error for a command that is none."""
    return UsageError(
        f"there is no command {name!r}",
        hint=did_you_mean(name, known) or f"commands are {', '.join(known)}",
    )


def unknown_option(name: str, context: click.Context) -> UsageError:
    """Make the error for an option a command lacks."""
    path, root = context.command_path, context.find_root()
    hint = f"see {path} --help"
    there = dict(_options(root.command, root, root.command_path))
    elsewhere = [command for command, names in there.items() if name in names]
    if isinstance(context.command, click.Group):
        if elsewhere:
            hint = f"write it after a command, as {elsewhere[0]} {name}"
        return UsageError(f"{path} itself has no option {name}", hint=hint)
    if elsewhere:
        others = ", ".join(other.removeprefix(f"{root.command_path} ") for other in elsewhere)
        return UsageError(f"{path} has no option {name}: it is one of {others}", hint=hint)
    return UsageError(f"{path} has no option {name}", hint=did_you_mean(name, there[path]) or hint)


def _options(
    command: click.Command, context: click.Context, path: str
) -> Iterator[tuple[str, list[str]]]:
    """Give the names of the options of all commands below one, by the command's path."""
    if not isinstance(command, click.Group):
        params = [p for p in command.params if isinstance(p, click.Option)]
        yield path, [name for p in params for name in (*p.opts, *p.secondary_opts)]
        return
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        if below is not None:
            yield from _options(below, context, f"{path} {name}")
