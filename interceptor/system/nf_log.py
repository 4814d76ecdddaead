"""Whose packets they are, as the kernel says when rules log them (NFLOG): user and group.

It says so of the socket a packet has at that moment, as rules that ask for users see it.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

from interceptor.analysis.decision import Sender
from interceptor.system.netlink import Kernel, attribute, attributes, messages
from interceptor.system.nfnetlink import GENERIC, NETFILTER, generic
from interceptor.system.nft_header import LONGEST, read_packet

if TYPE_CHECKING:
    from interceptor.analysis.traced import Header

# linux/netfilter/nfnetlink_log.h
_SUBSYSTEM = 4
_PACKET, _CONFIG = _SUBSYSTEM << 8, _SUBSYSTEM << 8 | 1
_COMMAND, _MODE, _THRESHOLD = 1, 2, 5
_BIND, _COPY_PACKET = 1, 2
_PAYLOAD, _UID, _GID = 9, 11, 14
_MOST_GROUPS = 1 << 16
_MOST_AT_ONCE = 1 << 16
_MOST_KNOWN = 4096


class Logged:
    """The senders of logged packets, by both ends; to be closed.

    ``group`` is the number that rules have to log to.

    Raises:
        OSError: this kernel has no such log, or somebody else reads this group.
    """

    def __init__(self) -> None:
        self._kernel = Kernel(NETFILTER)
        self._known: dict[Header, Sender] = {}
        self.group = self._kernel.port % _MOST_GROUPS
        body = generic(socket.AF_UNSPEC, self.group)
        # At once, and not only when there are several.
        for number, value in (
            (_COMMAND, bytes([_BIND])),
            (_MODE, struct.pack("!IBx", LONGEST, _COPY_PACKET)),
            (_THRESHOLD, struct.pack("!I", 1)),
        ):
            refused = self._kernel.do(_CONFIG, 0, body + attribute(number, value))
            if refused:
                self.close()
                raise OSError(refused, "")

    def close(self) -> None:
        """Read no more."""
        self._kernel.close()

    def sender(self, header: Header) -> Sender | None:
        """Give who sent a packet, which is forgotten by that."""
        for data in self._kernel.pending(_MOST_AT_ONCE):
            for kind, _, _, body in messages(data):
                if kind == _PACKET:
                    self._learn(attributes(body[GENERIC.size :]))
        return self._known.pop(header, None)

    def _learn(self, told: dict[int, bytes]) -> None:
        header = read_packet(told.get(_PAYLOAD, b""))
        if header is None or _UID not in told:
            return
        if len(self._known) >= _MOST_KNOWN:
            # Nobody asked for them: their decisions were lost.
            self._known.clear()
        gid = int.from_bytes(told[_GID]) if _GID in told else None
        self._known[header] = Sender(int.from_bytes(told[_UID]), gid)
