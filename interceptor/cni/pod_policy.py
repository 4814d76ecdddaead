"""The policy of a meshed pod: the node's settings and the pod's annotations, one over another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interceptor.cni.annotations import layers_of
from interceptor.config import ACCOUNT_KEYS, LoaderChoice
from interceptor.errors import ConfigError
from interceptor.layers import DEFAULTS, Layer, resolve
from interceptor.operations.policy import Policy
from interceptor.settings import SETTINGS, Scope
from interceptor.sheets import loader
from interceptor.sources import document_layer, sheet_layer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from interceptor.cni.pod import Pod

_FOR_ALL = (Scope.POLICY, Scope.HOST)
_ALSO_FOR_ALL = ("timeout", "unproven")
"""Settings of one run that the node's configuration may say."""


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
    if resolved.config.ebpf_loader is not LoaderChoice.LIBBPF:
        raise ConfigError(
            f"{resolved.origins['ebpf_loader']}: the CNI plugin brings no compiler, so no bcc",
            hint="leave it out, or say libbpf: the plugin brings the programs as they are",
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
