"""The sheet ``sidecar`` for programs at sockets: what settings mean to each connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.config import DnsCapture, FamilyChoice, Mode
from interceptor.errors import ConfigError, HostError
from interceptor.facts import ALL_IDS
from interceptor.model.pod_config import MOST_MARKS, PodConfig
from interceptor.names import Family
from interceptor.values import Ids, Networks, Ports, Range, merge

if TYPE_CHECKING:
    from interceptor.config import Config
    from interceptor.facts import HostFacts, IdMap, PodFacts

_DNS = 53

_LOOPBACK = Networks.parse("127.0.0.0/8,::1/128")
_IPV6_LOCALHOST = Networks.parse("::1/128")
_SPECIAL_LOOPBACK = Networks.parse("127.0.0.0/8,::1/128,::6/128")


def refuse_unsupported(config: Config) -> None:
    """Refuse by name what programs at sockets cannot do.

    Raises:
        HostError: a setting asks for it.
    """
    asked = {
        f"--sheet {config.sheet}": config.sheet != "sidecar",
        f"--mode {config.mode}": config.mode is Mode.TPROXY,
        "--exclude-interfaces": bool(config.exclude_interfaces),
        "--virtual-interfaces": bool(config.virtual_interfaces),
        "--drop-invalid": config.drop_invalid,
        f"more than {MOST_MARKS} marks in --exempt-mark": len(config.exempt_mark.marks)
        > MOST_MARKS,
    }
    reasons = {
        "--exclude-interfaces": "no route is chosen yet where it decides",
        "--virtual-interfaces": "what is only passed on has no socket",
        "--drop-invalid": "it does without conntrack",
    }
    for name, is_asked in asked.items():
        if is_asked:
            why = reasons.get(name, "")
            raise HostError(
                f"the eBPF backend has no {name}" + (f": {why}" if why else ""),
                hint="leave that setting out, or choose --backend nftables",
            )


def pod_config(config: Config, facts: HostFacts, pod: PodFacts, *, kept: Ports) -> PodConfig:
    """Work out what a configuration means for a pod, as the sheet ``sidecar`` does.

    ``kept`` are the ports that sheet never captures inbound.

    Raises:
        HostError: it asks for what this backend cannot do.
        ConfigError: a name nobody knows, or settings that capture nothing together.
    """
    refuse_unsupported(config)
    config = config.with_accounts(facts.users, facts.groups)
    localhost = Networks.of((config.loopback_cidr,)) + _IPV6_LOCALHOST
    excluded = config.exclude_outbound_cidrs
    inside = config.include_outbound_cidrs.within(_LOOPBACK)
    is_dual = config.ip_families is FamilyChoice.DUAL
    is_auto = config.ip_families is FamilyChoice.AUTO
    inbound = Ports() if config.mode is Mode.NONE else config.include_inbound_ports
    made = PodConfig(
        ipv4=config.ip_families is not FamilyChoice.IPV6,
        ipv6=is_dual or config.ip_families is FamilyChoice.IPV6 or (is_auto and facts.has_ipv6),
        outbound_port=config.outbound_port,
        inbound_port=config.inbound_port,
        dns_port=config.dns_port,
        inbound_ports=_plain(inbound),
        kept_ports=_plain(kept + config.exclude_inbound_ports),
        outbound_ports=_plain(config.include_outbound_ports),
        excluded_ports=_plain(config.exclude_outbound_ports),
        included=_outside(config.include_outbound_cidrs, _LOOPBACK + excluded),
        excluded=_nets(excluded),
        localhost=localhost,
        loopback=_outside(inside, localhost + excluded),
        resolvers=_resolvers(config, facts),
        own=pod.own.within(_SPECIAL_LOOPBACK, inside=False),
        excluded_sources=_nets(config.exclude_inbound_cidrs),
        proxy_users=_mapped(config.proxy_uid.ids, pod.users),
        proxy_groups=_mapped(config.proxy_gid.ids, pod.groups),
        excluded_users=_mapped(config.exclude_outbound_uids.ids, pod.users),
        excluded_groups=_mapped(config.exclude_outbound_owner_groups.ids, pod.groups),
        included_groups=_mapped(config.include_outbound_owner_groups.ids, pod.groups),
        marks=config.exempt_mark,
        source4=pod.source4,
        source6=pod.source6,
    )
    _refuse_nothing(config, made)
    return made


def _plain(ports: Ports) -> Ports:
    """Forget how ports were written; what a policy has of them is the set."""
    return Ports(ports.ranges)


def _nets(networks: Networks) -> Networks:
    return Networks(networks.ip, networks.ip6)


def _outside(networks: Networks, frame: Networks) -> Networks:
    return networks.within(frame, inside=False)


def _resolvers(config: Config, facts: HostFacts) -> Networks:
    if config.capture_dns is DnsCapture.OFF or _DNS in config.exclude_outbound_ports:
        return Networks()
    if config.capture_dns is DnsCapture.ALL:
        return Networks.everything()
    return _nets(facts.resolvers)


def _mapped(ids: Ids, among: IdMap) -> Ids:
    """Give ids of a pod as the machine knows them; those it does not have are nobody."""
    if ids.is_everything or among == ALL_IDS:
        return Ids(ids.ranges)
    found: list[Range] = []
    for inside, outside, length in among:
        for low, high in ids.ranges:
            first, last = max(low, inside), min(high, inside + length - 1)
            if first <= last:
                found.append((first - inside + outside, last - inside + outside))
    return Ids(merge(found))


def _refuse_nothing(config: Config, made: PodConfig) -> None:
    """Refuse what the sheet refuses."""
    for whys, holds in {
        "resolv.conf names no server whose queries could be captured": (
            config.capture_dns is DnsCapture.RESOLV_CONF and not made.resolvers
        ),
        "DNS is to be captured, and port 53 is one of the outbound ports you exclude": (
            config.capture_dns is not DnsCapture.OFF and _DNS in config.exclude_outbound_ports
        ),
        "no group is included; to capture nothing outbound, empty the destinations you include": (
            not config.include_outbound_owner_groups.ids
        ),
        "every inbound port you include is excluded, or kept for SSH, the tunnel, health and "
        "telemetry": bool(made.inbound_ports) and not made.captures_inbound,
        "every outbound port you include is excluded": (
            bool(made.outbound_ports) and not made.outbound_ports - made.excluded_ports
        ),
        "every destination you include is excluded, or is localhost": (
            bool(config.include_outbound_cidrs) and not made.included and not made.loopback
        ),
    }.items():
        if holds:
            raise ConfigError(whys)


def families(config: PodConfig) -> tuple[Family, ...]:
    """Name the families that are intercepted."""
    both = {Family.IP: config.ipv4, Family.IP6: config.ipv6}
    return tuple(family for family, wanted in both.items() if wanted)
