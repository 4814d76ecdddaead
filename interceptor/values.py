"""The values a setting or a match may hold: sets of ports, ids, networks, interfaces; marks.

All are frozen, hashable and canonical: two sets with the same members are equal, whatever the
order or overlap they were written with, and ``str()`` gives a text that ``parse()`` takes back.
``parse()`` raises ``ValueError`` with half a sentence; the caller adds whose value it was.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from typing import TYPE_CHECKING, ClassVar, Self

import msgspec

from interceptor.names import INTERFACE_NAME_MAX, Family

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

EVERYTHING = "*"

_MOST_DIGITS = 20
"""More than any number here has; Python takes long over numbers of very many."""

Range = tuple[int, int]
Network = IPv4Network | IPv6Network


def split(text: str) -> list[str]:
    """Split a comma-separated list; an empty text is the empty list."""
    if not text.strip():
        return []
    items = [item.strip() for item in text.split(",")]
    if "" in items:
        raise ValueError(f"an empty item in {text!r}")
    if EVERYTHING in items and len(items) > 1:
        raise ValueError(f"'*' is everything and stands alone, not in {text!r}")
    return items


def merge(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """Sort ranges and join those that touch or overlap."""
    merged: list[Range] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


class Ranges(msgspec.Struct, frozen=True):
    """A set of whole numbers as sorted ranges with a gap between any two, ends included."""

    ranges: tuple[Range, ...] = ()

    LOWEST: ClassVar[int] = 0
    HIGHEST: ClassVar[int]
    WHAT: ClassVar[str]
    SEPARATOR: ClassVar[re.Pattern[str]] = re.compile(r"[-:]")

    @classmethod
    def of(cls, *items: int | Range) -> Self:
        """Make a set of numbers and ranges."""
        return cls(merge((i, i) if isinstance(i, int) else i for i in items))

    @classmethod
    def everything(cls) -> Self:
        """Every number there is, also those a user may not write."""
        return cls(((0, cls.HIGHEST),))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``80,8000-8100``, or ``*``."""
        if text.strip() == EVERYTHING:
            return cls.everything()
        return cls(merge(cls.parse_range(item) for item in split(text)))

    @classmethod
    def parse_range(cls, item: str) -> Range:
        """Read ``80``, ``8000-8100`` or ``8000:8100``."""
        first, *rest = cls.SEPARATOR.split(item, maxsplit=1)
        low = cls.parse_number(first)
        high = cls.parse_number(rest[0]) if rest else low
        if low > high:
            raise ValueError(f"the range {item!r} runs backwards")
        return low, high

    @classmethod
    def parse_number(cls, text: str) -> int:
        """Read one number within bounds."""
        if not (text.isascii() and text.isdigit()):
            raise ValueError(f"{text!r} is no {cls.WHAT}")
        if len(text) > _MOST_DIGITS:
            raise ValueError(f"{text[:_MOST_DIGITS]!r}... is no {cls.WHAT}")
        if not cls.LOWEST <= int(text) <= cls.HIGHEST:
            raise ValueError(f"{cls.WHAT} {text} is not within {cls.LOWEST}..{cls.HIGHEST}")
        return int(text)

    @property
    def is_everything(self) -> bool:
        """Whether no number is left out."""
        return self.ranges == ((0, self.HIGHEST),)

    def __bool__(self) -> bool:
        return bool(self.ranges)

    def __contains__(self, number: int) -> bool:
        return any(low <= number <= high for low, high in self.ranges)

    def __add__(self, other: Self) -> Self:
        return type(self)(merge(self.ranges + other.ranges))

    def __sub__(self, other: Self) -> Self:
        left = list(self.ranges)
        for low, high in other.ranges:
            cut: list[Range] = []
            for first, last in left:
                if first < low:
                    cut.append((first, min(last, low - 1)))
                if last > high:
                    cut.append((max(first, high + 1), last))
            left = cut
        return type(self)(tuple(left))

    def __str__(self) -> str:
        if self.is_everything:
            return EVERYTHING
        return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in self.ranges)


