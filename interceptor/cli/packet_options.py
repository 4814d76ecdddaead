"""One packet as options of a command: what is not said is as it is with any app."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, TypeVar

import click

from interceptor.analysis.directions import Direction
from interceptor.analysis.packet import LOCALHOST, Packet
from interceptor.analysis.space import family_of
from interceptor.errors import UsageError
from interceptor.model import STATES
from interceptor.names import LOOPBACK_INTERFACE, Family
from interceptor.values import Ids, Mark, Ports

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from interceptor.analysis.packet import Address

T = TypeVar("T")

_AN_APP = 1000
_POD = {Family.IP: "192.0.2.1", Family.IP6: "2001:db8::1"}
_OUTSIDE = {Family.IP: "203.0.113.1", Family.IP6: "2001:db8:1::1"}
"""Of the networks for documentation (RFC 5737, RFC 3849)."""

OPTIONS: tuple[click.Parameter, ...] = (
    click.Option(
        ["--to"], metavar="ADDRESS[:PORT]", help="where it goes; [ADDRESS]:PORT for IPv6"
    ),
    click.Option(["--to-port"], metavar="PORT", help="the port it goes to  [default: 80]"),
    click.Option(["--from", "source"], metavar="ADDRESS[:PORT]", help="where it comes from"),
    click.Option(["--proto"], metavar="NAME", default="tcp", help="tcp, udp, ...  [default: tcp]"),
    click.Option(["--uid"], metavar="ID", help="user that sends it  [default: 1000]"),
    click.Option(["--gid"], metavar="ID", help="group that sends it  [default: 1000]"),
    click.Option(["--mark"], metavar="MARK", help="mark of its socket  [default: 0]"),
    click.Option(["--in-interface"], metavar="NAME", help="where it comes in  [default: eth0]"),
    click.Option(
        ["--out-interface"], metavar="NAME", help="where it leaves  [default: eth0, or lo]"
    ),
    click.Option(["--state"], metavar="STATE", default="NEW", help="what conntrack calls it"),
)


def packet_of(direction: Direction, given: Mapping[str, Any]) -> Packet:
    """Make the packet that options describe.

    Raises:
        UsageError: one of them makes no sense, or not with another.
    """
    inbound = direction is Direction.INBOUND
    for name in ("uid", "gid", "out_interface") if inbound else ("in_interface",):
        if given[name] is not None:
            raise UsageError(
                f"--{name.replace('_', '-')} says nothing of an {direction} packet",
                hint="what comes in has no sender here, and what goes out came in nowhere",
            )
    to, to_port = _end("--to", given["to"])
    source, source_port = _end("--from", given["source"])
    if given["to_port"] is not None:
        to_port = _read("--to-port", Ports.parse_number, given["to_port"])
    named = to or source
    family = Family.IP if named is None else family_of(named)
    if to and source and family_of(source) is not family:
        raise UsageError("--to and --from are of two families", hint="give two of one family")
    there, here = (_POD, _OUTSIDE) if inbound else (_OUTSIDE, _POD)
    to = to or ip_address(there[family])
    by_lo = not inbound and _is_here(to, given["out_interface"])
    if source is None:
        source = _own(to) if by_lo else ip_address(here[family])
    return Packet(
        protocol=str(given["proto"]).lower(),
        source=source,
        destination=to,
        source_port=source_port or 40000,
        destination_port=to_port or 80,
        uid=None if inbound else _id("--uid", given["uid"]),
        gid=None if inbound else _id("--gid", given["gid"]),
        mark=_read("--mark", lambda text: Mark.parse(text).value, given["mark"] or "0"),
        in_interface=(given["in_interface"] or "eth0") if inbound else "",
        out_interface="" if inbound else _out(given["out_interface"], by_lo=by_lo),
        state=_state(given["state"]),
    )


def _is_here(to: Address, out_interface: str | None) -> bool:
    return to.is_loopback or out_interface == LOOPBACK_INTERFACE


def _own(to: Address) -> Address:
    """Give the address that a connection to this host is made from."""
    return LOCALHOST[family_of(to)] if to.is_loopback else to


def _out(given: str | None, *, by_lo: bool) -> str:
    return given or (LOOPBACK_INTERFACE if by_lo else "eth0")


def _end(option: str, text: str | None) -> tuple[Address | None, int | None]:
    """Read ``10.0.0.1``, ``10.0.0.1:80``, ``[fd00::1]:80`` or ``fd00::1``."""
    if text is None:
        return None, None
    host, bracket, rest = text.partition("]")
    if bracket:
        address, port = host.removeprefix("["), rest.removeprefix(":")
    elif text.count(":") == 1:
        address, _, port = text.partition(":")
    else:
        address, port = text, ""
    found = _read(option, ip_address, address) if address else None
    return found, _read(option, Ports.parse_number, port) if port else None


def _id(option: str, text: str | None) -> int:
    return _AN_APP if text is None else _read(option, Ids.parse_number, text)


def _state(text: str) -> str:
    if text.upper() not in STATES:
        known = ", ".join(sorted(STATES))
        raise UsageError(f"--state: {text!r} is no state", hint=f"known are {known}")
    return text.upper()


def _read(option: str, parse: Callable[[str], T], text: str) -> T:
    try:
        return parse(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}", hint="see interceptor explain --help") from None
