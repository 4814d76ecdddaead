"""One row for each setting: its flag, environment variable, file key, default and help.

A value always starts as text, from whichever source, and goes through the row's ``parse``. The
sources are layers, weakest first: defaults, the sheet's defaults, ``--config``, the environment,
flags. To add a setting, add a field to ``Config`` and a row here.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from interceptor.config import (
    OWN_NETNS,
    BackendChoice,
    Config,
    FamilyChoice,
    Output,
    VariantChoice,
)
from interceptor.values import Accounts, Interfaces, Marks, Networks, Ports

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from ipaddress import IPv4Network

ENVIRONMENT_PREFIX = "INTERCEPTOR_"


class Scope(StrEnum):
    """What a setting is about, which decides the commands that offer it."""

    POLICY = "policy"
    """What is intercepted: every command that builds rules; recorded at install."""
    HOST = "host"
    """Where rules go: commands that read or change a kernel."""
    RUN = "run"
    """How this one run behaves: every command."""
    INSTALL = "install"
    """What only ``install`` does."""


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One row: ``parse`` takes text and raises ``ValueError`` with half a sentence."""

    name: str
    default: str
    parse: Callable[[str], Any]
    help: str
    metavar: str
    scope: Scope = Scope.POLICY

    @property
    def flag(self) -> str:
        """The long option."""
        return "--" + self.name.replace("_", "-")

    @property
    def environment(self) -> str:
        """The environment variable."""
        return ENVIRONMENT_PREFIX + self.name.upper()

    @property
    def is_switch(self) -> bool:
        """Whether the flag stands without a value."""
        return self.parse is parse_switch


E_ = TypeVar("E_", bound=StrEnum)


def one_of(choice: type[E_]) -> Callable[[str], E_]:
    """Make a parser for one of an enumeration's words."""

    def parse(text: str) -> E_:
        try:
            return choice(text)
        except ValueError:
            raise ValueError(f"{text!r} is none of {', '.join(choice)}") from None

    return parse


def parse_port(text: str) -> int:
    """Read one port."""
    if not text:
        raise ValueError("a port is needed, not an empty value")
    return Ports.parse_number(text)


def parse_switch(text: str) -> bool:
    """Read yes or no."""
    match text.lower():
        case "true" | "yes" | "on" | "1":
            return True
        case "false" | "no" | "off" | "0":
            return False
        case _:
            raise ValueError(f"{text!r} is neither true nor false")


_LONGEST_S = 86_400.0


def parse_seconds(text: str) -> float:
    """Read a positive number of seconds, at most a day."""
    try:
        seconds = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is no number of seconds") from None
    if not 0 < seconds <= _LONGEST_S:
        raise ValueError(f"{text!r} is no positive number of seconds, or more than a day")
    return seconds


def parse_text(text: str) -> str:
    """Read a text that may not be empty and can be shown on one line."""
    if not text.strip():
        raise ValueError("a value is needed, not an empty one")
    if not text.isprintable():
        raise ValueError(f"{text!r} has characters that do not print")
    return text


def parse_loopback(text: str) -> IPv4Network:
    """Read an IPv4 network inside 127.0.0.0/8."""
    networks = Networks.parse(text)
    if len(networks.ip) != 1 or networks.ip6 or not networks.ip[0].is_loopback:
        raise ValueError(f"{text!r} is not one network within 127.0.0.0/8")
    return networks.ip[0]


S = TypeVar("S", Ports, Networks)


def some(parse: Callable[[str], S]) -> Callable[[str], S]:
    """Make a parser for an exclusion, where everything is surely a mistake."""

    def parse_some(text: str) -> S:
        value = parse(text)
        if value.is_everything:
            raise ValueError(f"{text!r} excludes everything: empty the include list instead")
        return value

    return parse_some


PORTS, CIDRS, IDS, NAMES = "PORTS", "CIDRS", "IDS", "NAMES"