class Ports(Ranges, frozen=True):
    """A set of TCP or UDP ports."""

    LOWEST: ClassVar[int] = 1
    HIGHEST: ClassVar[int] = 65535
    WHAT: ClassVar[str] = "port"


class Ids(Ranges, frozen=True):
    """A set of numeric user or group ids; 2^32-1 is the kernel's "no id"."""

    HIGHEST: ClassVar[int] = 2**32 - 2
    WHAT: ClassVar[str] = "id"


class Accounts(msgspec.Struct, frozen=True):
    """Users or groups as the user wrote them: ids, and names that are not looked up yet."""

    ids: Ids = Ids()
    names: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``1337,2000-2010,envoy``."""
        items = split(text)
        names = tuple(item for item in items if not item[0].isdigit() and item != EVERYTHING)
        for name in names:
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?", name):
                raise ValueError(f"{name!r} is no id and no account name")
        numbers = ",".join(item for item in items if item not in names)
        return cls(Ids.parse(numbers), names)

    @property
    def is_everything(self) -> bool:
        """Whether no id is left out."""
        return self.ids.is_everything

    def resolve(self, known: dict[str, int]) -> Accounts:
        """Put ids in the place of names; ``KeyError`` with the name that is not known."""
        return Accounts(self.ids + Ids.of(*(known[name] for name in self.names)))

    def __bool__(self) -> bool:
        return bool(self.ids or self.names)

    def __str__(self) -> str:
        return ",".join(filter(None, (str(self.ids), *self.names)))


class Networks(msgspec.Struct, frozen=True):
    """A set of IPv4 and IPv6 networks, collapsed; both families in one."""

    ip: tuple[IPv4Network, ...] = ()
    ip6: tuple[IPv6Network, ...] = ()

    @classmethod
    def of(cls, networks: Iterable[Network]) -> Self:
        """Sort networks into families, join neighbours, drop what another one covers."""
        ip: list[IPv4Network] = []
        ip6: list[IPv6Network] = []
        for network in networks:
            if isinstance(network, IPv4Network):
                ip.append(network)
            else:
                ip6.append(network)
        return cls(tuple(collapse_addresses(ip)), tuple(collapse_addresses(ip6)))

    @classmethod
    def everything(cls) -> Self:
        """Every address of both families."""
        return cls((IPv4Network("0.0.0.0/0"),), (IPv6Network("::/0"),))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``10.0.0.0/8,fd00::/8``; a bare address is itself alone; ``*`` is all of both."""
        if text.strip() == EVERYTHING:
            return cls.everything()
        return cls.of(parse_network(item) for item in split(text))

    def part(self, family: Family) -> tuple[Network, ...]:
        """Give the networks of one family."""
        return self.ip if family is Family.IP else self.ip6

    def only(self, family: Family) -> Networks:
        """Give the networks of one family as a set of their own."""
        return Networks(ip=self.ip) if family is Family.IP else Networks(ip6=self.ip6)

    def covers(self, family: Family) -> bool:
        """Whether no address of that family is left out."""
        part = self.part(family)
        return len(part) == 1 and part[0].prefixlen == 0

    def within(self, outer: Networks, *, inside: bool = True) -> Networks:
        """Give those networks that lie wholly inside ``outer``, or those that do not."""
        return Networks(
            tuple(
                n
                for n, yes in zip(self.ip, _inside(self.ip, outer.ip), strict=True)
                if yes is inside
            ),
            tuple(
                n
                for n, yes in zip(self.ip6, _inside(self.ip6, outer.ip6), strict=True)
                if yes is inside
            ),
        )

    @property
    def is_everything(self) -> bool:
        """Whether no address of either family is left out."""
        return self.covers(Family.IP) and self.covers(Family.IP6)

    def __bool__(self) -> bool:
        return bool(self.ip or self.ip6)

    def __add__(self, other: Networks) -> Networks:
        if not (self and other):
            # To collapse ten thousand takes a while, and these are collapsed.
            return self or other
        return Networks.of((*self.ip, *self.ip6, *other.ip, *other.ip6))

    def __str__(self) -> str:
        if self.is_everything:
            return EVERYTHING
        return ",".join(map(str, (*self.ip, *self.ip6)))


