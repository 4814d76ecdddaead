"""``lo``, without which nothing is redirected: seen to be off, or lent for the test's time."""

from __future__ import annotations

from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING

from interceptor.model import LoopbackAddress
from interceptor.names import LOOPBACK_INTERFACE
from interceptor.system import rtnetlink
from interceptor.verify.sockets import is_up

if TYPE_CHECKING:
    from collections.abc import Iterator


class Loopback(StrEnum):
    """How ``lo`` is; the value says to a person what follows from that, if anything."""

    UP = ""
    DOWN = (
        "lo is down in this namespace: nothing arrives that is redirected here or goes to "
        "localhost; switch it on with: ip link set lo up"
    )
    LENT = (
        "no interface is up in this namespace yet, so lo was switched on for the test alone; "
        "nothing can be redirected here until it is: ip link set lo up"
    )


@contextmanager
def loopback() -> Iterator[Loopback]:
    """Switch ``lo`` on for a while in a namespace where every interface is off.

    Such a namespace has just been made and nobody can use it yet: its rules can be tried all the
    same. Where others are on, ``lo`` being off is what a person has to know about.
    """
    if is_up(LOOPBACK_INTERFACE):
        yield Loopback.UP
        return
    from pyroute2 import IPRoute

    with IPRoute() as here:
        if any(link["state"] == "up" for link in here.get_links()):
            yield Loopback.DOWN
            return
        index = here.link_lookup(ifname=LOOPBACK_INTERFACE)[0]
        before = {_address(one) for one in here.get_addr(index=index)}
        held = [one for one in rtnetlink.look() if isinstance(one, LoopbackAddress)]
        here.link("set", index=index, state="up")
        try:
            yield Loopback.LENT
        finally:
            here.link("set", index=index, state="down")
            # The kernel puts 127.0.0.1 there and takes only ::1 away again.
            for address, length in {_address(one) for one in here.get_addr(index=index)} - before:
                here.addr("del", index=index, address=address, prefixlen=length)
            # IPv6 addresses go with an interface's being on, also those from before.
            for one in set(held) - set(rtnetlink.look()):
                rtnetlink.add_address(one)


def _address(message: object) -> tuple[str, int]:
    return message.get_attr("IFA_ADDRESS"), message["prefixlen"]  # type: ignore[attr-defined,index]
