"""A sheet as it stands in its file: types only."""

from __future__ import annotations

import msgspec

from interceptor.dialect import OWN, Dialect
from interceptor.sheets.places import nearest


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One rule of a sheet, with ``{names}`` still in it.

    ``when`` leaves the row out unless a condition holds: terms joined by ``and``, each ``NAME``,
    ``not NAME``, ``NAME is *`` or ``NAME is not *``. ``each`` is ``x in NAME``: neighbouring rows
    with the same ``each`` are repeated together, with ``{x}`` one member after the other.
    ``place`` is ``file:line``, put there by the loader.
    """

    action: str
    why: str
    match: str = ""
    when: str = ""
    each: str = ""
    place: str = ""


class Refusal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a sheet cannot do: if ``when`` holds, settings are refused, and ``why`` says why."""

    when: str
    why: str


class Sets(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A sheet's own names by type: sums of terms, and how two of them relate."""

    ports: dict[str, str] = {}
    networks: dict[str, str] = {}
    ids: dict[str, str] = {}


class Sheet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The policy of one dialect: chains by iptables table, rows by chain, both in file order.

    ``file`` and, for each key, ``places`` (``sets.ports.own`` -> ``file:line``) are put there by
    the loader.
    """

    name: str
    summary: str
    prefix: str
    nftables: dict[str, str] = msgspec.field(default_factory=lambda: dict(OWN.nft_tables))
    chains: dict[str, dict[str, list[Row]]]
    sets: Sets = Sets()
    refuse: list[Refusal] = []
    defaults: dict[str, str | int | bool | list[str | int]] = {}
    keep_unreachable: bool = False
    file: str = ""
    places: dict[str, str] = {}

    @property
    def dialect(self) -> Dialect:
        """The names it gives things in each kernel language."""
        return Dialect(self.nftables)

    def place(self, key: str) -> str:
        """Give file and line of a key, or of the nearest one above it."""
        return nearest(self.places, key, self.file)
