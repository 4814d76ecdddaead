"""What an installation amounts to, in a few lines for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interceptor.backends.drift import Kind
from interceptor.config import DnsCapture
from interceptor.model import Redirect, TProxy, met_at
from interceptor.names import FAMILY_NAMES, Hook
from interceptor.settings import recorded_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.config import Config
    from interceptor.model import Ruleset
    from interceptor.model.pod_config import SocketPolicy
    from interceptor.operations.install import Installed

_SHADOWED = {
    Kind.FOREIGN_BEFORE: "not ours, and decides before ours",
    Kind.SHADOWED: "not ours, and leaves nothing for ours to decide",
}
_MOST = 60
_SHOWN_APART = {"inbound_port", "outbound_port", "proxy_uid", "proxy_gid", "exempt_mark"}


def summary(config: Config, place: str, done: Installed) -> list[str]:
    """Say what was done, where connections go now, and which settings are not the defaults."""
    if not done.changed:
        return [f"already in place in {place}: {config.sheet} on {done.backend}"]
    families = " and ".join(FAMILY_NAMES[family] for family in done.family.members)
    held = size(done.chains, done.rules, done.enforced)
    # What comes from within goes where outbound connections and queries go.
    within = {config.outbound_port, config.dns_port} - {config.inbound_port}
    inbound = _handed_to(done.ruleset, Hook.PREROUTING) - within
    outbound = _handed_to(done.ruleset, Hook.OUTPUT)
    queries = {config.dns_port} & outbound if config.capture_dns is not DnsCapture.OFF else set()
    # The proxy's calls of its own pod go where inbound ones go.
    calls = outbound - inbound - queries or outbound & {config.outbound_port}
    return [
        f"installed in {place}: {config.sheet} on {done.backend}, {families}, {held}",
        f"  inbound   {_whereto(inbound)}",
        f"  outbound  {_whereto(calls)}",
        *([f"  DNS       {_whereto(queries)}"] if queries else []),
        *([f"  exempt    {_exempt(config)}"] if inbound or outbound else []),
        *_settings(config),
        *(f"  removed   what was there in {name}" for name in done.removed_from),
    ]


def remarks(done: Installed) -> list[str]:
    """Say what a person should know beside that: what was tried first, and what may go wrong."""
    return [
        *(f"passed over {what}" for what in done.passed_over),
        *(f"warning: {what}" for what in done.warnings),
        *(f"warning: {_SHADOWED[rule.kind]}: {rule.where}: {rule.what}" for rule in done.shadowed),
    ]


def size(chains: int, rules: int, enforced: SocketPolicy | None) -> str:
    """Say how much of ours there is, in what the backend has."""
    if enforced is None:
        return f"{chains} chains, {rules} rules"
    said = sockets_as_data(enforced)
    return f"{said['programs']} programs, {said['addresses']} own addresses"


def sockets_as_data(enforced: SocketPolicy) -> dict[str, Any]:
    """Give the same facts for JSON: what decides at the pod's sockets, and what is its own."""
    from interceptor.backends.ebpf.backend import PROGRAMS

    return {
        "programs": len(PROGRAMS) - len(enforced.missing),
        "addresses": enforced.addresses,
    }


def _handed_to(ruleset: Ruleset, hook: Hook) -> set[int]:
    """Give the ports a packet that meets a hook may be handed to."""
    return {
        rule.action.port
        for chain in met_at(ruleset, hook)
        for rule in chain.rules
        if isinstance(rule.action, Redirect | TProxy)
    }


def _whereto(ports: set[int]) -> str:
    if not ports:
        return "not captured"
    return f"to port {', '.join(map(str, sorted(ports)))}"


def _exempt(config: Config) -> str:
    named = [("uid", config.proxy_uid), ("gid", config.proxy_gid), ("mark", config.exempt_mark)]
    return "the proxy, " + " or ".join(f"{name} {value}" for name, value in named if value)


def _settings(config: Config) -> Iterator[str]:
    for key, value in recorded_settings(config).items():
        if key not in _SHOWN_APART and key != "sheet":
            yield f"  with      {key} = {_short(value)}"


def _short(text: str) -> str:
    if len(text) <= _MOST:
        return text or '""'
    return f"{text[:_MOST].rpartition(',')[0]},... ({text.count(',') + 1})"
