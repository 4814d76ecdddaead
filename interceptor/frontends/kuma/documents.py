"""Kuma's configuration files: what each says of options, by their paths.

Tables of later files are merged into those of earlier ones; a list is replaced.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from interceptor import documents
from interceptor.errors import ConfigError, did_you_mean
from interceptor.frontends.given import Said
from interceptor.frontends.kuma.options import TABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from interceptor.frontends.option import Option

_INLINE = re.compile(r"[{\n]|:\s")
"""What a text has that is a document itself, and no path."""


def names(texts: tuple[str, ...]) -> Iterator[str]:
    """Give what ``--config`` names, one by one: paths, ``-``, or documents."""
    for text in texts:
        if _INLINE.search(text):
            yield text
            continue
        for item in text.split(","):
            if not item.strip():
                raise ConfigError(
                    f"--config: a path is needed, not an empty one, in {text!r}",
                    hint="give the paths of files, - for stdin, or leave it out",
                )
            yield item.strip()


def said_by(name: str, content: Callable[[str], str]) -> list[Said]:
    """Give what one document says.

    Args:
        name: as :func:`names` gives it.
        content: gives the text of a file, or of stdin for ``-``.

    Raises:
        ConfigError: it cannot be read, or has a key Kuma does not know.
    """
    if _INLINE.search(name):
        label, text = "--config", name
    else:
        label = "stdin" if name == "-" else name
        text = content(name)
    rows = {row.path: row for row in TABLE.rows.values() if row.path}
    # JSON is YAML too.
    values = documents.read(text, ".yaml", label).values
    return list(_said(values, "", rows, label))


def _said(
    values: dict[str, Any], prefix: str, rows: dict[str, Option], label: str
) -> Iterator[Said]:
    for key, value in values.items():
        path = f"{prefix}{key}"
        inner = [known for known in rows if known.startswith(f"{path}.")]
        if isinstance(value, dict) and inner:
            yield from _said(value, f"{path}.", rows, label)
        elif value is None and (inner or path in rows):
            # Nothing after a key is the default, as it is to Kuma.
            continue
        elif path in rows:
            yield from _texts(rows[path], value, f"{label}: {path}")
        elif inner:
            raise ConfigError(f"{label}: {path}: a table is needed", hint=f"it has {inner[0]}")
        else:
            raise ConfigError(
                f"{label}: there is no key {path!r}",
                hint=did_you_mean(path, rows) or TABLE.see_help,
            )


def _texts(row: Option, value: Any, origin: str) -> Iterator[Said]:
    """Give a value as flags would have it; of a repeated option, an empty list is a text too."""
    items = value if isinstance(value, list) else [value]
    if not all(isinstance(item, str | int) for item in items):
        raise ConfigError(f"{origin}: a value or a list of values is needed", hint=row.help)
    texts = [str(item).lower() if isinstance(item, bool) else str(item) for item in items]
    if row.repeated:
        yield from (Said(row, text, origin) for text in texts or [""])
    else:
        yield Said(row, ",".join(texts), origin)
