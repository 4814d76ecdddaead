"""A sheet as it stands in its file: types only."""

from __future__ import annotations

from typing import Literal

import msgspec

from interceptor.dialect import OWN, Dialect
from interceptor.sheets.option import Option  # noqa: TC001 - msgspec reads the annotations of fields
from interceptor.sheets.places import nearest


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One rule of a sheet, with ``{names}`` still in it.

    ``when`` leaves the row out unless a condition holds: terms joined by ``and``, each ``NAME``,
    ``not NAME``, ``NAME is WORD`` or ``NAME is not WORD``, where ``*`` is everything. ``each`` is
    ``x in NAME``: neighbouring rows with the same ``each`` are repeated together, with ``{x}`` one
    member after the other. ``family`` keeps the row to one family, ``ip`` or ``ip6``, or to those
    that networks of this name have addresses of; ``only`` to one kernel language. ``first``, in a
    built-in chain of iptables, puts it before what others have there. ``place`` is
    ``file:line``, put there by the loader.
    """

    action: str
    why: str
    match: str = ""
    when: str = ""
    each: str = ""
    family: str = ""
    only: Literal["", "iptables", "nftables"] = ""
    first: bool = False
    place: str = ""


class AddressRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An address that ``lo`` has to have."""

    address: str
    why: str
    when: str = ""


class RouteRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Packets of a mark are to stay here: a routing rule, and a table in which all is local.

    ``mark`` may have a mask. ``priority`` is where the rule is among others; 0 puts it before
    all but the kernel's first.
    """

    mark: str
    table: str
    why: str
    when: str = ""
    priority: int = 0


class Refusal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a sheet cannot do: if ``when`` holds, settings are refused, and ``why`` says why."""

    when: str
    why: str


class Sets(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A sheet's own names by type: sums of terms, and how two of them relate."""

    ports: dict[str, str] = {}
    networks: dict[str, str] = {}
    ids: dict[str, str] = {}
    interfaces: dict[str, str] = {}


class Sheet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The policy of one dialect: chains by iptables table, rows by chain, both in file order.

    ``options`` are settings of its own; ``lacks`` are settings it does not cover, and ``breaks``
    properties its rules do not have because the mesh's do not, each with the reason.
    ``keep_unreachable`` keeps chains that nothing calls; ``verbatim`` is for rules that are to be
    as another mesh's own tool leaves them, and ``nftables_chains`` and ``other_family_returns``
    say more of its form in nft, see ``Dialect``.

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
    addresses: list[AddressRow] = []
    routes: list[RouteRow] = []
    options: dict[str, Option] = {}
    lacks: dict[str, str] = {}
    breaks: dict[str, str] = {}
    defaults: dict[str, str | int | bool | list[str | int]] = {}
    keep_unreachable: bool = False
    verbatim: bool = False
    nftables_chains: dict[str, str] = {}
    other_family_returns: bool = False
    file: str = ""
    places: dict[str, str] = {}

    @property
    def dialect(self) -> Dialect:
        """The names it gives things in each kernel language."""
        return Dialect(
            self.nftables, self.verbatim, self.nftables_chains, self.other_family_returns
        )

    def place(self, key: str) -> str:
        """Give file and line of a key, or of the nearest one above it."""
        return nearest(self.places, key, self.file)
