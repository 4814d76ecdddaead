"""Where settings come from: flags, the environment, a file; each as a layer of text."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Any

from interceptor.config import Output
from interceptor.errors import ConfigError, DeadlineError, InterceptorError
from interceptor.files import read_file, read_stream
from interceptor.layers import DEFAULTS, Layer, Resolved, resolve, unknown_key
from interceptor.settings import ENVIRONMENT_PREFIX, SETTINGS, Scope
from interceptor.settings.parsers import joined, text_of
from interceptor.sheets import loader

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from interceptor.documents import Document
    from interceptor.sheets.sheet import Sheet

_MOST = 1 << 26
"""Bytes of a configuration; ten thousand networks are two hundred thousand."""

_CONFIG = f"{ENVIRONMENT_PREFIX}CONFIG"

CNI_PREFIX = f"{ENVIRONMENT_PREFIX}CNI_"
"""Of environment variables that are options of ``interceptor cni``, which looks at them itself."""

_SERVICE_LINK = r"_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
_SERVICE_URL = r"(tcp|udp|sctp)://\S+"


def read_settings(
    flags: Mapping[str, str],
    config_path: str | None,
    environment: Mapping[str, str],
    scopes: frozenset[Scope] = frozenset(Scope),
) -> tuple[Resolved, Sheet]:
    """Lay all sources over one another and load the sheet they name.

    What a command without a policy does not read cannot stop it: ``uninstall`` works in a pod
    whose environment names a sheet that is gone.

    Args:
        flags: settings' names and values.
        config_path: what ``--config`` says.
        environment: of this process.
        scopes: kinds of settings that the command reads.

    Raises:
        ConfigError: a value or key in any of them.
        SheetError: the sheet.
        DeadlineError: the file is a pipe, and its other end took too long.
    """
    flag_layer = Layer(flags, lambda key: SETTINGS[key].flag, given=True)
    environment_layer = _environment_layer(environment)
    longest_s = _longest_s(environment_layer, flag_layer)
    file_layer = _file_layer(config_path, environment, longest_s)
    layers = [_with_whole_path(layer) for layer in (file_layer, environment_layer, flag_layer)]
    if scopes <= {Scope.PLACE, Scope.RUN}:
        layers = [_only(scopes, layer) for layer in layers]
    try:
        sheet = loader.load(_last("sheet", layers) or DEFAULTS.values["sheet"])
        return resolve([DEFAULTS, sheet_layer(sheet), *layers]), sheet
    except InterceptorError as error:
        error.as_json = _last("output", layers) == Output.JSON.value
        raise


def _last(key: str, layers: Iterable[Layer]) -> str:
    """Give the strongest text for a setting."""
    return ([""] + [layer.values[key] for layer in layers if key in layer.values])[-1]


def _only(scopes: frozenset[Scope], layer: Layer) -> Layer:
    values = {k: v for k, v in layer.values.items() if SETTINGS[k].scope in scopes}
    return Layer(values, layer.origin, given=layer.given)


def _longest_s(*layers: Layer) -> float:
    """Give the seconds to wait for the file, as far as is known without it."""
    setting = SETTINGS["timeout"]
    try:
        return float(setting.parse(_last("timeout", layers) or setting.default))
    except ValueError:
        # It is told when all values are read.
        return float(setting.parse(setting.default))


def _with_whole_path(layer: Layer) -> Layer:
    """Name a user's sheet by a path that means the same from everywhere: it is recorded."""
    name = layer.values.get("sheet", "")
    if not loader.is_path(name):
        return layer
    values = {**layer.values, "sheet": os.path.abspath(name)}
    return Layer(values, layer.origin, given=layer.given)


def sheet_layer(sheet: Sheet) -> Layer:
    """Give a dialect's own defaults."""
    values = {key: _text(key, value, sheet.name) for key, value in sheet.defaults.items()}
    return Layer(values, lambda key: f"sheet {sheet.name}, {sheet.place(f'defaults.{key}')}")


