"""Everything that can go wrong, as one tree.

::

    InterceptorError        exit 1    the tree's root; also: something failed
    ├── UsageError          exit 2    what was asked for makes no sense
    │   ├── ConfigError               a setting: names the key and where its value came from
    │   ├── SheetError                a sheet: names file and line
    │   ├── RulesetError              rules that do not close or that a renderer cannot say
    │   └── NetnsError                the path given is no network namespace
    ├── HostError           exit 4    this host cannot: names what is missing
    ├── ParseError          exit 1    a dump that is not what its tool prints
    ├── CommandError        exit 1    a kernel tool refused; the namespace is as it was
    └── DeadlineError       exit 1    ``--timeout`` ran out

A message says what failed in one line; a hint says what to do in one line. Nothing here prints.
"""

from __future__ import annotations


class InterceptorError(Exception):
    """What failed, in one line, and in ``hint`` what to do about it."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(InterceptorError):
    """What was asked for makes no sense; nothing was done."""

    exit_code = 2


class ConfigError(UsageError):
    """A setting is unknown or its value is not acceptable."""


class SheetError(UsageError):
    """A sheet cannot be read; the message begins with ``file:line:``."""


class RulesetError(UsageError):
    """Rules that do not close, or that the chosen kernel language cannot express."""


class NetnsError(UsageError):
    """The path given is not a network namespace that can be entered."""


class HostError(InterceptorError):
    """This host lacks a tool, a kernel feature or a privilege."""

    exit_code = 4


class ParseError(InterceptorError):
    """A dump is not what its tool prints."""


class CommandError(InterceptorError):
    """A kernel tool refused; ``stderr`` holds its own words."""

    def __init__(self, message: str, *, hint: str = "", stderr: str = "") -> None:
        super().__init__(message, hint=hint)
        self.stderr = stderr


class DeadlineError(InterceptorError):
    """The time given with ``--timeout`` ran out."""
