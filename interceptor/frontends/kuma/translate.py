"""What kumactl's options mean here: settings for the sheet ``kuma``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.config import BackendChoice, DnsCapture, FamilyChoice
from interceptor.errors import ConfigError, did_you_mean
from interceptor.frontends import pflag
from interceptor.frontends.given import Given, Said, by_environment, by_flags, lay
from interceptor.frontends.kuma.documents import names, said_by
from interceptor.frontends.kuma.options import TABLE
from interceptor.frontends.kuma.reading import UserExclusion
from interceptor.frontends.kuma.variables import ENVIRONMENT_PREFIX
from interceptor.frontends.translation import Translation, Worth
from interceptor.sources import is_service_link
from interceptor.values import EVERYTHING, Accounts, Ids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from interceptor.frontends.option import Option
    from interceptor.frontends.row import Flag

SHEET = "kuma"
DEFAULT_UID, DEFAULT_USER = "5678", "kuma-dp"
_DEFAULT = "default of kumactl"
_FILES = ("config", "config-file")
_OPTIONS = (
    "vnet",
    "skip-dns-conntrack-zone-split",
    "redirect-inbound-insert-instead-of-append",
    "redirect-outbound-insert-instead-of-append",
)
"""Flags the sheet has an option of the same name for."""
_LISTS = ("redirect.outbound.excludePortsForUIDs", "redirect.vnet.networks")


def parse(
    argv: Sequence[str], environment: Mapping[str, str], content: Callable[[str], str]
) -> Given:
    """Read a command line, and the files it names.

    Args:
        argv: the words after the command.
        environment: of this process.
        content: gives the text of a file, or of stdin for ``-``.

    Raises:
        ConfigError: what is given cannot be meant, or cannot be done here.
    """
    flags, arguments = pflag.parse(argv, TABLE)
    if arguments:
        raise ConfigError(f"{arguments[0]!r} is no flag; kumactl ignores it", hint=TABLE.see_help)
    _refuse_unknown(environment)
    texts = tuple(flag.text for flag in flags if flag.option.key in _FILES)
    files = [said_by(name, content) for name in names(texts)]
    said = by_flags(flags)
    _refuse_both(flags)
    return lay(TABLE, *files, list(_variables(environment)), said)


def users(given: Given) -> frozenset[str]:
    """Give the names of users that have to be looked up."""
    user = given.text("kuma-dp-user")
    return frozenset(Accounts.parse(user).names) if user else frozenset({DEFAULT_USER})


def translate(given: Given, known: Mapping[str, int], *, has_default: bool) -> Translation:
    """Give the settings that mean what the options say.

    Args:
        given: the options.
        known: ids of those of :func:`users` there are.
        has_default: whether 5678 is the id of an account here.

    Raises:
        ConfigError: what is given cannot be meant, or names a user there is not.
    """
    outbound = given.text("redirect.outbound.includePorts")
    is_outbound = given.is_on("redirect.outbound.enabled")
    exclusions = [
        UserExclusion.parse(text)
        for text in given.texts("exclude-outbound-ports-for-uids")
        if text
    ]
    excluded = Worth(
        ",".join(one.uids for one in exclusions if one.is_of_all_traffic),
        given.origin("exclude-outbound-ports-for-uids") or _DEFAULT,
    )
    settings = {
        "sheet": Worth(SHEET, _DEFAULT),
        "proxy_uid": _user(given, known, has_default=has_default),
        "inbound_port": _worth(given, "redirect-inbound-port"),
        "outbound_port": _worth(given, "redirect-outbound-port"),
        "include_inbound_ports": _inbound(given),
        "exclude_inbound_ports": _worth(given, "exclude-inbound-ports"),
        "exclude_inbound_cidrs": _worth(given, "exclude-inbound-ips"),
        "include_outbound_ports": Worth(
            outbound if is_outbound else "", _origin(given, "redirect.outbound.includePorts")
        ),
        "include_outbound_cidrs": Worth(
            EVERYTHING if is_outbound and not outbound else "",
            _origin(given, "redirect.outbound.includePorts", "redirect.outbound.enabled"),
        ),
        "exclude_outbound_ports": _worth(given, "exclude-outbound-ports"),
        "exclude_outbound_cidrs": _worth(given, "exclude-outbound-ips"),
        "exclude_outbound_uids": excluded,
        "capture_dns": _dns(given),
        "dns_port": _worth(given, "redirect-dns-port"),
        "drop_invalid": _worth(given, "drop-invalid-packets"),
        "ip_families": Worth(
            FamilyChoice.IPV4 if given.text("ip-family-mode") == "ipv4" else FamilyChoice.AUTO,
            _origin(given, "ip-family-mode"),
        ),
        "backend": Worth(BackendChoice.IPTABLES, _DEFAULT),
    }
    records = [record for one in exclusions if not one.is_of_all_traffic for record in one.records]
    options = {
        "exclude_outbound_ports_for_uids": Worth(",".join(records), excluded.origin),
        **{key.replace("-", "_"): _worth(given, key) for key in _OPTIONS},
    }
    asked = {name: worth for name, worth in options.items() if worth.text not in ("", "false")}
    notes = (*given.notes(), *_hidden(given))
    return Translation(settings=settings, options=asked, run=given.ours(), notes=notes)


def _hidden(given: Given) -> Iterator[str]:
    """Tell of excluded ports that Kuma does not look at."""
    for way in ("inbound", "outbound"):
        excluded = f"exclude-{way}-ports"
        if given.is_given(excluded) and given.is_given(f"redirect.{way}.includePorts"):
            yield (
                f"{given.origin(excluded)} has no effect: "
                "Kuma excludes ports only where none are included"
            )


def _refuse_unknown(environment: Mapping[str, str]) -> None:
    known = [name for row in TABLE.rows.values() for name in row.environment]
    for name, text in environment.items():
        if not name.startswith(ENVIRONMENT_PREFIX) or name in known:
            continue
        if not is_service_link(name, text):
            raise ConfigError(
                f"there is no variable {name}",
                hint=did_you_mean(name, known) or TABLE.see_help,
            )


def _refuse_both(flags: Sequence[Flag[Option]]) -> None:
    """Refuse both flags of DNS; in files and variables one is a detail of the other."""
    on = {flag.option.key for flag in flags if flag.text != "false"}
    if {"redirect-dns", "redirect-all-dns-traffic"} <= on:
        raise ConfigError(
            "--redirect-dns, --redirect-all-dns-traffic: one of them, not both",
            hint="the second captures queries to any server, the first those to resolv.conf's",
        )


def _variables(environment: Mapping[str, str]) -> Iterator[Said]:
    """Give what variables say; commas separate the items of lists."""
    for one in by_environment(TABLE, environment):
        if one.option.path in _LISTS:
            yield from (Said(one.option, text, one.origin) for text in one.text.split(","))
        else:
            yield one


def _dns(given: Given) -> Worth:
    """Decide which queries are captured: of two sources that differ the stronger one says so."""
    all_key, key = "redirect-all-dns-traffic", "redirect-dns"
    if given.is_on(all_key) and (given.is_on(key) or given.is_stronger(all_key, key)):
        return Worth(DnsCapture.ALL, _origin(given, all_key))
    if given.is_on(key):
        return Worth(DnsCapture.RESOLV_CONF, _origin(given, key))
    return Worth(DnsCapture.OFF, _origin(given, key))


def _inbound(given: Given) -> Worth:
    origin = _origin(given, "redirect-inbound", "redirect.inbound.includePorts")
    if not given.is_on("redirect-inbound"):
        return Worth("", origin)
    return Worth(given.text("redirect.inbound.includePorts") or EVERYTHING, origin)


def _user(given: Given, known: Mapping[str, int], *, has_default: bool) -> Worth:
    """Give the id of the proxy's user.

    Kuma wants a number to be an account's as well; rules take any.
    """
    text, origin = given.text("kuma-dp-user"), _origin(given, "kuma-dp-user")
    if not text:
        other = known.get(DEFAULT_USER, DEFAULT_UID)
        return Worth(DEFAULT_UID if has_default else str(other), origin)
    if not Accounts.parse(text).names:
        return Worth(str(Ids.parse_number(text)), origin)
    if text not in known:
        raise ConfigError(
            f"{origin}: no user named {text!r} on this host",
            hint="give the number: names are looked up here, not in the pod's image",
        )
    return Worth(str(known[text]), origin)


def _worth(given: Given, key: str) -> Worth:
    return Worth(given.text(key), _origin(given, key))


def _origin(given: Given, *keys: str) -> str:
    return ", ".join(dict.fromkeys(filter(None, map(given.origin, keys)))) or _DEFAULT
