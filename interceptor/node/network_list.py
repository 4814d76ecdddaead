"""Network configurations as CNI loaders read them, with our entry put in and taken out.

A list (``.conflist``) names plugins that are called one after the other; a single configuration
(``.conf``, ``.json``) is one plugin, which a loader takes for a list of one. Values we do not
know are kept as the text they were written in, and so is the order of keys.
"""

from __future__ import annotations

from typing import Any

import msgspec

from interceptor.cni.versions import VERSIONS

PLUGIN = "interceptor-cni"
"""The type of our entry, which is the name of its program."""

LIST_EXTENSION = ".conflist"
SINGLE_EXTENSIONS = (".conf", ".json")
EXTENSIONS = (LIST_EXTENSION, *SINGLE_EXTENSIONS)
"""What loaders look at."""

_OLDEST = msgspec.json.encode(VERSIONS[0])


class NetworkList(msgspec.Struct, frozen=True):
    """A valid configuration; of a single one, as the list that loaders make of it.

    ``keys`` holds the text of each value, ``plugins`` that of each entry.
    """

    keys: dict[str, bytes]
    plugins: tuple[bytes, ...]

    @property
    def name(self) -> str:
        """The network's name."""
        return str(_value(self.keys["name"]))

    @property
    def version(self) -> str:
        """The version of the specification, ``""`` if the list does not say one."""
        return str(_value(self.keys.get("cniVersion", b'""')))

    @property
    def types(self) -> tuple[str, ...]:
        """The plugins' programs, in the order they are called."""
        return tuple(_type(plugin) for plugin in self.plugins)

    @property
    def ours(self) -> tuple[bytes, ...]:
        """Our entries: one, none, or several if something went wrong."""
        return tuple(p for p in self.plugins if _type(p) == PLUGIN)

    def without_ours(self) -> NetworkList:
        """Take all of our entries out; what is left may be no plugin at all."""
        rest = tuple(p for p in self.plugins if _type(p) != PLUGIN)
        return msgspec.structs.replace(self, plugins=rest)

    def with_ours(self, entry: bytes) -> NetworkList:
        """Put our entry last, in the place of all older ones."""
        rest = self.without_ours()
        return msgspec.structs.replace(rest, plugins=(*rest.plugins, entry))

    def means(self, other: NetworkList) -> bool:
        """Whether both say the same, however it is written."""
        return self._values() == other._values()

    def encode(self) -> bytes:
        """Write it as a ``.conflist``."""
        raw: dict[str, Any] = {key: msgspec.Raw(text) for key, text in self.keys.items()}
        raw["plugins"] = [msgspec.Raw(plugin) for plugin in self.plugins]
        return msgspec.json.format(msgspec.json.encode(raw), indent=2) + b"\n"

    def _values(self) -> tuple[dict[str, Any], list[Any]]:
        keys = {key: _value(text) for key, text in self.keys.items() if key != "plugins"}
        return keys, [_value(plugin) for plugin in self.plugins]


def is_list(name: str) -> bool:
    """Whether a file of this name is read as a list."""
    return extension(name) == LIST_EXTENSION


def extension(name: str) -> str:
    """Give the extension as loaders see it: of ``.conf`` it is the whole name."""
    _, dot, last = name.rpartition(".")
    return dot + last


def read(name: str, content: bytes) -> NetworkList:
    """Read a configuration, as strictly as loaders do.

    Args:
        name: of the file; its extension says whether it is a list.
        content: all of the file.

    Raises:
        ValueError: no loader takes it; with the reason as half a sentence.
    """
    try:
        msgspec.json.decode(content)  # also what Raw leaves unread, as its UTF-8
        members = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError:
        raise ValueError("it is no JSON object") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"it is no JSON: {error}") from None
    keys = {key: bytes(text) for key, text in members.items()}
    return _list(keys) if is_list(name) else _list_of_one(keys, content)


def _list(keys: dict[str, bytes]) -> NetworkList:
    _need_text(keys, "name")
    if "cniVersion" in keys:
        _need_text(keys, "cniVersion", may_be_empty=True)
    if not isinstance(_value(keys.get("disableCheck", b"false")), bool):
        raise ValueError("its disableCheck is neither true nor false")  # noqa: TRY004 - of content
    try:
        raw = msgspec.json.decode(keys.get("plugins", b"0"), type=list[msgspec.Raw])
    except msgspec.ValidationError:
        raise ValueError("it has no list of plugins") from None
    if not raw:
        raise ValueError("its list of plugins is empty")
    plugins = tuple(map(bytes, raw))
    for number, plugin in enumerate(plugins, 1):
        if not _type(plugin):
            raise ValueError(f"its plugin {number} has no type")
    return NetworkList(keys, plugins)


def _list_of_one(keys: dict[str, bytes], content: bytes) -> NetworkList:
    """Make a list of a single configuration; the list says what the entry need not."""
    if not _type(content):
        raise ValueError("it has no type")
    _need_text(keys, "name")
    if "cniVersion" in keys:
        _need_text(keys, "cniVersion", may_be_empty=True)
    entry = {k: msgspec.Raw(text) for k, text in keys.items() if k not in ("name", "cniVersion")}
    # Lists are younger than the version that no version stands for.
    version = keys.get("cniVersion") or _OLDEST
    outer = {"cniVersion": version, "name": keys["name"], "plugins": b"[]"}
    return NetworkList(outer, (msgspec.json.encode(entry),))


def _need_text(keys: dict[str, bytes], key: str, *, may_be_empty: bool = False) -> None:
    value = _value(keys.get(key, b"null"))
    if not isinstance(value, str) or not (value or may_be_empty):
        raise ValueError(f"it has no {key}")


def _type(plugin: bytes) -> str:
    """Give an entry's type, ``""`` if it has none that is a text."""
    value = _value(plugin)
    named = value.get("type") if isinstance(value, dict) else None
    return named if isinstance(named, str) else ""


def _value(text: bytes) -> Any:
    return msgspec.json.decode(text)
