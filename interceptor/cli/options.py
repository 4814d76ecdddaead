"""Click options made from the rows of ``settings``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from interceptor.errors import ConfigError
from interceptor.settings import SETTINGS, Scope, Setting

if TYPE_CHECKING:
    from collections.abc import Callable

_CONFIG_HELP = "read settings from a TOML, YAML or JSON file; - is stdin"


def settings_options(*scopes: Scope) -> Callable[[click.Command], click.Command]:
    """Add an option for each setting of these scopes, and ``--config``.

    Options that are not given stay out of the command's arguments, so that what is given can be
    told from what is default.
    """

    def add(command: click.Command) -> click.Command:
        command.params.append(
            click.Option(["--config"], metavar="FILE", help=_CONFIG_HELP, default=None)
        )
        for setting in SETTINGS.values():
            if setting.scope in scopes:
                command.params.append(_option(setting))
        return command

    return add


def _option(setting: Setting) -> click.Option:
    if setting.is_switch:
        return click.Option(
            [f"{setting.flag}/--no-{setting.flag[2:]}"], help=setting.help, default=None
        )
    if setting.repeated:
        return click.Option(
            [setting.repeated, setting.name],
            metavar=setting.metavar,
            help=f"{setting.help}; may be repeated",
            multiple=True,
            default=None,
        )
    shown = f"  [default: {setting.default}]" if setting.default else ""
    return click.Option(
        [setting.flag], metavar=setting.metavar, help=setting.help + shown, default=None
    )


def flag_values(arguments: dict[str, Any]) -> dict[str, str]:
    """Give the settings that were given as flags, as text."""
    return {
        key: _text(key, value)
        for key, value in arguments.items()
        if key in SETTINGS and value is not None and value != ()
    }


def _text(key: str, value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case tuple():
            return ";".join(_one(key, piece) for piece in value)
        case _:
            return str(value)


def _one(key: str, piece: str) -> str:
    """Give a piece that is given by itself, and so cannot hold what joins pieces."""
    if ";" in piece:
        flag = SETTINGS[key].flag
        raise ConfigError(
            f"{flag} {piece!r}: one name and value at a time",
            hint=f"give {flag} once for each",
        )
    return piece
