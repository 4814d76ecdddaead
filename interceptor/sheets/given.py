"""What a person gives a sheet: values for its options, and settings that it may lack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interceptor.errors import ConfigError, did_you_mean
from interceptor.settings import SETTINGS
from interceptor.settings.parsers import text_of

if TYPE_CHECKING:
    from interceptor.config import Config
    from interceptor.sheets.sheet import Sheet


def option_values(sheet: Sheet, config: Config) -> dict[str, Any]:
    """Read the options of a sheet: what is given, else their defaults.

    Raises:
        ConfigError: a name the sheet does not have, or a value its type does not take.
    """
    given = config.options.values
    for name in given:
        if name not in sheet.options:
            known = f"it has {', '.join(sheet.options)}" if sheet.options else "it has none"
            raise ConfigError(
                f"sheet {sheet.name} has no option {name!r}",
                hint=did_you_mean(name, sheet.options) or known,
                key="options",
            )
    values = {}
    for name, option in sheet.options.items():
        try:
            values[name] = option.read(given.get(name, option.default_text))
        except ValueError as error:
            raise ConfigError(
                f"option {name}: {error}", hint=f"{name}: {option.help}", key="options"
            ) from None
    return values


def refuse_lacking(sheet: Sheet, config: Config) -> None:
    """Refuse settings that a sheet says it does not cover, unless they are as it has them.

    Raises:
        ConfigError: with the sheet's reason.
    """
    for name, why in sheet.lacks.items():
        setting = SETTINGS[name]
        default = text_of(sheet.defaults[name]) if name in sheet.defaults else setting.default
        if getattr(config, name) != setting.parse(default):
            raise ConfigError(
                f"sheet {sheet.name} has no {setting.flag}: {why}",
                hint="leave it out, or choose --sheet sidecar",
                key=name,
            )
