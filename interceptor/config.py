"""What the user wants: one frozen ``Config``, whatever it was written in.

``settings.py`` has one row for each field here and makes a ``Config`` from text; nothing else
should. Ids may still be names: ``with_accounts`` puts numbers in their place once the host's
accounts are known.
"""

from __future__ import annotations

from enum import StrEnum
from ipaddress import IPv4Network  # noqa: TC003 - msgspec reads the annotations of fields
from typing import TYPE_CHECKING

import msgspec

from interceptor.errors import ConfigError

if TYPE_CHECKING:
    from interceptor.values import Accounts, Interfaces, Marks, Networks, Options, Ports


_ACCOUNTS = {
    "proxy_uid": "user",
    "proxy_gid": "group",
    "exclude_outbound_uids": "user",
    "include_outbound_owner_groups": "group",
    "exclude_outbound_owner_groups": "group",
}
ACCOUNT_KEYS = tuple(_ACCOUNTS)
"""Settings that take users or groups, so that names may stand in them."""

OWN_NETNS = "/proc/self/ns/net"
"""The network namespace this program was started in."""


class BackendChoice(StrEnum):
    """Which kernel language to install in."""

    AUTO = "auto"
    IPTABLES = "iptables"
    NFTABLES = "nftables"
    EBPF = "ebpf"


class VariantChoice(StrEnum):
    """Which of the two iptables: on nf_tables, or the older kernel interface."""

    AUTO = "auto"
    NFT = "nft"
    LEGACY = "legacy"


class LoaderChoice(StrEnum):
    """Where the eBPF backend's programs come from; what is enforced does not depend on it."""

    LIBBPF = "libbpf"
    """They were compiled with the package."""
    BCC = "bcc"
    """They are compiled where they are loaded, by Debian's python3-bpfcc."""


class FamilyChoice(StrEnum):
    """Which address families are intercepted; the other is left alone."""

    AUTO = "auto"
    IPV4 = "ipv4"
    IPV6 = "ipv6"
    DUAL = "dual"


class Mode(StrEnum):
    """How an inbound connection gets to the proxy."""

    REDIRECT = "redirect"
    """Its destination becomes the proxy's; the proxy asks for the original one."""
    TPROXY = "tproxy"
    """It is handed over as it is; the proxy can go on to the app in the client's name."""
    NONE = "none"
    """It does not."""


class DnsCapture(StrEnum):
    """Which DNS queries go to the proxy."""

    OFF = "off"
    RESOLV_CONF = "resolv-conf"
    ALL = "all"


class Output(StrEnum):
    """For whom stdout is."""

    HUMAN = "human"
    JSON = "json"


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting with its value; see ``settings.SETTINGS`` for what each means."""

    sheet: str
    options: Options
    backend: BackendChoice
    iptables_variant: VariantChoice
    ebpf_loader: LoaderChoice
    outbound_port: int
    inbound_port: int
    tunnel_port: int
    dns_port: int
    mode: Mode
    proxy_uid: Accounts
    proxy_gid: Accounts
    exempt_mark: Marks
    include_inbound_ports: Ports
    exclude_inbound_ports: Ports
    exclude_inbound_cidrs: Networks
    include_outbound_ports: Ports
    exclude_outbound_ports: Ports
    include_outbound_cidrs: Networks
    exclude_outbound_cidrs: Networks
    exclude_outbound_uids: Accounts
    include_outbound_owner_groups: Accounts
    exclude_outbound_owner_groups: Accounts
    exclude_interfaces: Interfaces
    virtual_interfaces: Interfaces
    capture_dns: DnsCapture
    drop_invalid: bool
    ip_families: FamilyChoice
    loopback_cidr: IPv4Network
    tproxy_mark: int
    tproxy_route_table: int
    netns: str
    timeout: float
    output: Output
    dry_run: bool
    unproven: bool
    verify: bool
    debug: bool

    @property
    def is_elsewhere(self) -> bool:
        """Whether the work is in another network namespace than the own one."""
        return self.netns != OWN_NETNS

    @property
    def user_names(self) -> tuple[str, ...]:
        """User names that still have to be looked up."""
        return self.proxy_uid.names + self.exclude_outbound_uids.names

    @property
    def group_names(self) -> tuple[str, ...]:
        """Group names that still have to be looked up."""
        return (
            self.proxy_gid.names
            + self.include_outbound_owner_groups.names
            + self.exclude_outbound_owner_groups.names
        )

    def with_accounts(self, users: dict[str, int], groups: dict[str, int]) -> Config:
        """Put ids in the place of names.

        Raises:
            ConfigError: a name is not known; it names the setting.
        """
        resolved = {}
        for key, kind in _ACCOUNTS.items():
            accounts: Accounts = getattr(self, key)
            try:
                resolved[key] = accounts.resolve(users if kind == "user" else groups)
            except KeyError as error:
                raise ConfigError(
                    f"no {kind} named {error.args[0]!r} on this host",
                    hint="give the number: names are looked up here, not in the pod's image",
                    key=key,
                ) from None
        return msgspec.structs.replace(self, **resolved)
