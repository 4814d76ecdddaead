"""What only Kuma writes: exclusions of users, and networks behind interfaces."""

from __future__ import annotations

from itertools import product

import msgspec

from interceptor.frontends.gotext import parse_prefix
from interceptor.values import EVERYTHING, Ids, Interfaces, Ports, split

_PROTOCOLS = ("tcp", "udp")
_FORM = "[[PROTOCOL:]PORTS:]USERS, as tcp:80,8000-8100:1000-1010"


class UserExclusion(msgspec.Struct, frozen=True):
    """What some users reach directly; no ports are all ports of both protocols."""

    protocols: tuple[str, ...]
    ports: tuple[str, ...]
    uids: str

    @classmethod
    def parse(cls, text: str) -> UserExclusion:
        """Read ``tcp:80,443:1000-1010``, ``53:1000`` or ``1000``; ``*`` and nothing are all."""
        *before, uids = text.split(":")
        if len(before) > len(("protocol", "ports")) or not uids:
            raise ValueError(f"{text!r} is not of the form {_FORM}")
        ports = before[-1] if before else ""
        protocol = before[0].lower() if len(before) > 1 else ""
        if uids == EVERYTHING or "," in uids:
            raise ValueError(f"{text!r}: one user or one range is needed, not {uids!r}")
        Ids.parse_range(uids)
        protocols: tuple[str, ...] = _PROTOCOLS
        if protocol not in ("", EVERYTHING):
            if any(one not in _PROTOCOLS for one in protocol.split(",")):
                raise ValueError(f"{text!r}: {protocol!r} is neither tcp nor udp")
            protocols = tuple(one for one in _PROTOCOLS if one in protocol.split(","))
        items = split("" if ports == EVERYTHING else ports)
        for item in items:
            Ports.parse_range(item)
        return cls(protocols, tuple(items), uids)

    @property
    def is_of_all_traffic(self) -> bool:
        """Whether the users reach everything directly."""
        return not self.ports and self.protocols == _PROTOCOLS

    @property
    def records(self) -> tuple[str, ...]:
        """Give it as records of the sheet, each with one port or range, and one protocol."""
        ports = self.ports or (EVERYTHING,)
        return tuple(
            f"{protocol}:{port}:{self.uids}" for port, protocol in product(ports, self.protocols)
        )


def user_exclusion(text: str) -> str:
    """Check an exclusion of users, and leave it as it is."""
    if text:
        UserExclusion.parse(text)
    return text


def virtual_network(text: str) -> str:
    """Read ``docker0:172.17.0.0/16`` or ``br+:fd00::/8``."""
    if not text:
        return text
    interface, colon, written = text.partition(":")
    if not (interface and colon and written):
        raise ValueError(f"{text!r} is not of the form INTERFACE:CIDR")
    if "," in interface:
        raise ValueError(f"{interface!r} is no interface")
    Interfaces.parse(interface)
    return f"{interface}:{parse_prefix(written)[0]}"
