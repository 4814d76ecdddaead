"""Settings from several sources, laid over one another into one ``Config``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from interceptor.config import Config
from interceptor.errors import ConfigError, did_you_mean
from interceptor.settings import SETTINGS, Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from interceptor.values import Accounts


class Layer(msgspec.Struct, frozen=True):
    """Values from one source as text; ``origin`` names the place of one key in it.

    ``given`` is whether the person running this wrote them, and not somebody before.
    """

    values: Mapping[str, str]
    origin: Callable[[str], str]
    given: bool = False


class Resolved(msgspec.Struct, frozen=True):
    """A ``Config``, where each of its values stood, and which of them were given for this run."""

    config: Config
    origins: Mapping[str, str]
    given: frozenset[str]

    @property
    def policy_given(self) -> bool:
        """Whether this run says what is to be intercepted; a sheet alone does not."""
        return any(SETTINGS[key].scope is Scope.POLICY for key in self.given - {"sheet"})


DEFAULTS = Layer({name: row.default for name, row in SETTINGS.items()}, lambda _key: "default")


def unknown_key(key: str, origin: str, known: Iterable[str]) -> ConfigError:
    """Make the error for a key that is no setting, with the nearest name that is one."""
    hint = did_you_mean(key, known) or "interceptor config show lists all settings"
    return ConfigError(f"{origin}: there is no setting {key!r}", hint=hint)


def resolve(layers: Iterable[Layer]) -> Resolved:
    """Lay sources over one another, later ones winning, and read every value.

    Every value is read, also one that a stronger layer hides: a mistake does not wait in a
    file for the day its flag is gone.
    """
    values: dict[str, object] = {}
    origins: dict[str, str] = {}
    given: set[str] = set()
    for layer in layers:
        for key, text in layer.values.items():
            if key not in SETTINGS:
                raise unknown_key(key, layer.origin(key), SETTINGS)
            try:
                values[key] = SETTINGS[key].parse(text)
            except ValueError as error:
                raise ConfigError(
                    f"{layer.origin(key)}: {error}", hint=f"{key}: {SETTINGS[key].help}"
                ) from None
            origins[key] = layer.origin(key)
            if layer.given:
                given.add(key)
    config = Config(**values)  # type: ignore[arg-type]  # each row's parser gives its field's type
    _check_together(config, origins)
    return Resolved(config, origins, frozenset(given))


def _check_together(config: Config, origins: Mapping[str, str]) -> None:
    """Refuse values that are good alone and wrong together."""
    if not (config.proxy_uid or config.proxy_gid or config.exempt_mark):
        raise ConfigError(
            f"{origins['proxy_uid']}, {origins['proxy_gid']}: the proxy has no user, group, mark",
            hint="its own connections would come back to it for ever: give one of the three",
        )
    if any(mark.value == 0 for mark in config.exempt_mark.marks):
        raise ConfigError(
            f"{origins['exempt_mark']}: a mark of 0 is what every packet without a mark has",
            hint="give the mark the proxy sets on its sockets, as 0x539",
        )
    for key in ("proxy_uid", "proxy_gid"):
        value: Accounts = getattr(config, key)
        if value.ids.is_everything:
            raise ConfigError(
                f"{origins[key]}: '*' makes every process the proxy, so nothing is captured",
                hint="name the ids the proxy runs as",
            )
