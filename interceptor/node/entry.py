"""Our entry in a network configuration, made of what ``cni install`` was given."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from interceptor.cni.pod import Pod
from interceptor.cni.pod_policy import meshed
from interceptor.cni.selector import selects
from interceptor.errors import UsageError
from interceptor.node.network_list import PLUGIN
from interceptor.settings import show
from interceptor.sources import read_settings

if TYPE_CHECKING:
    from collections.abc import Iterable

_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What our entry says under ``interceptor``; what is not given is left to the plugin."""

    settings: dict[str, str] = {}
    selector: tuple[str, ...] = ()
    exclude_namespaces: tuple[str, ...] = ()
    state_dir: str = ""
    log_file: str = ""
    log_max_bytes: int | None = None
    ready_file: str = ""
    lookup: dict[str, Any] = {}

    def encode(self) -> bytes:
        """Write the entry as JSON."""
        capabilities = {"io.kubernetes.cri.pod-annotations": True, "dns": True}
        whole = {"type": PLUGIN, "capabilities": capabilities, "interceptor": self}
        return msgspec.json.encode(whole)


def settings_of(path: str) -> dict[str, str]:
    """Read the settings for all pods, and refuse here what every pod would be refused for.

    Raises:
        ConfigError: the file, a value in it, or a setting that is not for the plugin.
        SheetError: the sheet it names.
    """
    resolved, _ = read_settings({}, path, {})
    settings = {key: show(getattr(resolved.config, key)) for key in sorted(resolved.given)}
    meshed(settings, Pod())
    return settings


def check_selectors(selectors: Iterable[str]) -> None:
    """Refuse a selector the plugin would not understand.

    Raises:
        ConfigError: there is one; it names the term.
    """
    selects(tuple(selectors), {})


def check_namespaces(names: Iterable[str]) -> None:
    """Refuse what is no name of a Kubernetes namespace.

    Raises:
        UsageError: there is one.
    """
    for name in names:
        if not _NAMESPACE.fullmatch(name):
            raise UsageError(
                f"--exclude-namespace {name!r} is no name of a namespace",
                hint="give one name each time, as --exclude-namespace kube-system",
            )
