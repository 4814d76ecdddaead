"""Asks an agent how it is."""

from __future__ import annotations

import msgspec

_LONGEST_S = 2.0
_MOST = 1 << 12
"""Bytes of an answer."""


class Said(msgspec.Struct, frozen=True):
    """What the agent answered, with HTTP's number."""

    status: int
    text: str


def ask(address: str, port: int) -> Said | None:
    """Ask whether all is in order; ``None`` if nobody answers."""
    from http.client import HTTPConnection, HTTPException

    connection = HTTPConnection(address, port, timeout=_LONGEST_S)
    try:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        return Said(answer.status, answer.read(_MOST).decode(errors="replace").strip())
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()
