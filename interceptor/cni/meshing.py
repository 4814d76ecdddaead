"""Is this pod meshed, and with which settings?

Fail closed: where the answer is not known, it is an error, and the pod does not start. A pod is
left alone only for a reason that is written down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from interceptor.cni.annotations import INJECT, layers_of
from interceptor.cni.netconf import ANNOTATIONS
from interceptor.cni.selector import needs_marks, selects
from interceptor.config import ACCOUNT_KEYS
from interceptor.errors import ConfigError
from interceptor.layers import DEFAULTS, Layer, resolve
from interceptor.operations.policy import Policy
from interceptor.settings import SETTINGS, Scope
from interceptor.settings.parsers import parse_switch
from interceptor.sheets import loader
from interceptor.sources import document_layer, sheet_layer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from interceptor.cni.netconf import PluginConf
    from interceptor.cni.pod import Pod

_FOR_ALL = (Scope.POLICY, Scope.HOST)
_ALSO_FOR_ALL = frozenset({"timeout", "unproven"})
"""Settings of one run that the node's configuration may say."""


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
    return meshed(plugin.settings, pod)


def meshed(settings: Mapping[str, Any], pod: Pod) -> Policy:
    """Lay the node's settings, the proxy container's and the pod's annotations over one another.

    Raises:
        ConfigError: one of them; it names the annotation or the key and its value.
        SheetError: the sheet.
    """
    node = node_layer(settings)
    sidecar = Layer(pod.sidecar, lambda key: f"container of the proxy, for {key}", given=True)
    nodes_sheet = node.values.get("sheet", DEFAULTS.values["sheet"])
    wanted = [node, sidecar, *layers_of(pod.annotations or {}, sheet=nodes_sheet)]
    sheets = [layer.values["sheet"] for layer in wanted if "sheet" in layer.values]
    sheet = loader.load(sheets[-1] if sheets else nodes_sheet)
    resolved = resolve([DEFAULTS, sheet_layer(sheet), *wanted])
    for key in ACCOUNT_KEYS:
        if names := getattr(resolved.config, key).names:
            raise ConfigError(
                f"{resolved.origins[key]}: {names[0]!r} is a name, and a number is needed",
                hint="names would be looked up on the node, not in the pod's image",
            )
    return Policy(resolved.config, sheet, "the annotations of the pod and the node's settings")


def node_layer(settings: Mapping[str, Any]) -> Layer:
    """Give the node's own settings, which hold for all pods.

    Raises:
        ConfigError: a key that is no setting, or not one for the plugin.
    """
    from interceptor.documents import Document

    label = "the CNI configuration's settings"
    # As all documents have them here: numbers with a point are text.
    values = {k: f"{v:g}" if isinstance(v, float) else v for k, v in settings.items()}
    layer = document_layer(Document("JSON", values), label)
    for key in layer.values:
        if SETTINGS[key].scope not in _FOR_ALL and key not in _ALSO_FOR_ALL:
            raise ConfigError(
                f"{layer.origin(key)}: that is not for a CNI plugin",
                hint=f"it takes what is captured, the backend, and {', '.join(_ALSO_FOR_ALL)}",
            )
    return layer


def _opts_out(marks: Mapping[str, str]) -> bool:
    text = marks.get(INJECT)
    if text is None:
        return False
    try:
        return not parse_switch(text)
    except ValueError as error:
        raise ConfigError(
            f'annotation {INJECT}="{text}": {error}', hint="write true or false"
        ) from None
