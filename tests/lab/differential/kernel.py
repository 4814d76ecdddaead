"""Send packets, as any user and from anywhere, and look what the kernel did with them."""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from tests.lab.differential import wire
from tests.lab.differential.conntrack import Conntrack, Track
from tests.lab.differential.routes import Routes
from tests.lab.differential.wire import Ends
from tests.lab.traffic import make_transparent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from interceptor.analysis.packet import Packet
    from tests.lab.differential.ground import Ground, Proxy

_LIBC = ctypes.CDLL(None, use_errno=True)
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_PAUSE_S = 0.02
"""Between two looks for what has not happened yet."""
_END_AT_ONCE = struct.pack("=ii", 1, 0)
_FRAME_HEAD = 14


class Seen(NamedTuple):
    """What became of a packet.

    ``track`` is what conntrack has of it, ``answer`` what came back (``accept``, ``reset`` or
    ``refuse``), ``left_by`` the interface by which it went on, ``error`` why it was not sent.
    """

    track: Track | None = None
    answer: str = ""
    left_by: str = ""
    error: str = ""

    @property
    def has_evidence(self) -> bool:
        """Whether anything at all was seen."""
        return bool(self.track or self.answer or self.left_by)


class Kernel:
    """The kernel of a pod.

    Args:
        ground: the pod.
        patience_s: how long something may take to happen.
    """

    def __init__(self, ground: Ground, patience_s: float) -> None:
        self._ground = ground
        self._looks = round(patience_s / _PAUSE_S)
        self._tap = ground.tap()
        with ground.pod:
            self.conntrack = Conntrack()
            self.routes = Routes()
        with ground.outside:
            self._out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)

    def close(self) -> None:
        """Close every socket."""
        for made in (self._tap, self._out, self.conntrack, self.routes):
            made.close()

    def forget(self) -> None:
        """Begin anew: other rules and routes are in force now."""
        self.conntrack.forget()
        self.routes.forget()

    def meet(
        self, packets: Sequence[Packet], proxy: Proxy, is_plausible: Callable[[int, Seen], bool]
    ) -> list[Seen]:
        """Send packets all at once, and say what became of each.

        Args:
            packets: those with a user are sent by the pod, the others come in.
            proxy: who may take some of them.
            is_plausible: whether what is seen of one by now may be all; else it is waited for.
        """
        sent: dict[int, socket.socket] = {}
        errors: dict[int, str] = {}
        try:
            with self._ground.pod:
                for number, packet in enumerate(packets):
                    if packet.uid is None:
                        self._bring(packet)
                        continue
                    sent[number], errors[number] = _send(packet)
            tracks: dict[Ends, Track] = {}
            frames: dict[Ends, tuple[str, str]] = {}
            answers: dict[int, str] = {}
            found: list[Seen] = []
            has_settled = False
            for _ in range(self._looks):
                self.conntrack.news(tracks)
                self._frames(frames)
                for number, made in sent.items():
                    answers[number] = answers.get(number) or _answer(made)
                found = [
                    _seen(packet, tracks, frames, answers.get(number), errors.get(number, ""))
                    for number, packet in enumerate(packets)
                ]
                if all(is_plausible(*pair) for pair in enumerate(found)):
                    # Of what is said to be dropped, something may still be under way.
                    if has_settled or all(seen.has_evidence for seen in found):
                        break
                    has_settled = True
                time.sleep(_PAUSE_S)
            return found
        finally:
            for made in sent.values():
                made.close()
            proxy.hang_up()

    def _bring(self, packet: Packet) -> None:
        version = packet.source.version
        frame = self._ground.frame(packet.in_interface, version, wire.first(packet))
        self._out.sendto(frame, (packet.in_interface, 0))

    def _frames(self, known: dict[Ends, tuple[str, str]]) -> None:
        while True:
            try:
                data, place = self._tap.recvfrom(2048)
            except BlockingIOError:
                return
            frame = wire.read(data[_FRAME_HEAD:])
            if frame is not None:
                known.setdefault(frame.ends, (frame.what, place[0]))


def _seen(
    packet: Packet,
    tracks: dict[Ends, Track],
    frames: dict[Ends, tuple[str, str]],
    answer: str | None,
    error: str,
) -> Seen:
    ends = Ends.of(packet)
    what, interface = frames.get(ends, ("", ""))
    if what == "refuse":
        answer, interface = what, ""
    track = tracks.get(ends)
    # In the name of somebody outside, it is he who is answered; to ::6, the answer stays here.
    answer = answer or frames.get(ends.back, ("", ""))[0] or (track.answer if track else "")
    return Seen(track, answer, "" if what == "reset" else interface, error)


@contextmanager
def _as(uid: int, gid: int) -> Iterator[None]:
    """Be somebody for a while; it is this thread alone that is, and files it opens are his."""
    _LIBC.setfsgid(ctypes.c_uint(gid))
    _LIBC.setfsuid(ctypes.c_uint(uid))
    try:
        yield
    finally:
        _LIBC.setfsuid(0)
        _LIBC.setfsgid(0)


def _send(packet: Packet) -> tuple[socket.socket, str]:
    """Send a packet; give the socket, and an error if there was one."""
    is_tcp = packet.protocol == "tcp"
    kind = socket.SOCK_STREAM if is_tcp else socket.SOCK_DGRAM
    assert packet.uid is not None
    assert packet.gid is not None
    with _as(packet.uid, packet.gid):
        made = socket.socket(_FAMILY[packet.source.version], kind | socket.SOCK_NONBLOCK)
    make_transparent(made)
    if packet.mark:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, struct.pack("=I", packet.mark))
    if is_tcp:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _END_AT_ONCE)
    else:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((str(packet.source), packet.source_port))
        made.connect((str(packet.destination), packet.destination_port))
        if not is_tcp:
            made.send(b"?")
    except BlockingIOError:
        pass
    except OSError as error:
        if is_tcp and error.errno == errno.ECONNREFUSED:
            return made, ""
        return made, errno.errorcode.get(error.errno or 0, str(error))
    return made, ""


def _answer(made: socket.socket) -> str:
    """Say what a client has heard."""
    code = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code == errno.ECONNREFUSED:
        return "reset" if made.type == socket.SOCK_STREAM else "refuse"
    if code:
        return errno.errorcode[code]
    if made.type == socket.SOCK_STREAM:
        with suppress(OSError):
            made.getpeername()
            return "accept"
    return ""
