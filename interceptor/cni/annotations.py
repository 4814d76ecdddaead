"""A pod's annotations as layers of settings: Istio's, and stronger, our own.

A pod's author may say what is captured, and not what a node's root opens: no sheet by its path,
no names of accounts, no limits of this run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.cni.selector import INJECT
from interceptor.config import Mode
from interceptor.errors import ConfigError, did_you_mean
from interceptor.layers import Layer
from interceptor.settings import ANNOTATION_PREFIX, SETTINGS, Scope
from interceptor.sheets.loader import is_path

if TYPE_CHECKING:
    from collections.abc import Mapping

_CONFIG = f"{ANNOTATION_PREFIX}config"
_OURS = {s.annotation: s for s in SETTINGS.values() if s.scope in (Scope.POLICY, Scope.HOST)}

ISTIO_SHEET = "istio"
_TRAFFIC = "traffic.sidecar.istio.io/"
_INTERCEPTION_MODE = "sidecar.istio.io/interceptionMode"
_ISTIOS = {
    f"{_TRAFFIC}includeOutboundIPRanges": "include_outbound_cidrs",
    f"{_TRAFFIC}excludeOutboundIPRanges": "exclude_outbound_cidrs",
    f"{_TRAFFIC}includeInboundPorts": "include_inbound_ports",
    f"{_TRAFFIC}excludeInboundPorts": "exclude_inbound_ports",
    f"{_TRAFFIC}includeOutboundPorts": "include_outbound_ports",
    f"{_TRAFFIC}excludeOutboundPorts": "exclude_outbound_ports",
    f"{_TRAFFIC}excludeInterfaces": "exclude_interfaces",
    f"{_TRAFFIC}kubevirtInterfaces": "virtual_interfaces",
    # The newer name of the same, and the stronger.
    "istio.io/reroute-virtual-interfaces": "virtual_interfaces",
}
"""Istio's annotations (istio.io/api, annotation) and the settings they are here."""

_MODES = {"REDIRECT": Mode.REDIRECT, "TPROXY": Mode.TPROXY}
_ISTIO_CNI_DEFAULTS = {
    "exclude_inbound_ports": "15020",
    "exclude_outbound_ports": "15020",
}
_ISTIO_CNI_ALWAYS = ("15020", "15021", "15090")
"""What istio-cni says where an annotation does not, and inbound in each case."""

_LONGEST_SHOWN = 200


def layers_of(annotations: Mapping[str, str], *, sheet: str) -> list[Layer]:
    """Give the settings a pod asks for, weakest first.

    Args:
        annotations: all of the pod's.
        sheet: what is in force without them; with Istio's own sheet its defaults hold too.

    Raises:
        ConfigError: one that cannot be read; it names the annotation and its value.
    """
    own = _own(annotations)
    sheet = next((layer.values["sheet"] for layer in own[::-1] if "sheet" in layer.values), sheet)
    return [_istios(annotations, faithful=sheet == ISTIO_SHEET), *own]


def _shown(name: str, annotations: Mapping[str, str]) -> str:
    """Give an annotation as errors name it."""
    value = annotations[name]
    cut = "..." if len(value) > _LONGEST_SHOWN else ""
    return f'annotation {name}="{value[:_LONGEST_SHOWN]}{cut}"'


def _istios(annotations: Mapping[str, str], *, faithful: bool) -> Layer:
    values = dict(_ISTIO_CNI_DEFAULTS) if faithful else {}
    places = dict.fromkeys(values, "istio-cni's default")
    for name, key in _ISTIOS.items():
        if name in annotations:
            values[key] = annotations[name].strip()
            places[key] = _shown(name, annotations)
    if faithful and values["exclude_inbound_ports"] != "*":
        asked = [port for port in values["exclude_inbound_ports"].split(",") if port.strip()]
        values["exclude_inbound_ports"] = ",".join(dict.fromkeys([*asked, *_ISTIO_CNI_ALWAYS]))
    if _INTERCEPTION_MODE in annotations:
        mode = annotations[_INTERCEPTION_MODE]
        if mode not in _MODES:
            raise ConfigError(
                f"{_shown(_INTERCEPTION_MODE, annotations)}: neither REDIRECT nor TPROXY",
                hint="Istio's annotation takes these two; leave it out for REDIRECT",
            )
        values["mode"] = str(_MODES[mode])
        places["mode"] = _shown(_INTERCEPTION_MODE, annotations)
    return Layer(values, lambda key: places[key], given=True)


def _own(annotations: Mapping[str, str]) -> list[Layer]:
    layers = []
    values = {}
    places = {}
    for name, text in annotations.items():
        if not name.startswith(ANNOTATION_PREFIX) or name == INJECT:
            continue
        if name == _CONFIG:
            layers.append(_whole(annotations))
        elif name in _OURS:
            values[_OURS[name].name] = text
            places[_OURS[name].name] = _shown(name, annotations)
        else:
            raise ConfigError(
                f"{_shown(name, annotations)}: there is no such annotation",
                hint=did_you_mean(name, [*_OURS, INJECT, _CONFIG])
                or f"{ANNOTATION_PREFIX} is followed by a flag's name, as exclude-inbound-ports",
            )
    layers.append(Layer(values, lambda key: places[key], given=True))
    for layer in layers:
        _check_sheet(layer)
    return layers


def _whole(annotations: Mapping[str, str]) -> Layer:
    """Give the settings of the annotation that holds a whole configuration."""
    from interceptor import documents
    from interceptor.sources import document_layer

    label = _shown(_CONFIG, annotations)
    layer = document_layer(documents.read(annotations[_CONFIG], ".json", label), label)
    known = {setting.name for setting in _OURS.values()}
    for key in layer.values:
        if key not in known:
            raise ConfigError(
                f"{layer.origin(key)}: that is not for a pod to say",
                hint=f"a pod may say {', '.join(sorted(known))}",
            )
    return layer


def _check_sheet(layer: Layer) -> None:
    if is_path(layer.values.get("sheet", "")):
        raise ConfigError(
            f"{layer.origin('sheet')}: a pod may name a shipped sheet, not a file of the node",
            hint="name it in the settings of the CNI configuration, for all pods",
        )
