"""Where settings come from: flags, the environment, a file; each as a layer of text."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Any

import msgspec

from interceptor.errors import ConfigError
from interceptor.layers import DEFAULTS, Layer, Resolved, resolve, unknown_key
from interceptor.settings import ENVIRONMENT_PREFIX, SETTINGS
from interceptor.sheets import loader

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from interceptor.sheets.sheet import Sheet

_CONFIG = f"{ENVIRONMENT_PREFIX}CONFIG"

_SERVICE_LINK = r"_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
_SERVICE_URL = r"(tcp|udp|sctp)://\S+"


def read_settings(
    flags: Mapping[str, str], config_path: str | None, environment: Mapping[str, str]
) -> tuple[Resolved, Sheet]:
    """Lay all sources over one another and load the sheet they name.

    Raises:
        ConfigError: a value or key in any of them.
        SheetError: the sheet.
    """
    layers = [
        _file_layer(config_path or environment.get(_CONFIG, "")),
        _environment_layer(environment),
        Layer(flags, lambda key: SETTINGS[key].flag, given=True),
    ]
    name = DEFAULTS.values["sheet"]
    for layer in layers:
        name = layer.values.get("sheet", name)
    sheet = loader.load(name or DEFAULTS.values["sheet"])
    return resolve([DEFAULTS, sheet_layer(sheet), *layers]), sheet


def sheet_layer(sheet: Sheet) -> Layer:
    """Give a dialect's own defaults."""
    values = {key: _text(key, value, sheet.name) for key, value in sheet.defaults.items()}
    return Layer(values, lambda _key: f"sheet {sheet.name}")


def _environment_layer(environment: Mapping[str, str]) -> Layer:
    values: dict[str, str] = {}
    known = {setting.environment: key for key, setting in SETTINGS.items()}
    for name, text in environment.items():
        if not name.startswith(ENVIRONMENT_PREFIX) or name == _CONFIG:
            continue
        if name in known:
            if _is_service_link(name, text):
                raise ConfigError(
                    f"{name}: Kubernetes put {text!r} there for a Service of that name",
                    hint="set enableServiceLinks: false in the pod, or rename the Service",
                )
            values[known[name]] = text
        elif not _is_service_link(name, text):
            raise unknown_key(name, "environment", known)
    return Layer(values, lambda key: SETTINGS[key].environment, given=True)


def _is_service_link(name: str, text: str) -> bool:
    """Whether Kubernetes put it there for a Service whose name begins with interceptor.

    Of the names it makes, only ``..._PORT`` could also be a setting or a slip in one; its value
    is a URL then.
    """
    if name.endswith("_PORT") and re.fullmatch(_SERVICE_URL, text):
        return True
    return re.search(f"{_SERVICE_LINK}$", name) is not None


def _file_layer(path: str) -> Layer:
    if not path:
        return Layer({}, str)
    label = "stdin" if path == "-" else path
    values = {}
    for key, value in _read_file(path, label).items():
        if key not in SETTINGS:
            raise unknown_key(str(key), label, SETTINGS)
        values[key] = _text(key, value, label)
    return Layer(values, lambda key: f"{label}: {key}", given=True)


def _text(key: str, value: Any, label: str) -> str:
    """Write a file's typed value as the text a flag would have."""
    match value:
        case bool():
            return "true" if value else "false"
        case str() | int() | float():
            return str(value)
        case list() if all(isinstance(v, str | int) and not isinstance(v, bool) for v in value):
            return ",".join(map(str, value))
        case None:
            raise ConfigError(
                f"{label}: {key}: there is no value", hint='write "" for the empty list'
            )
        case _:
            raise ConfigError(
                f"{label}: {key}: {type(value).__name__} is neither a text, a number nor a list",
                hint=f"{key}: {SETTINGS[key].help}" if key in SETTINGS else "",
            )


def _read_file(path: str, label: str) -> dict[str, Any]:
    try:
        if path == "-":
            text = sys.stdin.buffer.read().decode()
        else:
            with open(path, "rb") as file:
                text = file.read().decode()
    except OSError as error:
        raise ConfigError(f"{label}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{label}: it is not UTF-8") from None
    decoders = _decoders(os.path.splitext(path)[1].lower())
    errors = []
    for name, decode in decoders.items():
        try:
            document = decode(text)
        except msgspec.DecodeError as error:
            errors.append(f"as {name}: {str(error).splitlines()[0]}")
            continue
        if isinstance(document, dict):
            return document
        errors.append(f"as {name}: it holds {type(document).__name__}, not keys and values")
    raise ConfigError(
        f"{label}: {'; '.join(errors)}",
        hint="write key = value (TOML), key: value (YAML) or an object (JSON)",
    )


def _decoders(extension: str) -> dict[str, Callable[[str], Any]]:
    """Give the decoder an extension asks for; for none, all of them, strictest first."""
    json, toml, yaml = msgspec.json.decode, msgspec.toml.decode, msgspec.yaml.decode
    match extension:
        case ".json":
            return {"JSON": json}
        case ".toml":
            return {"TOML": toml}
        case ".yaml" | ".yml":
            return {"YAML": yaml}
        case _:
            return {"JSON": json, "TOML": toml, "YAML": yaml}
