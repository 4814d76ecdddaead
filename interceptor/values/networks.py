"""Sets of IPv4 and IPv6 networks."""

from __future__ import annotations

from bisect import bisect_right
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from typing import TYPE_CHECKING, Self

import msgspec

from interceptor.names import Family
from interceptor.values.lists import EVERYTHING, split

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from ipaddress import IPv4Address, IPv6Address

Network = IPv4Network | IPv6Network


class Networks(msgspec.Struct, frozen=True, eq=False):
    """A set of IPv4 and IPv6 networks, collapsed; both families in one."""

    ip: tuple[IPv4Network, ...] = ()
    ip6: tuple[IPv6Network, ...] = ()
    written: tuple[Network, ...] = ()

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
        return cls.written_as(parse_network(item) for item in split(text))

    @classmethod
    def written_as(cls, written: Iterable[Network]) -> Self:
        """Make a set of networks, and keep how they were written."""
        kept = tuple(written)
        return msgspec.structs.replace(cls.of(kept), written=kept)

    def addresses(self) -> tuple[IPv4Address | IPv6Address, ...]:
        """Give the single address it is, or that of each family; ``ValueError`` if it is more."""
        both: tuple[Network, ...] = (*self.ip, *self.ip6)
        if max(len(self.ip), len(self.ip6)) > 1 or any(n.num_addresses > 1 for n in both):
            raise ValueError(f"{str(self)!r} is not one address, or one of each family")
        return tuple(network.network_address for network in both)

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

    @property
    def members(self) -> tuple[Networks, ...]:
        """Give the networks as they were written, each as a set of its own; IPv4 first."""
        written = self.written or (*self.ip, *self.ip6)
        ip = [Networks((n,)) for n in written if isinstance(n, IPv4Network)]
        return (*ip, *(Networks((), (n,)) for n in written if isinstance(n, IPv6Network)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Networks):
            return NotImplemented
        return (self.ip, self.ip6) == (other.ip, other.ip6)

    def __ne__(self, other: object) -> bool:
        # What msgspec inherits here compares identities.
        return not self == other

    def __hash__(self) -> int:
        return hash((self.ip, self.ip6))

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

    @property
    def text(self) -> str:
        """Write it as it was written."""
        return ",".join(map(str, self.written)) or str(self)


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
