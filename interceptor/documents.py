"""A document of keys and values in TOML, YAML or JSON, read without guessing what is meant.

In YAML every value stays the text that was written, in JSON every number: a setting's own parser
reads them, as it reads a flag. So YAML's ``010`` is not eight, ``22:22`` not 1342 and ``no`` not
``false``. TOML says itself what its numbers are. A key that is there twice is a fault in each
language.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from interceptor.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_DEEPEST = 6
"""Levels that are read; settings have two, Kuma's five; the readers below are not for any depth.
"""

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
"""What YAML's core schema takes for no value when it stands without quotes."""

_LANGUAGES = {".json": ("JSON",), ".toml": ("TOML",), ".yaml": ("YAML",), ".yml": ("YAML",)}


class Document(msgspec.Struct, frozen=True):
    """Keys with their values, and the language they were written in.

    A value is a text, ``True`` or ``False``, ``None``, a list, a table, or what else TOML has.
    """

    language: str
    values: dict[str, Any]

    def line(self, key: str, text: str) -> str:
        """Write a key and a text as a line of this document."""
        match self.language:
            case "TOML":
                return f'{key} = "{text}"'
            case "YAML":
                return f'{key}: "{text}"'
            case _:
                return f'"{key}": "{text}"'


def read(text: str, extension: str, label: str) -> Document:
    """Read a document; without an extension that says its language, the one it looks like.

    Raises:
        ConfigError: it is none, with what is wrong in each language it could be.
    """
    # No TOML begins with a brace, and JSON that is one object begins with nothing else.
    guesses = ("JSON", "YAML") if text.lstrip().startswith("{") else ("TOML", "YAML")
    faults = []
    for language in _LANGUAGES.get(extension, guesses):
        try:
            return Document(language, _keys_and_values(_READERS[language](text)))
        except RecursionError:
            faults.append(f"as {language}: it is nested too deep")
        except ValueError as error:
            faults.append(f"as {language}: {error}")
    raise ConfigError(
        f"{label}: {'; '.join(faults)}",
        hint="write key = value (TOML), key: value (YAML) or an object (JSON)",
    )


class _DocumentError(ValueError):
    """What is wrong with a document, as half a sentence."""


def _keys_and_values(content: Any) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise _DocumentError("it holds something else than keys and values")
    return content


def _read_toml(text: str) -> Any:
    import tomllib

    return tomllib.loads(text, parse_float=str)


def _read_json(text: str) -> Any:
    import json

    def table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, value in pairs:
            if key in values:
                raise _DocumentError(f"the key {key!r} is there twice")
            values[key] = value
        return values

    def refuse(word: str) -> None:
        raise _DocumentError(f"{word} is no JSON")

    try:
        return json.loads(
            text, object_pairs_hook=table, parse_int=str, parse_float=str, parse_constant=refuse
        )
    except json.JSONDecodeError as error:
        raise _DocumentError(f"line {error.lineno}: {error.msg}") from None


def _read_yaml(text: str) -> Any:
    """Read YAML from its events: PyYAML's own loaders guess types and let doubles pass."""
    import yaml

    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    try:
        return _YamlReader(yaml.parse(text, Loader=loader)).document()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise _DocumentError(f"line {line}: {error.problem}") from None
    except yaml.YAMLError as error:
        raise _DocumentError(str(error).splitlines()[0]) from None


class _YamlReader:
    """Makes values of YAML's events; tags mean nothing, aliases repeat what they stand for."""

    def __init__(self, events: Iterator[Any]) -> None:
        self._events = events
        self._anchors: dict[str, Any] = {}

    def document(self) -> Any:
        """Read the only document; an empty one has no keys."""
        import yaml

        next(self._events)
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return {}
        value = self._value(next(self._events), 1)
        next(self._events)
        if not isinstance(next(self._events), yaml.StreamEndEvent):
            raise _DocumentError("it holds several documents")
        return {} if value is None else value

    def _value(self, event: Any, depth: int) -> Any:
        import yaml

        if depth > _DEEPEST:
            raise _DocumentError(f"line {_line(event)}: it is nested too deep")
        value: Any
        match event:
            case yaml.AliasEvent():
                if event.anchor not in self._anchors:
                    raise _DocumentError(f"line {_line(event)}: nothing is called &{event.anchor}")
                return self._anchors[event.anchor]
            case yaml.ScalarEvent():
                # The first of the pair: it has no quotes and no tag.
                value = None if event.implicit[0] and event.value in _NULLS else event.value
            case yaml.SequenceStartEvent():
                value = []
                while not isinstance(item := next(self._events), yaml.SequenceEndEvent):
                    value.append(self._value(item, depth + 1))
            case _:
                value = self._table(depth)
        if event.anchor:
            self._anchors[event.anchor] = value
        return value

    def _table(self, depth: int) -> dict[str, Any]:
        import yaml

        values: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise _DocumentError(f"line {_line(event)}: a key is a text")
            if event.value in values:
                raise _DocumentError(
                    f"line {_line(event)}: the key {event.value!r} is there twice"
                )
            values[event.value] = self._value(next(self._events), depth + 1)
        return values


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


_READERS: dict[str, Callable[[str], Any]] = {
    "JSON": _read_json,
    "TOML": _read_toml,
    "YAML": _read_yaml,
}
