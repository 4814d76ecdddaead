"""Flags as Istio's library reads them (github.com/spf13/pflag).

``--flag value``, ``--flag=value``, ``-f value``, ``-fvalue``, ``-f=value``; a switch stands alone
or with ``=``; one word may hold several flags of one letter, of which the first that is no switch
takes the rest as its value. ``--`` ends them, and what is no flag may stand between them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from interceptor.errors import ConfigError, did_you_mean
from interceptor.istio.options import OPTIONS, SHORT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from interceptor.istio.option import Option

SEE_HELP = "interceptor istio-iptables --help lists all options"


class Flag(msgspec.Struct, frozen=True):
    """A flag that was given with its text, and how to name it in a message."""

    option: Option
    text: str
    shown: str


def parse(argv: Sequence[str]) -> tuple[list[Flag], list[str]]:
    """Give the flags in their order, and the arguments that are none.

    Raises:
        ConfigError: there is no such flag, or its value is missing.
    """
    flags: list[Flag] = []
    arguments: list[str] = []
    words = iter(argv)
    for word in words:
        if word == "--":
            arguments += words
        elif word.startswith("--"):
            flags.append(_long(word, words))
        elif word.startswith("-") and word != "-":
            flags += _short(word, words)
        else:
            arguments.append(word)
    return flags, arguments


def wants_help(argv: Sequence[str]) -> bool:
    """Whether the help is asked for, which comes before any value is read."""
    return any(flag.option.key == "help" and flag.text != "false" for flag in parse(argv)[0])


def _long(word: str, words: Iterator[str]) -> Flag:
    name, equals, text = word[2:].partition("=")
    option = OPTIONS.get(name)
    if option is None or not option.is_flag:
        known = [option.key for option in OPTIONS.values() if option.is_flag]
        raise ConfigError(
            f"there is no flag --{name}",
            hint=did_you_mean(f"--{name}", [f"--{key}" for key in known]) or SEE_HELP,
        )
    if not equals:
        text = "true" if option.is_switch else _next(words, f"--{name}", option)
    return Flag(option, text, f"--{name}")


def _short(word: str, words: Iterator[str]) -> Iterator[Flag]:
    rest = word[1:]
    while rest:
        letter, rest = rest[0], rest[1:]
        option = SHORT.get(letter)
        if option is None:
            raise ConfigError(f"there is no flag -{letter}, as in {word}", hint=SEE_HELP)
        shown = f"-{letter} (--{option.key})"
        if rest.startswith("=") and rest != "=":
            text, rest = rest[1:], ""
        elif option.is_switch:
            text = "true"
        elif rest:
            text, rest = rest, ""
        else:
            text = _next(words, shown, option)
        yield Flag(option, text, shown)


def _next(words: Iterator[str], shown: str, option: Option) -> str:
    text = next(words, None)
    if text is None:
        raise ConfigError(f"{shown}: a value is needed", hint=option.help)
    return text