def _inside(networks: tuple[Network, ...], outer: tuple[Network, ...]) -> Iterator[bool]:
    """Say of each network whether it lies wholly in one of others, which do not overlap."""
    ordered = sorted(outer, key=lambda network: int(network.network_address))
    starts = [int(network.network_address) for network in ordered]
    for network in networks:
        at = bisect_right(starts, int(network.network_address)) - 1
        yield at >= 0 and int(network.broadcast_address) <= int(ordered[at].broadcast_address)


def parse_network(text: str) -> Network:
    """Read ``10.0.0.0/8``, or an address as the network that holds only it."""
    address, slash, length = text.partition("/")
    if "%" in address:
        raise ValueError(f"{text!r} has a zone; a network has none")
    if slash and not (length.isascii() and length.isdigit()):
        raise ValueError(f"{text!r} is no address and no network in CIDR form")
    kind = IPv6Network if ":" in address else IPv4Network
    try:
        return kind(text)
    except ValueError as error:
        if "has host bits set" not in str(error):
            raise ValueError(f"{text!r} is no address and no network in CIDR form") from None
        whole = kind(text, strict=False)
        raise ValueError(f"{text!r} has host bits set: write {whole} or {address}") from None


INTERFACE_NAME = re.compile(rf"(?=.{{1,{INTERFACE_NAME_MAX}}}$)[A-Za-z0-9_.:@-]+\+?")
"""Narrower than the kernel, so that no name can be more than a word of a rule."""


class Interfaces(msgspec.Struct, frozen=True):
    """A set of interface names; one that ends in ``+`` stands for all that begin so."""

    names: tuple[str, ...] = ()

    is_everything: ClassVar[bool] = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``eth1,docker+``."""
        names = split(text)
        for name in names:
            if not INTERFACE_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no interface name")
        return cls.of(names)

    @classmethod
    def of(cls, names: Iterable[str]) -> Self:
        """Sort names and drop those that another one's ``+`` covers."""
        sorted_names = sorted(set(names))
        begins = [name[:-1] for name in sorted_names if name.endswith("+")]
        return cls(
            tuple(
                name
                for name in sorted_names
                if not any(name.startswith(b) and name != f"{b}+" for b in begins)
            )
        )

    def __bool__(self) -> bool:
        return bool(self.names)

    def __str__(self) -> str:
        return ",".join(self.names)


FULL_MASK = 0xFFFFFFFF


class Mark(msgspec.Struct, frozen=True):
    """A packet, socket or connection mark: ``value`` in the bits of ``mask``."""

    value: int
    mask: int = FULL_MASK

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``1337``, ``0x539`` or ``0x539/0xfff``."""
        value, slash, mask_text = text.partition("/")
        try:
            mark = cls(int(value, 0), int(mask_text, 0) if slash else FULL_MASK)
        except ValueError:
            raise ValueError(f"{text!r} is no mark: write 0x539 or 0x539/0xfff") from None
        if not (0 <= mark.value <= FULL_MASK and 0 <= mark.mask <= FULL_MASK):
            raise ValueError(f"{text!r} is no mark of 32 bits")
        if mark.value & ~mark.mask:
            raise ValueError(f"{text!r} can never match: the value has bits outside its mask")
        return mark

    def __str__(self) -> str:
        return f"{self.value:#x}" if self.mask == FULL_MASK else f"{self.value:#x}/{self.mask:#x}"


class Marks(msgspec.Struct, frozen=True):
    """A set of marks, any of which will do."""

    marks: tuple[Mark, ...] = ()

    is_everything: ClassVar[bool] = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``0x539/0xfff,7``."""
        return cls.of(Mark.parse(item) for item in split(text))

    @classmethod
    def of(cls, marks: Iterable[Mark]) -> Self:
        """Sort marks and drop doubles."""
        return cls(tuple(sorted(set(marks), key=lambda mark: (mark.mask, mark.value))))

    def __bool__(self) -> bool:
        return bool(self.marks)

    def __str__(self) -> str:
        return ",".join(map(str, self.marks))
