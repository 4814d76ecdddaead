"""A sheet as it stands in its file: types only."""

from __future__ import annotations

import msgspec

from interceptor.dialect import Dialect


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


class Sets(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A sheet's own names by type: terms joined by ``+``, ``-``, ``within`` and ``outside``."""

    ports: dict[str, str] = {}
    networks: dict[str, str] = {}
    ids: dict[str, str] = {}


class Sheet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The policy of one dialect: chains by iptables table, rows by chain, both in file order.

    ``file`` and, for each of its sets, ``places`` (``file:line``) are put there by the loader.
    """

    name: str
    summary: str
    prefix: str
    nftables: dict[str, str]
    chains: dict[str, dict[str, list[Row]]]
    sets: Sets = Sets()
    defaults: dict[str, str | int | bool] = {}
    keep_unreachable: bool = False
    file: str = ""
    places: dict[str, str] = {}

    @property
    def dialect(self) -> Dialect:
        """The names it gives things in each kernel language."""
        return Dialect(self.prefix, self.nftables)
