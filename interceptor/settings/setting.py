"""What a row of the table of settings says."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

from interceptor.settings.parsers import parse_switch

if TYPE_CHECKING:
    from collections.abc import Callable

ENVIRONMENT_PREFIX = "INTERCEPTOR_"
ANNOTATION_PREFIX = "interceptor.dev/"


class Scope(StrEnum):
    """What a setting is about, which decides the commands that offer it."""

    POLICY = "policy"
    """What is intercepted: every command that builds rules; recorded at install."""
    HOST = "host"
    """Where rules go: commands that read or change a kernel."""
    PLACE = "place"
    """Which namespace: commands that work in one."""
    RUN = "run"
    """How this one run behaves: every command."""
    INSTALL = "install"
    """What only ``install`` does."""


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One row: ``parse`` takes text and raises ``ValueError`` with half a sentence.

    ``repeated`` is the long option of a setting that is given one piece at a time; its text form
    has them joined by ``;``.
    """

    name: str
    default: str
    parse: Callable[[str], Any]
    help: str
    metavar: str
    repeated: str = ""
    scope: Scope = Scope.POLICY

    @property
    def flag(self) -> str:
        """The long option."""
        return self.repeated or "--" + self.name.replace("_", "-")

    @property
    def environment(self) -> str:
        """The environment variable."""
        return ENVIRONMENT_PREFIX + self.name.upper()

    @property
    def annotation(self) -> str:
        """The annotation of a pod; it is read for what a pod may say, see ``cni.annotations``."""
        return ANNOTATION_PREFIX + self.name.replace("_", "-")

    @property
    def is_switch(self) -> bool:
        """Whether the flag stands without a value."""
        return self.parse is parse_switch
