"""What of an installation is there, and what of it is not as it should be."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import msgspec

from interceptor.node import network_list
from interceptor.node.directory import Directory
from interceptor.node.splice import OWN, is_own, notes, primary

if TYPE_CHECKING:
    from collections.abc import Iterable

    from interceptor.node.directory import File
    from interceptor.node.installation import Laid
    from interceptor.node.place import Place


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """An installation as it was found.

    Attributes:
        present: whether there is anything of ours.
        file: the configuration that loaders take, ``""`` if there is none.
        position: of our entry in it, from 1 on; 0 if it is not there.
        plugins: how many it names.
        entry: what our entry says, under ``interceptor``.
        ready: whether pods need not wait for the agent.
        faults: what is not as it should be, each as a line.
        notes: what a person should know.
    """

    present: bool
    file: str
    position: int
    plugins: int
    entry: dict[str, Any] | None
    ready: bool
    faults: tuple[str, ...]
    notes: tuple[str, ...]


def report(conf_dir: str, place: Place, laid: Laid, wanted: bytes | None) -> Report:
    """Look at an installation.

    Args:
        conf_dir: as the node sees it.
        place: of the node.
        laid: the bundle.
        wanted: our entry as it should be; ``None`` if anything will do.

    Raises:
        OSError: the directory cannot be read.
    """
    files = Directory(place.here(conf_dir), place.root).files()
    first = next((file for file in files if file.network is not None), None)
    ours = [file for file in files if file.has_ours]
    faults = list(_bundle_faults(laid))
    network = first.network if first else None
    entry: dict[str, Any] | None = None
    position, ready = 0, True
    if first is None or network is None:
        faults.append(f"there is no network configuration in {conf_dir}")
    elif not network.ours:
        faults.append(f"{first.name}, which comes first, does not name {network_list.PLUGIN}")
    else:
        position = network.types.index(network_list.PLUGIN) + 1
        said = msgspec.json.decode(network.ours[0]).get("interceptor", {})
        entry = said if isinstance(said, dict) else {}
        faults += _entry_faults(first, wanted)
        if first.name == OWN:
            faults += _copy_faults(files)
        path = entry.get("ready_file", "")
        ready = not path or os.path.exists(place.here(str(path)))
        if not ready:
            faults.append(f"{path} is not there: meshed pods wait for the agent")
    faults += [
        f"{file.name} names {network_list.PLUGIN} too" for file in ours if file is not first
    ]
    return Report(
        present=bool(ours) or laid.present,
        file=first.name if first else "",
        position=position,
        plugins=len(network.types) if network else 0,
        entry=entry,
        ready=ready,
        faults=tuple(faults),
        notes=notes(files, first.name) if first else (),
    )


def _bundle_faults(laid: Laid) -> Iterable[str]:
    if not laid.present:
        yield "the plugin's program is not there"
    elif not laid.intact:
        yield "the plugin's program is damaged"


def _entry_faults(file: File, wanted: bytes | None) -> Iterable[str]:
    network = file.network
    if network is None:
        return
    if len(network.ours) > 1:
        yield f"{file.name} names {network_list.PLUGIN} {len(network.ours)} times"
    if network.types[-1] != network_list.PLUGIN:
        yield f"{file.name}: {network.types[-1]} comes after {network_list.PLUGIN}"
    if wanted is not None and msgspec.json.decode(network.ours[-1]) != msgspec.json.decode(wanted):
        yield f"{file.name}: the entry is not as wanted"


def _copy_faults(files: Iterable[File]) -> Iterable[str]:
    """Say whether our copy is no longer what it was made of."""
    files = tuple(files)
    original = primary(files)
    own = next((file.network for file in files if is_own(file)), None)
    if original is None or original.network is None:
        yield f"{OWN} is a copy of a configuration that is gone"
    elif own and not own.without_ours().means(original.network.without_ours()):
        yield f"{OWN} is not a copy of {original.name} as it is now"
