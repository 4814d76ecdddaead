"""Tables of connections: who makes one to where, who has to answer, and as whom he sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tests.lab.pod import CLIENT, FAR, FAR_OTHER, OUTSIDE, POD, POD_SIDE, Pod
from tests.lab.traffic import connect, endpoint

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Addresses = dict[int, str]
LOCALHOST = {4: "127.0.0.1", 6: "::1"}
_OWNERS = (
    ("pod", (POD, POD_SIDE, LOCALHOST)),
    ("client", (CLIENT,)),
    ("outside", (OUTSIDE, FAR, FAR_OTHER)),
)
_SOURCES = {
    ("client", "pod"): CLIENT,
    ("outside", "pod"): OUTSIDE,
    ("pod", "client"): POD,
    ("pod", "outside"): POD_SIDE,
}


class Sent(NamedTuple):
    """A connection, or a datagram, and where it has to end.

    ``end`` is ``direct``: at the address and port it is to; or whose and which port, ``pod 80``.
    """

    what: str
    start: str
    to: Addresses
    port: int
    end: str
    uid: int = 1000
    gid: int = 1000
    protocol: str = "tcp"
    source: Addresses | None = None


def wrong_ends(pod: Pod, table: Iterable[Sent]) -> Iterator[str]:
    """Make all of them in each family they have an address of, and say which end elsewhere."""
    for sent in table:
        for version in sent.to:
            if found := _wrong(pod, sent, version):
                yield f"{sent.what} (IPv{version}): {found}"


def _wrong(pod: Pod, sent: Sent, version: int) -> str:
    to = sent.to[version]
    answer = connect(
        getattr(pod, sent.start),
        to,
        sent.port,
        uid=sent.uid,
        gid=sent.gid,
        protocol=sent.protocol,
        source=sent.source[version] if sent.source else "",
    )
    if "error" in answer:
        return str(answer["error"])
    owner = _owner(to)
    wanted = f"{owner} {sent.port}" if sent.end == "direct" else sent.end
    ended = f"{answer['who']} {answer['port']}"
    if ended != wanted:
        return f"ends at {ended}, not {wanted}"
    source = sent.source or _SOURCES.get((sent.start, owner)) or _own(to)
    if answer["peer"] != source[version]:
        return f"comes from {answer['peer']}, not {source[version]}"
    # Nobody but the pod remembers; of datagrams a socket cannot ask.
    known = [endpoint(to, sent.port)] if answer["who"] == "pod" else ["-"]
    if sent.protocol == "udp" or sent.end == "direct":
        known.append("-")
    if answer["original"] not in known:
        return f"was to {answer['original']}, not {known[0]}"
    return ""


def _owner(address: str) -> str:
    for role, owned in _OWNERS:
        if any(address in one.values() for one in owned) or address.startswith("127."):
            return role
    raise LookupError(address)


def _own(to: str) -> Addresses:
    """Give what the pod calls its own addresses from: the same, and localhost from localhost."""
    return LOCALHOST if to.startswith("127.") else dict.fromkeys((4, 6), to)
