"""What a row of the table of istio-iptables' options says."""

from __future__ import annotations

from enum import StrEnum

from interceptor.frontends.row import Row
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


class Option(Row, frozen=True, kw_only=True):
    """One row; a key in capitals is a variable's name, and there is no flag.

    Args:
        setting: the setting it decides about, or nothing if it is about this run alone.
        derived: whether there is a variable that is named as the flag.
    """

    kind: Kind
    setting: str = ""
    derived: bool = True

    @property
    def is_flag(self) -> bool:
        """Whether it can be given on the command line."""
        return not self.key.isupper()

    @property
    def is_ours(self) -> bool:
        """Whether Istio knows nothing of it."""
        return any(name.startswith(ENVIRONMENT_PREFIX) for name in self.also)

    @property
    def environment(self) -> tuple[str, ...]:
        """The variables it is read from, weakest first."""
        own = (self.key.upper().replace("-", "_"),) if self.derived else ()
        return own + self.also
