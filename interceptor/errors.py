"""Everything that can go wrong, as one tree.

::

    InterceptorError        exit 1    the tree's root; also: something failed
    ├── UsageError          exit 2    what was asked for makes no sense
    │   ├── ConfigError               a setting: names the key and where its value came from
    │   ├── SheetError                a sheet: names file and line
    │   ├── RulesetError              rules that do not close or that a renderer cannot say
    │   ├── UnprovenError             rules that do not do what the settings want
    │   └── NetnsError                the path given is no network namespace
    ├── HostError           exit 4    this host cannot: names what is missing
    ├── ParseError          exit 1    a dump that is not what its tool prints
    ├── CommandError        exit 1    a kernel tool refused; the namespace is as it was
    ├── OutputError         exit 1    what was asked for is done, and stdout takes no answer
    ├── UnreachableError    exit 1    a server that has to be asked gives no answer
    └── DeadlineError       exit 1    ``--timeout`` ran out

A message says what failed in one line; a hint says what to do in one line. Nothing here prints.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class InterceptorError(Exception):
    """What failed, in one line, and in ``hint`` what to do about it.

    A kind of error has a hint of its own for where no better one is known.
    """

    exit_code = 1
    usual_hint = "run it again with --debug to see more"
    as_json: bool | None = None
    """Whether the settings ask for JSON, where they were read far enough to know."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or self.usual_hint


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Ask whether the known word most like an unknown one was meant; ``""`` if none is like it."""
    import difflib

    near = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {near[0]}?" if near else ""


class UsageError(InterceptorError):
    """What was asked for makes no sense; nothing was done."""

    exit_code = 2
    usual_hint = "see interceptor --help"


class ConfigError(UsageError):
    """A setting is unknown or its value is not acceptable.

    Whoever does not know where a value stood gives the setting's ``key``, and whoever does makes
    the same error with the place.
    """

    usual_hint = "interceptor config show --origin lists all settings and where they come from"

    def __init__(self, message: str, *, hint: str = "", key: str = "") -> None:
        super().__init__(f"{key}: {message}" if key else message, hint=hint)
        self.key = key

    def at(self, place: str) -> ConfigError:
        """Give the same error with a place for the key."""
        return ConfigError(
            f"{place}: {self.message.removeprefix(f'{self.key}: ')}", hint=self.hint
        )


class SheetError(UsageError):
    """A sheet cannot be read; the message begins with ``file:line:``."""

    usual_hint = "rules/README.md says how a sheet is written"


class RulesetError(UsageError):
    """Rules that do not close, or that the chosen kernel language cannot express."""

    usual_hint = "mend the sheet they come from; rules/README.md says how one is written"


class UnprovenError(UsageError):
    """Rules about to be installed that do not do, for some packet, what the settings want."""

    usual_hint = "interceptor prove shows the packets; --unproven installs the rules all the same"


class NetnsError(UsageError):
    """The path given is not a network namespace that can be entered."""


class HostError(InterceptorError):
    """This host lacks a tool, a kernel feature or a privilege."""

    exit_code = 4
    usual_hint = "interceptor check looks at everything that is needed"


class ParseError(InterceptorError):
    """A dump is not what its tool prints."""

    usual_hint = "give the tool's output as it is, whole"


class CommandError(InterceptorError):
    """A kernel tool refused; the message holds its own words."""


class OutputError(InterceptorError):
    """The command did what it was asked for, and then its answer could not be written."""

    usual_hint = "send its output where it can be written; status tells what is in force"


class UnreachableError(InterceptorError):
    """A server that has to be asked gives no answer, or not now."""

    usual_hint = "try again later"


class DeadlineError(InterceptorError):
    """The time given with ``--timeout`` ran out."""
