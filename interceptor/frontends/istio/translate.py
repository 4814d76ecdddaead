"""What istio-iptables' options mean here: settings as text, and what a run is to do.

Istio derives some values from the pod it runs in; those are passed in as facts.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address
from typing import TYPE_CHECKING

import msgspec

from interceptor.config import BackendChoice, DnsCapture, FamilyChoice, Mode, VariantChoice
from interceptor.errors import ConfigError, HostError
from interceptor.frontends.istio.options import OPTIONS
from interceptor.frontends.istio.reading import TPROXY
from interceptor.values import EVERYTHING, Accounts, Ports, split

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from interceptor.frontends.istio.command_line import Given

SHEET = "istio"
_DEFAULT_UID = "1337"
_DNS = 53
_OWNER_GROUPS = ("ISTIO_OUTBOUND_OWNER_GROUPS", "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE")
_LINK_LOCAL_MULTICAST = IPv4Network("224.0.0.0/24")
_MULTICAST, _LINK_LOCAL = 0xFF, 0x2
"""First octet, and scope, of an IPv6 address (RFC 4291)."""

Address = IPv4Address | IPv6Address


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked up in the pod.

    Args:
        addresses: of all interfaces, in the order the kernel lists them.
        users: ids of those users of :func:`named_accounts` there are.
        groups: likewise.
        nameservers: those of resolv.conf, where :func:`dns_capture` makes them count.
    """

    addresses: tuple[Address, ...] = ()
    users: Mapping[str, int] = {}
    groups: Mapping[str, int] = {}
    nameservers: tuple[str, ...] = ()


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is to do; times are seconds, ``notes`` are for a person."""

    cleanup_only: bool
    reconcile: bool
    force_apply: bool
    skip_rule_apply: bool
    run_validation: bool
    probe_port: int
    probe_timeout: float
    dry_run: bool
    dry_run_file: str
    network_namespace: str
    cni_mode: bool
    notes: tuple[str, ...] = ()


class Translation(msgspec.Struct, frozen=True):
    """Settings as text, the flag or variable each is from, and what a run is to do."""

    settings: Mapping[str, str]
    origins: Mapping[str, str]
    run: Run


def run_of(given: Given, notes: tuple[str, ...] = ()) -> Run:
    """Give what a run is to do; nothing has to be looked up for that."""
    return Run(
        cleanup_only=given.is_on("cleanup-only"),
        reconcile=given.is_on("reconcile"),
        force_apply=given.is_on("force-apply"),
        skip_rule_apply=given.is_on("skip-rule-apply"),
        run_validation=given.is_on("run-validation"),
        probe_port=int(given.text("iptables-probe-port")),
        probe_timeout=float(given.text("probe-timeout")),
        dry_run=given.is_on("dry-run"),
        dry_run_file=given.text("DRY_RUN_FILE_PATH"),
        network_namespace=given.text("network-namespace"),
        cni_mode=given.is_on("cni-mode"),
        notes=given.notes + notes,
    )


def run_settings(given: Given) -> dict[str, str]:
    """Give the settings of a run that are known without looking anything up."""
    keys = ("network-namespace", *(row.key for row in OPTIONS.values() if row.is_ours))
    return {
        OPTIONS[k].setting: given.text(k) for k in keys if OPTIONS[k].setting and given.text(k)
    }


def named_accounts(given: Given) -> tuple[frozenset[str], frozenset[str]]:
    """Give the names of users and of groups that have to be looked up."""
    uids, gids = given.text("proxy-uid"), given.text("proxy-gid") or given.text("proxy-uid")
    users = _names(uids) if uids else {given.text("ENVOY_USER")}
    groups = {name for key in _OWNER_GROUPS for name in _names(given.text(key))}
    return frozenset(users), frozenset(groups | _names(gids))


def dns_capture(given: Given) -> DnsCapture:
    """Decide which DNS queries are captured.

    Raises:
        ConfigError: what is given cannot be meant.
    """
    strict = not given.is_on("lenient")
    if not given.is_on("redirect-dns"):
        if strict and given.is_on("capture-all-dns"):
            raise ConfigError(
                f"{given.origin('capture-all-dns')}: without --redirect-dns no query is captured",
                hint="add --redirect-dns, or leave this out",
            )
        return DnsCapture.OFF
    if given.is_on("capture-all-dns"):
        return DnsCapture.ALL
    if strict and given.is_on("cni-mode"):
        raise ConfigError(
            f"{given.origin('redirect-dns')}: with --cni-mode, resolv.conf is the host's here",
            hint="add --capture-all-dns, to capture queries to any server",
        )
    return DnsCapture.RESOLV_CONF


def translate(given: Given, facts: Facts) -> Translation:
    """Give the settings that mean what the options say.

    Raises:
        ConfigError: what is given cannot be meant, or names an account there is not.
        HostError: the namespace has no address to go by.
    """
    capture = dns_capture(given)
    _check_probe(given, capture)
    notes = tuple(_notes(given, facts, capture))
    if capture is DnsCapture.RESOLV_CONF and not facts.nameservers:
        capture = DnsCapture.OFF
    settings = {
        row.setting: given.text(row.key)
        for row in OPTIONS.values()
        if row.setting and not row.is_ours and row.setting != "netns"
    }
    settings |= run_settings(given)
    settings |= _accounts(given, facts)
    settings["sheet"] = SHEET
    is_tproxy = given.text("istio-inbound-interception-mode") == TPROXY
    settings["mode"] = Mode.TPROXY if is_tproxy else Mode.REDIRECT
    settings["capture_dns"] = capture
    settings["ip_families"] = _families(facts, dual_stack=given.is_on("dual-stack"))
    nft = given.is_on("native-nftables")
    settings["backend"] = BackendChoice.NFTABLES if nft else BackendChoice.IPTABLES
    settings["iptables_variant"] = settings["iptables_variant"] or VariantChoice.AUTO
    return Translation(settings, _origins(given, settings), run_of(given, notes))


def _accounts(given: Given, facts: Facts) -> dict[str, str]:
    """Give ids in the place of names, in the order that was written."""
    found = {}
    uids = given.text("proxy-uid")
    if uids:
        found["proxy_uid"] = _ids(uids, facts.users, "user", given.origin("proxy-uid"))
    else:
        uids = str(facts.users.get(given.text("ENVOY_USER"), _DEFAULT_UID))
        found["proxy_uid"] = uids
    # Istio copies the text: a name is then looked up as a group's.
    gids = given.text("proxy-gid") or uids
    origin = given.origin("proxy-gid" if given.is_given("proxy-gid") else "proxy-uid")
    found["proxy_gid"] = _ids(gids, facts.groups, "group", origin)
    for key in _OWNER_GROUPS:
        text, setting = given.text(key), OPTIONS[key].setting
        found[setting] = _ids(text, facts.groups, "group", given.origin(key))
    return found


def _names(text: str) -> set[str]:
    return set() if text == EVERYTHING else set(Accounts.parse(text).names)


def _ids(text: str, known: Mapping[str, int], kind: str, origin: str) -> str:
    ids = []
    for item in split(text):
        if _names(item) and item not in known:
            raise ConfigError(
                f"{origin}: no {kind} named {item!r} on this host",
                hint="give the number: names are looked up here, not in the pod's image",
            )
        ids.append(str(known.get(item, item)))
    return ",".join(ids)


def _families(facts: Facts, *, dual_stack: bool) -> FamilyChoice:
    """Decide as Istio does: the first address says whether there is IPv6, or any of them."""
    usable = [address for address in map(_unmapped, facts.addresses) if _is_usable(address)]
    if not usable:
        raise HostError(
            "this network namespace has no address but loopback and link-local ones",
            hint="run this when the pod's network is set up",
        )
    asked = usable if dual_stack else usable[:1]
    has_ipv6 = any(isinstance(address, IPv6Address) for address in asked)
    return FamilyChoice.DUAL if has_ipv6 else FamilyChoice.IPV4


def _unmapped(address: Address) -> Address:
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def _is_usable(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        is_multicast = address in _LINK_LOCAL_MULTICAST
    else:
        first, second = address.packed[:2]
        is_multicast = first == _MULTICAST and second & 0xF == _LINK_LOCAL
    return not (address.is_loopback or address.is_link_local or is_multicast)


def _check_probe(given: Given, capture: DnsCapture) -> None:
    """Refuse to try a port that rules leave alone: it would fail for ever."""
    if given.is_on("lenient") or not given.is_on("run-validation"):
        return
    alone = Ports.parse(given.text("istio-local-outbound-ports-exclude"))
    alone += Ports.of(int(given.text("inbound-tunnel-port")))
    if capture is not DnsCapture.OFF:
        alone += Ports.of(_DNS)
    if (port := int(given.text("iptables-probe-port"))) in alone:
        raise ConfigError(
            f"{given.origin('iptables-probe-port')}: rules leave connections to {port} alone",
            hint="try another port with --iptables-probe-port",
        )


def _notes(given: Given, facts: Facts, capture: DnsCapture) -> Iterator[str]:
    if capture is DnsCapture.RESOLV_CONF and not facts.nameservers:
        yield f"{given.origin('redirect-dns')} has no effect: resolv.conf names no server"
    if capture is DnsCapture.OFF and given.is_on("capture-all-dns"):
        yield f"{given.origin('capture-all-dns')} has no effect without --redirect-dns"
    user = given.text("ENVOY_USER")
    if not given.text("proxy-uid") and given.is_given("ENVOY_USER") and user not in facts.users:
        yield f"ENVOY_USER: no user named {user!r} here, so the proxy's is {_DEFAULT_UID}"


def _origins(given: Given, settings: Mapping[str, str]) -> dict[str, str]:
    """Name the options behind each setting."""
    found = {}
    for setting in settings:
        rows = [row.key for row in OPTIONS.values() if row.setting == setting]
        found[setting] = ", ".join(given.origin(k) for k in rows if given.values[k].origin)
    if given.is_given("proxy-uid"):
        found["proxy_uid"] = given.origin("proxy-uid")
    if not given.is_given("proxy-gid"):
        found["proxy_gid"] = found["proxy_uid"]
    return {setting: origin or "default of istio-iptables" for setting, origin in found.items()}
