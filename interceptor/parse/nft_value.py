"""The values in nft's JSON: addresses, ranges, marks, names and numbers of things."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network, summarize_address_range
from typing import TYPE_CHECKING, Any

import msgspec

from interceptor import model
from interceptor.names import Family
from interceptor.values import FULL_MASK, Mark, Networks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.values import Network

Json = dict[str, Any]

PROTOCOLS = {
    1: "icmp",
    2: "igmp",
    6: "tcp",
    17: "udp",
    33: "dccp",
    47: "gre",
    50: "esp",
    51: "ah",
    58: "ipv6-icmp",
    108: "comp",
    132: "sctp",
    136: "udplite",
}
"""Transport protocols by the numbers that ``nft -n`` prints."""

_SAME = {"icmpv6": "ipv6-icmp"}
_FAMILIES = {"ipv4": Family.IP, 2: Family.IP, "ipv6": Family.IP6, 10: Family.IP6}
# nft -n -j prints ethertypes with their bytes in the wrong order.
_IP_TYPES = ("ip", 0x0800, 0x0008)
_IP6_TYPES = ("ip6", 0x86DD, 0xDD86)
_STATES = {1: "INVALID", 2: "ESTABLISHED", 4: "RELATED", 8: "NEW", 64: "UNTRACKED"}
_MARK_BITS = 32
_PARTS_OF_ELEMENTS = frozenset({"val", "timeout", "expires", "comment", "counter", "last"})
"""What an element may say without being one for some packets only."""


class UnknownError(Exception):
    """A statement or expression in a shape nobody here understands."""


BAD_SHAPES = (UnknownError, ValueError, KeyError, TypeError, AttributeError, IndexError)
"""What reading a part raises that is not as expected."""


def plain(part: object) -> str:
    """Write a part of the listing as JSON again, the same for all who mean the same."""
    return msgspec.json.encode(part, order="sorted").decode()


def is_tally(statement: object) -> bool:
    """Whether a statement only counts; a counter that is looked up in a map may end its rule."""
    match statement:
        case {"counter": {"map": _}}:
            return False
        case {"counter": _} | {"last": _}:
            return True
    return False


def words(statements: list[Any]) -> str:
    """Write statements without what changes by itself."""
    return plain([_unused(one) for one in statements if not is_tally(one)])


def statement_words(statement: Any) -> str:
    """Write one statement without what changes by itself."""
    return plain(_unused(statement))


def _unused(statement: Any) -> Any:
    match statement:
        case {"quota": {**body}}:
            kept = {key: value for key, value in body.items() if key not in ("used", "used_unit")}
            return {"quota": kept}
    return statement


def element(member: Any) -> Any:
    """Give what an element of a set stands for."""
    match member:
        case {"elem": {"val": value, **more}}:
            if not more.keys() <= _PARTS_OF_ELEMENTS:
                raise UnknownError
            return value
    return member


def text(member: object) -> str:
    """Read a name."""
    if not isinstance(member, str):
        raise UnknownError
    return member


def interface(member: object, *, by_name: bool) -> str:
    """Read an interface's name; nft's wildcard is *, iptables' is +."""
    name = text(member)
    if name.endswith("*") and by_name:
        return f"{name[:-1]}+"
    if name.endswith("+"):
        raise UnknownError
    return name


def number(member: object) -> int:
    """Read a number."""
    if not isinstance(member, int):
        raise UnknownError
    return member


def range_of(member: Any) -> tuple[int, int]:
    """Read a number, or a range of numbers."""
    match member:
        case int():
            return member, member
        case {"range": [int(low), int(high)]}:
            return low, high
        case _:
            raise UnknownError


def beyond(operator: str, right: Any, highest: int) -> Json:
    """Give the range that ``> 1024`` and the like mean."""
    bound = number(right)
    low, high = {
        "<": (0, bound - 1),
        "<=": (0, bound),
        ">": (bound + 1, highest),
        ">=": (bound, highest),
    }[operator]
    if low > high:
        raise UnknownError
    return {"range": [low, high]}


def marks(member: Any, mask: int = FULL_MASK) -> Iterator[Mark]:
    """Read a mark, or a range of them as few marks with masks."""
    match member:
        case int():
            yield Mark(member, mask)
        case {"range": [int(low), int(high)]} if (
            mask == FULL_MASK and 0 <= low <= high <= FULL_MASK
        ):
            while low <= high:
                size = low & -low or FULL_MASK + 1
                while low + size - 1 > high:
                    size >>= 1
                yield Mark(low, FULL_MASK & ~(size - 1))
                low += size
        case {"prefix": {"addr": int(value), "len": int(length)}} if (
            mask == FULL_MASK and 0 <= length <= _MARK_BITS
        ):
            # So nft writes a mask whose bits are the highest ones.
            yield Mark(value, FULL_MASK & ~(FULL_MASK >> length))
        case _:
            raise UnknownError


def networks(member: Any) -> Iterator[Network]:
    """Read an address, a network, or a range of addresses."""
    match member:
        case str() if not member.startswith("@"):
            yield (IPv6Network if ":" in member else IPv4Network)(member)
        case {"prefix": {"addr": str(address), "len": int(length)}}:
            yield ip_network(f"{address}/{length}", strict=False)
        case {"range": [str(first), str(last)]}:
            yield from summarize_address_range(ip_address(first), ip_address(last))
        case _:
            raise UnknownError


def only(found: list[Network]) -> Networks:
    """Make a set of one network, or none; for more it takes longer to join neighbours."""
    match found:
        case [IPv4Network() as network]:
            return Networks((network,))
        case [IPv6Network() as network]:
            return Networks((), (network,))
    return Networks.of(found)


def protocol(member: Any) -> str:
    """Read a transport protocol."""
    if isinstance(member, int):
        return PROTOCOLS.get(member, str(member))
    return _SAME.get(text(member), text(member))


def family(member: Any) -> Family:
    """Read a protocol of the network layer."""
    if not isinstance(member, str | int) or member not in _FAMILIES:
        raise UnknownError
    return _FAMILIES[member]


def ether_family(member: Any) -> Family:
    """Read what a frame carries."""
    if member in _IP_TYPES:
        return Family.IP
    if member in _IP6_TYPES:
        return Family.IP6
    raise UnknownError


def state(member: Any) -> str:
    """Read one conntrack state."""
    named = _STATES.get(member, "") if isinstance(member, int) else text(member).upper()
    if named not in _STATES.values():
        raise UnknownError
    return named


def flags(named: Any) -> tuple[str, ...]:
    """Read TCP flags, alone, in a list or joined by ``|``."""
    match named:
        case {"|": inner}:
            return flags(inner)
        case list():
            found = {flag for one in named for flag in flags(one)}
        case int() if 0 <= named < 1 << len(model.TCP_FLAGS):
            found = {flag for bit, flag in enumerate(model.TCP_FLAGS) if named >> bit & 1}
        case str() if named.upper() in model.TCP_FLAGS:
            found = {named.upper()}
        case _:
            raise UnknownError
    return tuple(flag for flag in model.TCP_FLAGS if flag in found)
