"""From an option's text to the same text put plainly; ``ValueError`` with half a sentence else.

What is refused here, iptables, the kernel or Istio itself would refuse too, only later and in
other words, or it would do something nobody meant.
"""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Any

from interceptor.errors import did_you_mean
from interceptor.frontends import gotext
from interceptor.frontends.istio.option import Kind
from interceptor.settings.parsers import parse_mark, parse_port, parse_switch, parse_table
from interceptor.values import EVERYTHING, Accounts, Interfaces, Ports

if TYPE_CHECKING:
    from collections.abc import Callable

    from interceptor.frontends.istio.option import Option

REDIRECT, TPROXY = "REDIRECT", "TPROXY"
_MODES = (REDIRECT, TPROXY)
_VARIANTS = ("legacy", "nft")
_MOST_GROUPS = 64
_LOOPBACK_LENGTHS = range(8, 33)

TYPED = (Kind.SWITCH, Kind.UINT16, Kind.DURATION)
"""What Istio itself reads; the rest is text to it."""


def read(option: Option, text: str) -> str:
    """Put a value plainly: lists without gaps, networks whole, durations as seconds.

    Raises:
        ValueError: it is none.
    """
    if option.unset and not text:
        raise ValueError("a value is needed, not an empty one")
    match option.kind:
        case Kind.SWITCH:
            yes = parse_switch(text) if option.is_ours else gotext.parse_bool(text)
            return _switch(yes=yes)
        case Kind.UINT16:
            number, fits = gotext.parse_uint16(text)
            if not (fits and number):
                raise ValueError(f"{text} is not within 1..65535")
            return str(number)
        case Kind.DURATION:
            if (seconds := gotext.parse_duration(text)) <= 0:
                raise ValueError(f"{text!r} is no time to try anything in")
            return _seconds(seconds)
        case Kind.MODE:
            if text and text not in _MODES:
                near = did_you_mean(text.upper(), _MODES)
                raise ValueError(f"{text!r} is none of {', '.join(_MODES)}; {near}".rstrip("; "))
            return text or REDIRECT
        case _:
            return _text(option.kind, text)


def read_leniently(option: Option, text: str) -> str:
    """Put a value plainly as Istio takes it from the environment, where nothing is refused.

    Raises:
        ValueError: no kernel could hold what Istio makes of it.
    """
    if option.kind is Kind.MODE:
        return TPROXY if text == TPROXY else REDIRECT
    try:
        match option.kind:
            case Kind.SWITCH:
                return _switch(yes=gotext.parse_bool(text))
            case Kind.UINT16:
                return str(gotext.parse_uint16(text)[0])
            case Kind.DURATION:
                return _seconds(gotext.parse_duration(text))
    except ValueError:
        # Go's variable is left with nothing in it.
        return _switch(yes=False) if option.is_switch else "0"
    return _text(option.kind, text)


def _switch(*, yes: bool) -> str:
    return "true" if yes else "false"


def _seconds(seconds: float) -> str:
    return f"{seconds:.9f}".rstrip("0").rstrip(".")


def _text(kind: Kind, text: str) -> str:
    match kind:
        case Kind.PORT:
            return str(parse_port(text))
        case Kind.PORTS | Kind.SOME_PORTS:
            return _list(text, Ports.parse, whole=kind is Kind.PORTS)
        case Kind.IDS | Kind.SOME_GROUPS:
            return _list(text, Accounts.parse)
        case Kind.GROUPS:
            if (count := len(gotext.split(text))) > _MOST_GROUPS:
                raise ValueError(f"{count} groups are more than one rule holds: {_MOST_GROUPS}")
            return _list(text, Accounts.parse, whole=True)
        case Kind.NAMES:
            return _list(text, Interfaces.parse)
        case Kind.CIDRS | Kind.SOME_CIDRS:
            return _networks(text, whole=kind is Kind.CIDRS)
        case Kind.LOOPBACK:
            return _loopback(text)
        case Kind.MARK:
            return str(parse_mark(text))
        case Kind.TABLE:
            return str(parse_table(text))
        case Kind.VARIANT if text and text not in _VARIANTS:
            raise ValueError(f"{text!r} is none of {', '.join(_VARIANTS)}")
        case _ if text and not text.isprintable():
            raise ValueError(f"{text!r} has characters that do not print")
    return text


def _items(text: str, *, whole: bool) -> list[str]:
    """Split a list, of which ``*`` alone may be the whole."""
    items = [EVERYTHING] if text == EVERYTHING else gotext.split(text)
    if any(item.strip() == EVERYTHING for item in items) and text != EVERYTHING:
        raise ValueError(f"'*' is everything and stands alone, not in {text!r}")
    if text == EVERYTHING and not whole:
        raise ValueError("'*' cannot stand here: name what is meant")
    return items


def _list(text: str, parse: Callable[[str], Any], *, whole: bool = False) -> str:
    # Spaces around an item come to nothing in iptables-restore and nft.
    plain = ",".join(item.strip() for item in _items(text, whole=whole))
    parse(plain)
    return plain


def _networks(text: str, *, whole: bool) -> str:
    items = _items(text, whole=whole)
    if items == [EVERYTHING]:
        return text
    networks = []
    for item in items:
        network, is_loopback = gotext.parse_prefix(item)
        if is_loopback and not network.is_loopback:
            # Istio judges by the address, the kernel by the network.
            raise ValueError(f"{item!r} is partly loopback: {network}")
        networks.append(str(network))
    return ",".join(networks)


def _loopback(text: str) -> str:
    network, is_loopback = gotext.parse_prefix(text)
    if not (isinstance(network, IPv4Network) and is_loopback):
        raise ValueError(f"{text!r} is not one network within 127.0.0.0/8")
    if network.prefixlen not in _LOOPBACK_LENGTHS:
        raise ValueError(f"{text!r} has a length that is not within 8..32")
    return str(network)
