"""What proxy-init's options mean here: settings for the sheet ``linkerd``, and what a run does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from interceptor.config import BackendChoice, FamilyChoice, VariantChoice
from interceptor.errors import ConfigError
from interceptor.frontends import pflag
from interceptor.frontends.given import Given, by_environment, by_flags, lay
from interceptor.frontends.linkerd.options import TABLE
from interceptor.frontends.translation import Translation, Worth
from interceptor.values import EVERYTHING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SHEET = "linkerd"
_DEFAULT = "default of proxy-init"
_NEEDED = ("incoming-proxy-port", "outgoing-proxy-port")
_VARIANTS = {
    "legacy": VariantChoice.LEGACY,
    "nft": VariantChoice.NFT,
    "plain": VariantChoice.AUTO,
    "iptables-legacy": VariantChoice.LEGACY,
    "iptables-nft": VariantChoice.NFT,
}


class Run(msgspec.Struct, frozen=True):
    """What a run is to do: ``close_wait_s`` is 0 if conntrack is to be left as it is."""

    translation: Translation
    simulate: bool
    close_wait_s: int


def read(argv: Sequence[str], environment: Mapping[str, str]) -> Run:
    """Read a command line.

    Raises:
        ConfigError: what is given cannot be meant, or cannot be done here.
    """
    flags, arguments = pflag.parse(argv, TABLE)
    if arguments:
        raise ConfigError(
            f"{arguments[0]!r} is no flag; proxy-init ignores it", hint=TABLE.see_help
        )
    given = lay(TABLE, by_environment(TABLE, environment), by_flags(flags))
    for key in _NEEDED:
        if not given.is_given(key):
            raise ConfigError(f"--{key} is needed", hint=TABLE.rows[key].help)
    return Run(
        Translation(settings=_settings(given), run=_run_settings(given), notes=(*given.notes(),)),
        simulate=given.is_on("simulate"),
        close_wait_s=int(given.text("timeout-close-wait-secs")),
    )


def _settings(given: Given) -> dict[str, Worth]:
    def worth(key: str, text: str | None = None) -> Worth:
        return Worth(given.text(key) if text is None else text, given.origin(key) or _DEFAULT)

    uid, gid = (_account(given.text(key)) for key in ("proxy-uid", "proxy-gid"))
    if not (uid or gid):
        raise ConfigError(
            "--proxy-uid, --proxy-gid: neither is above 0, so the proxy is nobody",
            hint="its own connections would come back to it for ever: give one of the two",
        )
    return {
        "sheet": Worth(SHEET, _DEFAULT),
        "inbound_port": worth("incoming-proxy-port"),
        "outbound_port": worth("outgoing-proxy-port"),
        "proxy_uid": worth("proxy-uid", uid),
        "proxy_gid": worth("proxy-gid", gid),
        "include_inbound_ports": worth(
            "ports-to-redirect", given.text("ports-to-redirect") or EVERYTHING
        ),
        "exclude_inbound_ports": worth("inbound-ports-to-ignore"),
        "exclude_outbound_ports": worth("outbound-ports-to-ignore"),
        "exclude_inbound_cidrs": worth("subnets-to-ignore"),
        "ip_families": worth(
            "ipv6", FamilyChoice.DUAL if given.is_on("ipv6") else FamilyChoice.IPV4
        ),
        "backend": Worth(BackendChoice.IPTABLES, _DEFAULT),
        "iptables_variant": _variant(given),
    }


def _account(text: str) -> str:
    """Give the id that becomes a rule: those of root never do."""
    return text if int(text) > 0 else ""


def _variant(given: Given) -> Worth:
    for key in ("iptables-mode", "firewall-bin-path"):
        if given.is_given(key):
            return Worth(_VARIANTS[given.text(key)], given.origin(key))
    return Worth(VariantChoice.LEGACY, _DEFAULT)


def _run_settings(given: Given) -> dict[str, Worth]:
    found = {}
    if given.text("log-format") == "json":
        found["output"] = Worth("json", given.origin("log-format"))
    if given.is_given("netns"):
        found["netns"] = Worth(given.text("netns"), given.origin("netns"))
    return found | given.ours()
