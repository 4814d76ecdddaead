"""Is this pod meshed, and with which settings?

Fail closed: where the answer is not known, it is an error, and the pod does not start. A pod is
left alone only for a reason that is written down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from interceptor.cni.netconf import ANNOTATIONS
from interceptor.cni.selector import INJECT, needs_marks, selects
from interceptor.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from interceptor.cni.netconf import PluginConf
    from interceptor.cni.pod import Pod
    from interceptor.operations.policy import Policy


class LeftAlone(msgspec.Struct, frozen=True):
    """The pod is not meshed, and why."""

    reason: str


def known(pod: Pod, plugin: PluginConf) -> Pod:
    """Give what can be known of a pod: what the runtime says, or the API server, if it is asked.

    It is asked where it is configured and the runtime's word is not enough, but not about pods
    that are never meshed.

    Raises:
        ConfigError: the runtime does not say which pod it is.
        HostError: the Kubernetes client is not installed.
        UnreachableError: the API server.
    """
    lookup = plugin.lookup
    if lookup is None or _is_excluded(pod, plugin):
        return pod
    if pod.annotations is not None and not lookup.always:
        return pod
    from interceptor.cni.lookup import looked_up

    return looked_up(lookup, pod)


def _is_excluded(pod: Pod, plugin: PluginConf) -> bool:
    return bool(pod.namespace) and pod.namespace in plugin.exclude_namespaces


def decide(pod: Pod, plugin: PluginConf) -> LeftAlone | Policy:
    """Decide by what is known of the pod.

    Raises:
        ConfigError: an annotation, a setting or a selector; or whether it is meshed is unknown.
        SheetError: the sheet.
    """
    if _is_excluded(pod, plugin):
        return LeftAlone(f"its namespace {pod.namespace} is excluded")
    if pod.annotations is None and needs_marks(plugin.selector):
        raise ConfigError(
            f"whether {pod} is meshed is not known: the runtime passes no pod annotations",
            hint=f'declare the capability "{ANNOTATIONS}" in the entry, configure a lookup, or '
            'set the selector to ["*"]',
        )
    if _opts_out(pod.marks):
        return LeftAlone(f"{INJECT} is false")
    if not selects(plugin.selector, pod.marks):
        return LeftAlone("no selector selects it")
    if pod.skip:
        return LeftAlone(pod.skip)
    # Late: most pods of a node may be none of ours, and wait for this all the same.
    from interceptor.cni.pod_policy import meshed

    return meshed(plugin.settings, pod)


def _opts_out(marks: Mapping[str, str]) -> bool:
    text = marks.get(INJECT)
    if text is None:
        return False
    from interceptor.settings.parsers import parse_switch

    try:
        return not parse_switch(text)
    except ValueError as error:
        raise ConfigError(
            f'annotation {INJECT}="{text}": {error}', hint="write true or false"
        ) from None
