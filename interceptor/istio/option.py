"""What a row of the table of istio-iptables' options says."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from interceptor.settings import ENVIRONMENT_PREFIX


class Kind(StrEnum):
    """What a value is, as the help shows it."""

    SWITCH = ""
    UINT16 = "NUMBER"
    DURATION = "DURATION"
    PORT = "PORT"
    PORTS = "PORTS|*"
    SOME_PORTS = "PORTS"
    IDS = "IDS"
    GROUPS = "GROUPS|*"
    SOME_GROUPS = "GROUPS"
    CIDRS = "CIDRS|*"
    SOME_CIDRS = "CIDRS"
    LOOPBACK = "CIDR"
    NAMES = "NAMES"
    MODE = "REDIRECT|TPROXY"
    VARIANT = "legacy|nft"
    MARK = "MARK"
    TABLE = "TABLE"
    TEXT = "TEXT"


class Option(msgspec.Struct, frozen=True, kw_only=True):
    """One row.

    Args:
        key: the long flag; an upper-case name is a variable's, and there is no flag.
        short: the flag of one letter, or nothing.
        kind: of its value.
        default: as text; that of a switch is ``false``.
        setting: the setting it decides about, or nothing if it is about this run alone.
        help: one line for a person.
        also: variables beside the one that is named as the flag, stronger ones last.
        derived: whether there is a variable that is named as the flag.
    """

    key: str
    short: str = ""
    kind: Kind
    default: str = ""
    setting: str = ""
    help: str
    also: tuple[str, ...] = ()
    derived: bool = True

    @property
    def is_flag(self) -> bool:
        """Whether it can be given on the command line."""
        return not self.key.isupper()

    @property
    def is_switch(self) -> bool:
        """Whether its flag stands without a value."""
        return self.kind is Kind.SWITCH

    @property
    def is_ours(self) -> bool:
        """Whether Istio knows nothing of it."""
        return any(name.startswith(ENVIRONMENT_PREFIX) for name in self.also)

    @property
    def unset(self) -> str:
        """Its value where nobody gives one."""
        return "false" if self.is_switch else self.default

    @property
    def environment(self) -> tuple[str, ...]:
        """The variables it is read from, weakest first."""
        own = (self.key.upper().replace("-", "_"),) if self.derived else ()
        return own + self.also

    @property
    def flags(self) -> str:
        """Its flags as a person writes them, or nothing."""
        if not self.is_flag:
            return ""
        return f"-{self.short}, --{self.key}" if self.short else f"--{self.key}"
