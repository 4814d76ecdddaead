"""``argv`` and environment to values, as istio-iptables takes them; nothing else is looked at.

A value comes from the default, the variable named as the flag, further variables, or the flag,
stronger ones last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from interceptor.errors import ConfigError
from interceptor.frontends import pflag
from interceptor.frontends.istio.options import NEVER_READ, OPTIONS, TABLE
from interceptor.frontends.istio.reading import TPROXY, TYPED, read, read_leniently
from interceptor.values import EVERYTHING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from interceptor.frontends.istio.option import Option


class Value(msgspec.Struct, frozen=True):
    """An option's text, put plainly, and the flag or variable it is from; none is the default."""

    text: str
    origin: str = ""


class Given(msgspec.Struct, frozen=True):
    """The values of all options by key; ``notes`` tells a person what has no effect."""

    values: Mapping[str, Value]
    notes: tuple[str, ...] = ()

    def text(self, key: str) -> str:
        """Give a value as text."""
        return self.values[key].text

    def is_on(self, key: str) -> bool:
        """Whether a switch is on."""
        return self.text(key) == "true"

    def origin(self, key: str) -> str:
        """Name where a value is from, for a message."""
        return self.values[key].origin or "default"

    def is_given(self, key: str) -> bool:
        """Whether somebody gave a value, and not an empty one."""
        return bool(self.values[key].origin and self.text(key))


class _Said(msgspec.Struct, frozen=True):
    """One text that was given for an option, and where."""

    option: Option
    text: str
    origin: str
    by_flag: bool = False


def parse(argv: Sequence[str], environment: Mapping[str, str]) -> Given:
    """Read a command line.

    Every text is checked, also one that a stronger one hides. With ``--lenient`` only those that
    count are, and what Istio would not refuse is taken as it would take it.

    Raises:
        ConfigError: a flag there is not, or a value that cannot be meant; it names where it
            stood.
    """
    flags, arguments = pflag.parse(argv, TABLE)
    said = [
        *_from_environment(environment),
        *(_Said(flag.option, flag.text, flag.shown, by_flag=True) for flag in flags),
    ]
    counts = {one.option.key: one for one in said}
    lenient = "lenient" in counts and _read(counts["lenient"], lenient=False) == "true"
    if arguments and not lenient:
        raise ConfigError(f"{arguments[0]!r} is no flag; Istio ignores it", hint=TABLE.see_help)
    values = {key: Value(read(option, option.unset)) for key, option in OPTIONS.items()}
    unused = _unused({key: one.text for key, one in counts.items()})
    for one in counts.values() if lenient else said:
        try:
            values[one.option.key] = Value(_read(one, lenient=lenient), one.origin)
        except ConfigError:
            if not (lenient and one.option.key in unused):
                raise
    given = Given(values)
    return Given(values, (*_never_read(environment), *_without_effect(given, unused)))


def _from_environment(environment: Mapping[str, str]) -> Iterator[_Said]:
    for option in OPTIONS.values():
        for name in option.environment:
            if name in environment:
                yield _Said(option, environment[name], name)


def _read(one: _Said, *, lenient: bool) -> str:
    # What Istio reads by itself it refuses as a flag, and not as a variable.
    refused = one.by_flag and one.option.kind in TYPED
    take = read_leniently if lenient and not refused and not one.option.is_ours else read
    try:
        return take(one.option, one.text)
    except ValueError as error:
        hint = "write true or false" if one.option.is_switch else one.option.help
        if one.option.unset and not one.text:
            hint = f"leave it out, for {one.option.unset}, or give a value"
        raise ConfigError(f"{one.origin}: {error}", hint=hint) from None


def _unused(texts: Mapping[str, str]) -> dict[str, str]:
    """Give the options Istio does not look at beside the others; why, if a person should know."""

    def text(key: str) -> str:
        return texts.get(key, OPTIONS[key].unset)

    unused = {}
    if text("istio-inbound-ports") != EVERYTHING:
        unused["istio-local-exclude-ports"] = "Istio excludes inbound ports only from all, '*'"
    if text("ISTIO_OUTBOUND_OWNER_GROUPS") != EVERYTHING:
        unused["ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE"] = "Istio excludes groups only from all, '*'"
    if text("istio-inbound-interception-mode") != TPROXY:
        unused["istio-inbound-tproxy-mark"] = ""
    if text("istio-inbound-interception-mode") != TPROXY or not text("istio-inbound-ports"):
        unused["istio-inbound-tproxy-route-table"] = ""
    return unused


def _never_read(environment: Mapping[str, str]) -> Iterator[str]:
    for name, instead in NEVER_READ.items():
        if name in environment:
            yield f"{name} has no effect: Istio reads {instead}"


def _without_effect(given: Given, unused: Mapping[str, str]) -> Iterator[str]:
    for key, why in unused.items():
        if why and given.is_given(key):
            yield f"{given.origin(key)} has no effect: {why}"
