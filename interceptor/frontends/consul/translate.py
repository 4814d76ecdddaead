"""What redirect-traffic's options mean here: settings for the sheet ``consul``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.config import BackendChoice, FamilyChoice
from interceptor.errors import ConfigError
from interceptor.frontends import goflag
from interceptor.frontends.consul.options import SERVICE, TABLE
from interceptor.frontends.given import Given, by_environment, by_flags, lay
from interceptor.frontends.translation import Translation, Worth

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SHEET = "consul"
_DEFAULT = "default of redirect-traffic"
_NEEDED = ("proxy-uid", "proxy-inbound-port")
_WITH_SERVICES = ("exclude-inbound-port", "exclude-outbound-port")


def parse(argv: Sequence[str], environment: Mapping[str, str]) -> Given:
    """Read a command line.

    Raises:
        ConfigError: what is given cannot be meant, or cannot be done here.
    """
    flags, arguments = goflag.parse(argv, TABLE)
    if arguments:
        raise ConfigError(f"{arguments[0]!r} is no flag; Consul ignores it", hint=TABLE.see_help)
    given = lay(TABLE, by_environment(TABLE, environment), by_flags(flags))
    for key in _NEEDED:
        if not given.is_given(key):
            raise ConfigError(f"-{key} is needed", hint=TABLE.rows[key].help)
    return given


def named_services(given: Given) -> tuple[str, ...]:
    """Give the names of services whose ports have to be looked up."""
    texts = [text for key in _WITH_SERVICES for text in given.texts(key)]
    return tuple(text for text in texts if SERVICE.fullmatch(text))


def translate(given: Given, services: Mapping[str, int]) -> Translation:
    """Give the settings that mean what the options say.

    Args:
        given: the options.
        services: the ports of those of :func:`named_services` there are.

    Raises:
        ConfigError: there is no such service.
    """
    uids = ",".join(given.texts("exclude-uid"))
    settings = {
        "sheet": Worth(SHEET, _DEFAULT),
        "inbound_port": _worth(given, "proxy-inbound-port"),
        "outbound_port": _worth(given, "proxy-outbound-port"),
        "proxy_uid": _worth(given, "proxy-uid"),
        "exclude_inbound_ports": _ports(given, "exclude-inbound-port", services),
        "exclude_outbound_ports": _ports(given, "exclude-outbound-port", services),
        "exclude_outbound_cidrs": _worth(given, "exclude-outbound-cidr"),
        "exclude_outbound_uids": Worth(uids, given.origin("exclude-uid") or _DEFAULT),
        "ip_families": Worth(
            FamilyChoice.DUAL if given.is_on("dual-stack") else FamilyChoice.IPV4,
            given.origin("dual-stack") or _DEFAULT,
        ),
        "backend": Worth(BackendChoice.AUTO, _DEFAULT),
    }
    options = {
        name: _worth(given, key)
        for name, key in {
            "dns_address": "consul-dns-ip",
            "dns_address_port": "consul-dns-port",
        }.items()
        if given.is_given(key)
    }
    run = given.ours()
    if given.is_given("netns"):
        run["netns"] = _worth(given, "netns")
    return Translation(settings=settings, options=options, run=run, notes=(*given.notes(),))


def _worth(given: Given, key: str) -> Worth:
    return Worth(given.text(key), given.origin(key) or _DEFAULT)


def _ports(given: Given, key: str, services: Mapping[str, int]) -> Worth:
    """Give ports in the place of services' names, in the order that was written."""
    found = []
    for text in given.texts(key):
        if SERVICE.fullmatch(text) and text not in services:
            raise ConfigError(
                f"-{key}: no service named {text!r} in /etc/services",
                hint="give its port: names are looked up where this runs",
            )
        found.append(str(services.get(text, text)))
    return Worth(",".join(found), given.origin(key) or _DEFAULT)