_ROWS = (
    Setting(
        name="sheet",
        default="sidecar",
        parse=parse_text,
        metavar="NAME|PATH",
        help="dialect of the rules: a shipped sheet's name, or a path to one",
    ),
    Setting(
        name="outbound_port",
        default="15001",
        parse=parse_port,
        metavar="PORT",
        help="where the proxy takes outbound connections",
    ),
    Setting(
        name="inbound_port",
        default="15006",
        parse=parse_port,
        metavar="PORT",
        help="where the proxy takes inbound connections",
    ),
    Setting(
        name="tunnel_port",
        default="15008",
        parse=parse_port,
        metavar="PORT",
        help="the proxy's own tunnel listener (HBONE), reached directly",
    ),
    Setting(
        name="proxy_uid",
        default="1337",
        parse=Accounts.parse,
        metavar=IDS,
        help="users the proxy runs as: ids, ranges or names",
    ),
    Setting(
        name="proxy_gid",
        default="1337",
        parse=Accounts.parse,
        metavar=IDS,
        help="groups the proxy runs as: ids, ranges or names",
    ),
    Setting(
        name="exempt_mark",
        default="",
        parse=Marks.parse,
        metavar="MARKS",
        help="socket marks that are exempt beside user and group, as 0x539 or 0x539/0xfff",
    ),
    Setting(
        name="include_inbound_ports",
        default="*",
        parse=Ports.parse,
        metavar=PORTS,
        help="inbound ports that are captured; empty captures none",
    ),
    Setting(
        name="exclude_inbound_ports",
        default="",
        parse=some(Ports.parse),
        metavar=PORTS,
        help="inbound ports that are never captured",
    ),
    Setting(
        name="include_outbound_ports",
        default="",
        parse=Ports.parse,
        metavar=PORTS,
        help="outbound ports that are captured whatever the address",
    ),
    Setting(
        name="exclude_outbound_ports",
        default="",
        parse=some(Ports.parse),
        metavar=PORTS,
        help="outbound ports that are never captured",
    ),
    Setting(
        name="include_outbound_cidrs",
        default="*",
        parse=Networks.parse,
        metavar=CIDRS,
        help="destinations that are captured; empty captures none by address",
    ),
    Setting(
        name="exclude_outbound_cidrs",
        default="",
        parse=some(Networks.parse),
        metavar=CIDRS,
        help="destinations that are never captured",
    ),
    Setting(
        name="exclude_outbound_uids",
        default="",
        parse=some(Accounts.parse),
        metavar=IDS,
        help="users whose outbound connections are never captured",
    ),
    Setting(
        name="exclude_interfaces",
        default="",
        parse=Interfaces.parse,
        metavar=NAMES,
        help="interfaces that are never captured; eth+ is every name that begins so",
    ),
    Setting(
        name="ip_families",
        default="auto",
        parse=one_of(FamilyChoice),
        metavar="|".join(FamilyChoice),
        help="what is intercepted; auto adds IPv6 where the namespace has such an address",
    ),
    Setting(
        name="loopback_cidr",
        default="127.0.0.1/32",
        parse=parse_loopback,
        metavar="CIDR",
        help="what counts as localhost for IPv4",
    ),
    Setting(
        name="backend",
        default="auto",
        parse=one_of(BackendChoice),
        metavar="|".join(BackendChoice),
        help="kernel language; auto takes nftables where it works, else iptables",
        scope=Scope.HOST,
    ),
    Setting(
        name="iptables_variant",
        default="auto",
        parse=one_of(VariantChoice),
        metavar="|".join(VariantChoice),
        help="which iptables; auto takes the one that holds rules, else nft",
        scope=Scope.HOST,
    ),
    Setting(
        name="netns",
        default=OWN_NETNS,
        parse=parse_text,
        metavar="PATH",
        help="network namespace to work in; if not given, the own one",
        scope=Scope.RUN,
    ),
    Setting(
        name="timeout",
        default="30",
        parse=parse_seconds,
        metavar="SECONDS",
        help="give up after so long, with nothing half done",
        scope=Scope.RUN,
    ),
    Setting(
        name="output",
        default="human",
        parse=one_of(Output),
        metavar="|".join(Output),
        help="stdout for people, or the same facts as JSON",
        scope=Scope.RUN,
    ),
    Setting(
        name="debug",
        default="false",
        parse=parse_switch,
        metavar="",
        help="show a traceback with an error",
        scope=Scope.RUN,
    ),
    Setting(
        name="dry_run",
        default="false",
        parse=parse_switch,
        metavar="",
        help="print what would be done and touch nothing",
        scope=Scope.INSTALL,
    ),
    Setting(
        name="verify",
        default="false",
        parse=parse_switch,
        metavar="",
        help="make real connections after installing, as the verify command does",
        scope=Scope.INSTALL,
    ),
)

SETTINGS: Mapping[str, Setting] = {row.name: row for row in _ROWS}


def show(value: object) -> str:
    """Write a value as text that its setting's ``parse`` takes back."""
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:g}"
        case _:
            return str(value)


def recorded_settings(config: Config) -> dict[str, str]:
    """Give what of a policy is not default, as text, for the record of an installation."""
    recorded = {}
    for row in _ROWS:
        value = getattr(config, row.name)
        if row.scope is Scope.POLICY and value != row.parse(row.default):
            recorded[row.name] = show(value)
    return recorded