def _environment_layer(environment: Mapping[str, str]) -> Layer:
    values: dict[str, str] = {}
    known = {setting.environment: key for key, setting in SETTINGS.items()}
    for name, text in environment.items():
        if not name.startswith(ENVIRONMENT_PREFIX) or name == _CONFIG:
            continue
        if name.startswith(CNI_PREFIX):
            continue
        if name in known:
            if is_service_link(name, text):
                raise ConfigError(
                    f"{name}: Kubernetes put {text!r} there for a Service of that name",
                    hint="set enableServiceLinks: false in the pod, or rename the Service",
                )
            values[known[name]] = text
        elif not is_service_link(name, text):
            raise unknown_key(name, "environment", known)
    return Layer(values, lambda key: SETTINGS[key].environment, given=True)


def is_service_link(name: str, text: str) -> bool:
    """Whether Kubernetes put it there for a Service whose name begins with interceptor.

    Of the names it makes, only ``..._PORT`` could also be a setting or a slip in one; its value
    is a URL then.
    """
    if name.endswith("_PORT") and re.fullmatch(_SERVICE_URL, text):
        return True
    return re.search(f"{_SERVICE_LINK}$", name) is not None


def _file_layer(
    config_path: str | None, environment: Mapping[str, str], longest_s: float
) -> Layer:
    origin, path = "--config", config_path
    if path is None:
        origin, path = _CONFIG, environment.get(_CONFIG)
    if path is None:
        return Layer({}, str)
    if not path.strip():
        raise ConfigError(
            f"{origin}: a path is needed, not an empty value",
            hint="give the path of a file, - for stdin, or leave it out",
        )
    from interceptor import documents

    label = "stdin" if path == "-" else path
    extension = os.path.splitext(path)[1].lower()
    document = documents.read(read_text(path, label, longest_s), extension, label)
    return document_layer(document, label)


def document_layer(document: Document, label: str) -> Layer:
    """Give the settings of a document.

    Args:
        document: keys with values as its language has them.
        label: what errors call the document.

    Raises:
        ConfigError: a key that is no setting, or a value that cannot be one.
    """
    values = {}
    for key, value in document.values.items():
        if key not in SETTINGS:
            raise unknown_key(key, label, SETTINGS)
        if value is None:
            raise ConfigError(f"{label}: {key}: there is no value", hint=_instead(document, key))
        values[key] = _text(key, value, label)
    return Layer(values, lambda key: f"{label}: {key}", given=True)


def read_text(path: str, label: str, longest_s: float) -> str:
    """Read a file, or stdin for ``-``.

    Raises:
        ConfigError: it cannot be read.
        DeadlineError: it is a pipe, and has no end within so many seconds.
    """
    try:
        if path == "-":
            content = read_stream(sys.stdin, _MOST, longest_s)
        else:
            content = read_file(path, _MOST, pipe_s=longest_s)
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        reason = "it is not UTF-8"
    except TimeoutError:
        raise DeadlineError(
            f"{label}: no end of it within {longest_s:g} seconds",
            hint="see what should write to it and close it, or give more with --timeout",
        ) from None
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
    raise ConfigError(
        f"{label}: cannot be read: {reason}", hint="give --config the path of a readable file"
    )


def _instead(document: Document, key: str) -> str:
    """Say what to write in the place of no value."""
    setting = SETTINGS[key]
    try:
        setting.parse("")
    except ValueError:
        return f"write {document.line(key, setting.default)}, or leave the key out"
    return f"write {document.line(key, '')} for the empty list, or leave the key out"


def _text(key: str, value: Any, label: str) -> str:
    """Write a file's typed value as the text a flag would have."""
    setting = SETTINGS.get(key)
    try:
        if isinstance(value, dict) and setting and setting.repeated:
            return joined(value)
        return text_of(value)
    except TypeError as error:
        raise ConfigError(
            f"{label}: {key}: a text, a number or a list of those is needed, not {error}",
            hint=f"{key}: {setting.help}" if setting else "",
        ) from None
    except ValueError as error:
        raise ConfigError(
            f"{label}: {key}: {error}", hint="write a value without it, or leave it out"
        ) from None
