"""The ports of TCP services by name, as this host knows them."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def tcp_ports(names: Iterable[str]) -> dict[str, int]:
    """Give the ports of those names that are services here."""
    ports = {}
    for name in names:
        try:
            ports[name] = socket.getservbyname(name, "tcp")
        except OSError:
            continue
    return ports
