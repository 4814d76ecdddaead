"""Find a sheet by name or path and read it, so that every fault names its file and line."""

from __future__ import annotations

import os
import re
import tomllib
from typing import Any

import msgspec

from interceptor.dialect import OWN_PREFIX, OWN_TABLE
from interceptor.errors import SheetError
from interceptor.names import PRIORITIES
from interceptor.sheets.sheet import Row, Sheet

FORMAT = 1
_HERE = os.path.dirname(os.path.abspath(__file__))
_DIRECTORIES = (
    os.path.join(_HERE, "..", "_rules"),  # in a wheel
    os.path.join(_HERE, "..", "..", "rules"),  # in a checkout; an editable install is one too
)
_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"')


def rules_directory() -> str:
    """Give the directory of the shipped sheets."""
    for directory in _DIRECTORIES:
        if os.path.isdir(directory):
            return os.path.normpath(directory)
    raise SheetError("the shipped sheets are not where they belong", hint="install it again")


def shipped() -> list[str]:
    """Give the names of the shipped sheets."""
    files = os.listdir(rules_directory())
    return sorted(name[: -len(".toml")] for name in files if name.endswith(".toml"))


def is_path(name: str) -> bool:
    """Whether a sheet is named by its path, not as one that is shipped."""
    return "/" in name or name.endswith(".toml")


def load(name: str) -> Sheet:
    """Load a shipped sheet by its name, or a user's by its path.

    Raises:
        SheetError: no such sheet, or ``file:line: what is wrong with it``.
    """
    if is_path(name):
        path = name
    elif name in shipped():
        path = os.path.join(rules_directory(), f"{name}.toml")
    else:
        raise SheetError(
            f"there is no sheet {name!r}",
            hint=f"shipped are {', '.join(shipped())}; a path has a / or ends in .toml",
        )
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SheetError(f"{path}: the sheet cannot be read: {reason}") from None
    label = path if is_path(name) else f"rules/{name}.toml"
    sheet = read(text, label)
    if is_path(name):
        _check_own_names(sheet, label)
    return sheet


def read(text: str, label: str) -> Sheet:
    """Read a sheet's text; ``label`` is what its errors call the file."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\(at line (\d+), column \d+\)", str(error))
        line = f":{found[1]}" if found else ""
        reason = re.sub(r" \(at .*", "", str(error))
        raise SheetError(f"{label}{line}: not TOML: {reason}") from None
    version = document.pop("format", None)
    if version != FORMAT:
        raise SheetError(
            f"{label}: its format is {version!r}; this program reads {FORMAT}",
            hint=f"begin the sheet with: format = {FORMAT}",
        )
    chains = _rows(document.pop("chains", {}), _places(text, label), label)
    try:
        own = {"chains": {}, "file": label, "places": _set_places(text, label)}
        sheet = msgspec.convert({**document, **own}, Sheet)
    except msgspec.ValidationError as error:
        raise SheetError(f"{label}: {_plain(error)}") from None
    for table in chains:
        if table not in PRIORITIES:
            raise SheetError(f"{label}: there is no table {table!r}; known are {[*PRIORITIES]}")
        if table not in sheet.nftables:
            raise SheetError(f"{label}: [nftables] does not say which nft table {table!r} is")
    return msgspec.structs.replace(sheet, chains=chains)


def _rows(
    tables: Any,
    places: dict[tuple[str, str, int], str],
    label: str,
) -> dict[str, dict[str, list[Row]]]:
    """Convert rows one by one, so that the place of each fault is known."""
    read_tables: dict[str, dict[str, list[Row]]] = {}
    if not isinstance(tables, dict) or not tables:
        raise SheetError(f"{label}: it has no [chains.TABLE]")
    for table, chains in tables.items():
        if not isinstance(chains, dict):
            raise SheetError(f"{label}: [chains.{table}] is no table of chains")
        for chain, rows in chains.items():
            if not isinstance(rows, list):
                raise SheetError(f"{label}: {table} {chain} is no list of rows")
            read_rows = []
            for number, row in enumerate(rows):
                key = (table, chain, number)
                place = places.get(key, f"{label}: {table} {chain} row {number + 1}")
                read_rows.append(_row(row, place))
            read_tables.setdefault(table, {})[chain] = read_rows
    return read_tables


def _row(row: Any, place: str) -> Row:
    if not isinstance(row, dict) or "place" in row:
        raise SheetError(
            f"{place}: a row is {{ match, action, why }}, with when and each if needed"
        )
    try:
        return msgspec.convert({**row, "place": place}, Row)
    except msgspec.ValidationError as error:
        raise SheetError(f"{place}: {_plain(error)}") from None


def _plain(error: msgspec.ValidationError) -> str:
    """Put msgspec's words into those of a sheet."""
    text = re.sub(r" - at `(\$\.?)?([^`]*)`", r" (\2)", str(error)).replace(" ()", "")
    return (
        text.replace("Object", "it").replace("required field", "the key").replace("field", "key")
    )


def _places(text: str, label: str) -> dict[tuple[str, str, int], str]:
    """Find the line of every row: braces outside strings, below ``[chains.TABLE]`` and a name."""
    places: dict[tuple[str, str, int], str] = {}
    table = chain = ""
    number = 0
    for line_number, raw in enumerate(text.splitlines(), 1):
        if header := re.match(r'\s*\[\s*chains\s*\.\s*"?(\w+)"?\s*\]', raw):
            table, chain = header[1], ""
            continue
        line = _STRINGS.sub('""', raw).partition("#")[0]
        if re.match(r"\s*\[[^\[\]]*\]\s*$", line):
            table = ""
        elif assignment := re.match(r'\s*"?([\w-]+)"?\s*=\s*\[', raw):
            chain, number = assignment[1], 0
        for _ in range(line.count("{")):
            places[table, chain, number] = f"{label}:{line_number}"
            number += 1
    return places


def _set_places(text: str, label: str) -> dict[str, str]:
    """Find the line of every ``name =`` below a ``[sets.TYPE]``."""
    places: dict[str, str] = {}
    inside = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("["):
            inside = line.lstrip().startswith("[sets.")
        elif inside and (assignment := re.match(r'\s*"?(\w+)"?\s*=', line)):
            places[assignment[1]] = f"{label}:{number}"
    return places


def _check_own_names(sheet: Sheet, label: str) -> None:
    """Hold a user's sheet to names by which ``uninstall`` finds it without its file."""
    if not sheet.prefix.startswith(OWN_PREFIX):
        raise SheetError(
            f"{label}: its prefix is {sheet.prefix!r}",
            hint=f"begin it with {OWN_PREFIX}, so that uninstall finds the chains by themselves",
        )
    for table in sheet.nftables.values():
        if not re.fullmatch(rf"{OWN_TABLE}(-[a-z0-9-]+)?", table):
            raise SheetError(
                f"{label}: its nft table is {table!r}",
                hint=f"name it {OWN_TABLE} or {OWN_TABLE}-something, so that uninstall finds it",
            )
    for table, chains in sheet.chains.items():
        for chain in chains:
            builtin = any(hook.upper() == chain for hook in PRIORITIES[table])
            if not builtin and not chain.startswith(sheet.prefix):
                raise SheetError(
                    f"{label}: chain {chain!r} does not begin with the prefix {sheet.prefix!r}"
                )
