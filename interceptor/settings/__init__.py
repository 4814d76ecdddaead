"""One row for each setting: its flag, environment variable, file key, default and help.

A value always starts as text, from whichever source, and goes through the row's ``parse``. The
sources are layers, weakest first: defaults, the sheet's defaults, ``--config``, the environment,
flags. To add a setting, add a field to ``Config`` and a row to ``rows``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.settings.rows import ROWS
from interceptor.settings.setting import ANNOTATION_PREFIX, ENVIRONMENT_PREFIX, Scope, Setting
from interceptor.values import Accounts, Interfaces, Networks, Ports

if TYPE_CHECKING:
    from collections.abc import Mapping

    from interceptor.config import Config

__all__ = [
    "ANNOTATION_PREFIX",
    "ENVIRONMENT_PREFIX",
    "SETTINGS",
    "Scope",
    "Setting",
    "recorded_settings",
    "show",
]

SETTINGS: Mapping[str, Setting] = {row.name: row for row in ROWS}


def show(value: object) -> str:
    """Write a value as text that its setting's ``parse`` takes back."""
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:g}"
        case Accounts() | Interfaces() | Networks() | Ports():
            return value.text
        case _:
            return str(value)


def recorded_settings(config: Config, defaults: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give what of a policy is not default, as text, for the record of an installation.

    ``defaults`` are those of its sheet, which come before the built-in ones.
    """
    recorded = {}
    for row in ROWS:
        value = getattr(config, row.name)
        default = (defaults or {}).get(row.name, row.default)
        if row.scope is Scope.POLICY and value != row.parse(default):
            recorded[row.name] = show(value)
    return recorded
