"""What a sheet needs beside rules: addresses and routes."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from interceptor.errors import SheetError
from interceptor.model import LocalRoute, LoopbackAddress, MarkRule, Routing
from interceptor.parse.words import Kind
from interceptor.settings.parsers import parse_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.names import Family
    from interceptor.sheets.sheet import Sheet
    from interceptor.sheets.vocabulary import Vocabulary


def build_routing(sheet: Sheet, family: Family, vocabulary: Vocabulary) -> Iterator[Routing]:
    """Give the addresses and routes a sheet means, for the families that are intercepted.

    Raises:
        SheetError: a row that makes no sense, with its place.
    """
    for number, row in enumerate(sheet.addresses):
        try:
            address = LoopbackAddress(ip_address(row.address))
            wanted = vocabulary.holds(row.when)
        except ValueError as error:
            raise SheetError(f"{sheet.place(f'addresses[{number}]')}: {error}") from None
        if wanted and address.family in family.members:
            yield address
    for number, route in enumerate(sheet.routes):
        try:
            mark = vocabulary.read(Kind.MARK_BITS, route.mark)
            table = parse_table(str(vocabulary.read(Kind.PORT, route.table)))
            wanted = vocabulary.holds(route.when)
        except ValueError as error:
            raise SheetError(f"{sheet.place(f'routes[{number}]')}: {error}") from None
        for one in family.members if wanted else ():
            yield LocalRoute(one, table)
            yield MarkRule(one, mark.value, table, priority=route.priority, mask=mark.mask)
