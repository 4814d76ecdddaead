"""Find a sheet by name or path and read it, so that every fault names its file and line."""

from __future__ import annotations

import os
import re
import tomllib
from typing import Any

import msgspec

from interceptor.dialect import OWN_PREFIX, OWN_TABLE, RECORD_CHAIN
from interceptor.errors import SheetError
from interceptor.files import read_file
from interceptor.names import PRIORITIES
from interceptor.settings import SETTINGS, Scope
from interceptor.sheets.option import Option
from interceptor.sheets.places import key_places, nearest, row_places
from interceptor.sheets.sheet import Row, Sheet

FORMAT = 1
_MOST_BYTES = 1 << 20
_HERE = os.path.dirname(os.path.abspath(__file__))
_DIRECTORIES = (
    os.path.join(_HERE, "..", "_rules"),  # in a wheel
    os.path.join(_HERE, "..", "..", "rules"),  # in a checkout; an editable install is one too
)


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
        text = read_file(path, _MOST_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise SheetError(f"{path}: the sheet cannot be read: it is not UTF-8") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SheetError(f"{path}: the sheet cannot be read: {reason}") from None
    label = path if is_path(name) else f"rules/{name}.toml"
    sheet = read(text, label)
    if is_path(name):
        _check_own_names(sheet)
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
    places = key_places(text, label)
    version = document.pop("format", None)
    if version != FORMAT:
        raise SheetError(
            f"{nearest(places, 'format', label)}: its format is {version!r}; "
            f"this program reads {FORMAT}",
            hint=f"begin the sheet with: format = {FORMAT}",
        )
    for key in ("file", "places"):
        if key in document:
            from interceptor.sheets.faults import SHEET_KEYS, no_key

            place = nearest(places, key, label)
            raise SheetError(f"{place}: {no_key(key, SHEET_KEYS)}")
    options = _options(document.pop("options", {}), places, label)
    chains = _rows(document.pop("chains", {}), row_places(text, label), places, label)
    try:
        own = {"chains": {}, "options": {}, "file": label, "places": places}
        sheet = msgspec.convert({**document, **own}, Sheet)
    except msgspec.ValidationError as error:
        from interceptor.sheets.faults import SHEET_KEYS, explain

        key, fault = explain(error, SHEET_KEYS)
        raise SheetError(f"{nearest(places, key, label)}: {fault}") from None
    for table in chains:
        if table not in sheet.nftables:
            place = sheet.place("nftables")
            raise SheetError(f"{place}: [nftables] does not say which nft table {table!r} is")
    for chain in sheet.nftables_chains:
        if not any(chain in named for named in chains.values()):
            place = sheet.place(f"nftables_chains.{chain}")
            raise SheetError(
                f"{place}: [nftables_chains] names {chain!r}, which is no chain of it"
            )
    _check_lacks(sheet)
    return msgspec.structs.replace(sheet, chains=chains, options=options)


def _options(tables: Any, places: dict[str, str], label: str) -> dict[str, Option]:
    """Convert options one by one, so that the place of each fault is known."""
    if not isinstance(tables, dict):
        raise SheetError(f"{nearest(places, 'options', label)}: [options] is no table of options")
    read_options = {}
    for name, table in tables.items():
        place = nearest(places, f"options.{name}", label)
        try:
            read_options[name] = msgspec.convert(table, Option)
            read_options[name].check(name)
        except msgspec.ValidationError as error:
            from interceptor.sheets.faults import OPTION_KEYS, explain

            fault = explain(error, OPTION_KEYS)[1]
            raise SheetError(f"{place}: option {name}: {fault}") from None
        except ValueError as error:
            raise SheetError(f"{place}: option {name}: {error}") from None
    return read_options


def _check_lacks(sheet: Sheet) -> None:
    for name in sheet.lacks:
        if name not in SETTINGS or SETTINGS[name].scope is not Scope.POLICY:
            place = sheet.place(f"lacks.{name}")
            raise SheetError(f"{place}: [lacks] names {name!r}, which is no setting of a policy")


def _rows(
    tables: Any, rows_at: dict[tuple[str, str, int], str], keys_at: dict[str, str], label: str
) -> dict[str, dict[str, list[Row]]]:
    """Convert rows one by one, so that the place of each fault is known."""
    read_tables: dict[str, dict[str, list[Row]]] = {}
    if not isinstance(tables, dict) or not tables:
        raise SheetError(f"{nearest(keys_at, 'chains', label)}: it has no [chains.TABLE]")
    for table, chains in tables.items():
        place = nearest(keys_at, f"chains.{table}", label)
        if table not in PRIORITIES:
            known = ", ".join(PRIORITIES)
            raise SheetError(f"{place}: there is no table {table!r}; known are {known}")
        if not isinstance(chains, dict):
            raise SheetError(f"{place}: [chains.{table}] is no table of chains")
        for chain, rows in chains.items():
            place = nearest(keys_at, f"chains.{table}.{chain}", label)
            if not isinstance(rows, list):
                raise SheetError(f"{place}: {table} {chain} is no list of rows")
            read_tables.setdefault(table, {})[chain] = [
                _row(row, rows_at.get((table, chain, number), place))
                for number, row in enumerate(rows)
            ]
    return read_tables


def _row(row: Any, place: str) -> Row:
    if not isinstance(row, dict) or "place" in row:
        raise SheetError(
            f"{place}: a row is {{ match, action, why }}, with when and each if needed"
        )
    try:
        return msgspec.convert({**row, "place": place}, Row)
    except msgspec.ValidationError as error:
        from interceptor.sheets.faults import ROW_KEYS, explain

        raise SheetError(f"{place}: {explain(error, ROW_KEYS)[1]}") from None


def _check_own_names(sheet: Sheet) -> None:
    """Hold a user's sheet to names by which ``uninstall`` finds it without its file."""
    if not sheet.prefix.startswith(OWN_PREFIX):
        raise SheetError(
            f"{sheet.place('prefix')}: its prefix is {sheet.prefix!r}",
            hint=f"begin it with {OWN_PREFIX}, so that uninstall finds the chains by themselves",
        )
    if sheet.verbatim:
        raise SheetError(
            f"{sheet.place('verbatim')}: only shipped sheets can be verbatim",
            hint="leave it out: without a record nobody would know what your rules mean",
        )
    if sheet.nftables_chains:
        raise SheetError(
            f"{sheet.place('nftables_chains')}: only shipped sheets name chains for nft",
            hint="leave it out: yours are called by their own names there, in small letters",
        )
    for table, name in sheet.nftables.items():
        if name != OWN_TABLE:
            raise SheetError(
                f"{sheet.place(f'nftables.{table}')}: its nft table is {name!r}",
                hint=f"leave [nftables] out: your table is {OWN_TABLE}, as uninstall knows it",
            )
    for table, chains in sheet.chains.items():
        for chain in chains:
            if any(hook.upper() == chain for hook in PRIORITIES[table]):
                continue
            if not chain.startswith(sheet.prefix) or chain == RECORD_CHAIN:
                raise SheetError(
                    f"{sheet.place(f'chains.{table}.{chain}')}: the chain is named {chain!r}",
                    hint=f"begin it with the prefix {sheet.prefix}, and with something after it",
                )
