"""What the plugin of this node is told: our entry in the configuration that runtimes take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from interceptor.cni.netconf import PluginConf
from interceptor.errors import ConfigError, HostError
from interceptor.node.directory import Directory

if TYPE_CHECKING:
    from interceptor.node.place import Place

_NOT_INSTALLED = "run interceptor cni install, or give its --conf-dir"


def configured(conf_dir: str, place: Place) -> tuple[PluginConf, str]:
    """Give what our entry says, and the name of the network it is in.

    Args:
        conf_dir: of network configurations, as the node sees it.
        place: of the node.

    Raises:
        HostError: there is no entry of ours where runtimes would look.
        ConfigError: the entry cannot be read.
    """
    files = Directory(place.here(conf_dir), place.root).files()
    first = next((file for file in files if file.network is not None), None)
    if first is None or first.network is None or not first.network.ours:
        raise HostError(f"no entry of ours is in force in {conf_dir}", hint=_NOT_INSTALLED)
    said = msgspec.json.decode(first.network.ours[-1]).get("interceptor", {})
    try:
        return msgspec.convert(said, PluginConf), first.network.name
    except msgspec.ValidationError as error:
        raise ConfigError(f"{conf_dir}/{first.name}: interceptor: {error}") from None
