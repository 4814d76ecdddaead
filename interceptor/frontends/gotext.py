"""Text as Go's standard library reads it; ``ValueError`` with half a sentence for what is none."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from interceptor.values import Network

_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")

_MOST_UINT16 = 0xFFFF
_MOST_INT64 = 2**63 - 1
_UINT = re.compile(
    r"0[xX](_?[0-9a-fA-F])+|0[oO](_?[0-7])+|0[bB](_?[01])+|0(_?[0-7])*|[1-9](_?[0-9])*"
)
_OLD_OCTAL = re.compile(r"0[0-7_]+")
_MOST_DIGITS = 40

_UNITS_S = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "\N{GREEK SMALL LETTER MU}s": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_PART = re.compile(rf"([0-9]+\.?[0-9]*|\.[0-9]+)({'|'.join(_UNITS_S)})")
_LENGTH = re.compile(r"0|[1-9][0-9]{0,2}")


def parse_bool(text: str) -> bool:
    """Read what ``strconv.ParseBool`` takes."""
    if text not in (*_TRUE, *_FALSE):
        raise ValueError(f"{text!r} is neither true nor false")
    return text in _TRUE


def parse_uint16(text: str) -> tuple[int, bool]:
    """Read what ``strconv.ParseUint`` takes, prefixes of other bases too.

    Returns:
        The number, or the highest of 16 bits instead; and whether it fits.
    """
    if not _UINT.fullmatch(text) or len(text) > _MOST_DIGITS:
        raise ValueError(f"{text!r} is no number")
    number = int(text, 8) if _OLD_OCTAL.fullmatch(text) else int(text, 0)
    return min(number, _MOST_UINT16), number <= _MOST_UINT16


def parse_int(text: str) -> int:
    """Read what ``strconv.ParseInt`` takes with prefixes of other bases, of 64 bits."""
    digits = text[1:] if text.startswith(("-", "+")) else text
    if not _UINT.fullmatch(digits) or len(digits) > _MOST_DIGITS:
        raise ValueError(f"{text!r} is no number")
    number = int(digits, 8) if _OLD_OCTAL.fullmatch(digits) else int(digits, 0)
    if number > _MOST_INT64:
        raise ValueError(f"{text} is too large a number")
    return -number if text.startswith("-") else number


def parse_duration(text: str) -> float:
    """Read what ``time.ParseDuration`` takes, as ``1m30s``, and give seconds."""
    sign = -1.0 if text.startswith("-") else 1.0
    rest = text[1:] if text.startswith(("-", "+")) else text
    if rest == "0":
        return 0.0
    parts = _PART.findall(rest)
    if not parts or "".join(number + unit for number, unit in parts) != rest:
        raise ValueError(f"{text!r} is no duration: write 5s or 1m30s")
    return sign * sum(float(number) * _UNITS_S[unit] for number, unit in parts)


def parse_prefix(text: str) -> tuple[Network, bool]:
    """Read what ``netip.ParsePrefix`` takes.

    Returns:
        The network, without bits beyond its length, and whether the address that was written is
        a loopback one.
    """
    address, slash, length = text.partition("/")
    try:
        parsed = ip_address(address)
    except ValueError:
        raise ValueError(f"{text!r} is no network in CIDR form") from None
    if not slash:
        raise ValueError(f"{text!r} has no length: write {text}/{parsed.max_prefixlen}")
    if "%" in address or not _LENGTH.fullmatch(length) or int(length) > parsed.max_prefixlen:
        raise ValueError(f"{text!r} is no network in CIDR form")
    kind = IPv4Network if isinstance(parsed, IPv4Address) else IPv6Network
    return kind(f"{address}/{length}", strict=False), parsed.is_loopback


def split(text: str) -> list[str]:
    """Split a list as Istio does: empty items are dropped, spaces stay."""
    return [item for item in text.split(",") if item]
