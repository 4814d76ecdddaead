"""Both ends of a cable between two namespaces: links, addresses, routes."""

from __future__ import annotations

import errno
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import msgspec

from interceptor.system import netns
from interceptor.verify.sockets import has_link

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interceptor.analysis.packet import Address

_NO_DAD, _NO_PREFIX_ROUTE = 0x02, 0x200
"""IFA_F_NODAD of linux/if_addr.h, usable at once, and IFA_F_NOPREFIXROUTE: routes are ours."""
_ON_LINK, _LOCAL = 253, 2
"""RT_SCOPE_LINK of linux/rtnetlink.h, beyond no router; RTN_LOCAL, a destination here."""
_LOOK_AGAIN_S = 0.001
_DEPRECATED = {"preferred": 0}
"""An address for no source that nobody chose."""
ADDRESS_BITS = 3
"""The network on a cable has eight addresses."""


class Ends(msgspec.Struct, frozen=True):
    """One family's addresses on the cable.

    ``borrowed`` are answered outside, ``handover`` are made local to the pod where they are not.
    ``clients`` are outside too, and nobody connects from there but the pod, in their names.
    """

    pod: Address
    outside: Address
    clients: tuple[Address, ...]
    borrowed: tuple[Address, ...]
    handover: tuple[Address, ...]


class Cable:
    """Requests to either namespace's kernel, and the number of the cable's end there."""

    def __init__(self, here: Any, index: int, there: Any, peer: int) -> None:
        self._here, self._index = here, index
        self._there, self._peer = there, peer
        self._new: list[tuple[Any, Address]] = []

    def carry(self, ends: Ends) -> bool:
        """Put one family's addresses on both ends; false if the namespace has that family off."""
        from pyroute2.netlink.exceptions import NetlinkError

        try:
            self._add_here(ends.pod)
        except NetlinkError:
            return False
        for address in (ends.outside, *ends.clients):
            is_ours = address == ends.outside
            self._add_there(address, ADDRESS_BITS, **({} if is_ours else _DEPRECATED))
            self._route(address, ends, scope=_ON_LINK)
        for address in ends.handover:
            if not _is_destination(self._here, address):
                self._add_here(address)
        return True

    def lend(self, address: Address, ends: Ends) -> bool:
        """Answer at one more address outside; false if somebody has it or the pod talks to him."""
        from pyroute2.netlink.exceptions import NetlinkError

        if _is_destination(self._here, address) or self._here.get_neighbours(dst=str(address)):
            return False
        try:
            self._route(address, ends, gateway=str(ends.outside))
        except NetlinkError as error:
            if error.code == errno.EEXIST:
                return False
            raise
        self._add_there(address, 0)
        return True

    def wait(self, longest_s: float) -> None:
        """Wait until what comes to the new addresses is taken in; usually it is at once.

        An address of IPv6 is there when it is added, but a worker of the kernel has yet to make
        it a destination and to let neighbours find it.
        """
        end = time.monotonic() + longest_s
        for kernel, address in self._new:
            while not _is_destination(kernel, address) and time.monotonic() < end:
                time.sleep(_LOOK_AGAIN_S)

    def _add_here(self, address: Address) -> None:
        """Give the pod an address that is "deprecated": for no source but by our routes.

        Connections of others, whose own addresses may be on ``lo`` alone, do not come to have it.
        """
        self._here.addr(
            "add",
            index=self._index,
            address=str(address),
            prefixlen=address.max_prefixlen,
            flags=_NO_DAD | _NO_PREFIX_ROUTE,
            **_DEPRECATED,
        )
        self._new.append((self._here, address))

    def _add_there(self, address: Address, host_bits: int, **how: Any) -> None:
        self._there.addr(
            "add",
            index=self._peer,
            address=str(address),
            prefixlen=address.max_prefixlen - host_bits,
            flags=_NO_DAD,
            **how,
        )
        self._new.append((self._there, address))

    def _route(self, address: Address, ends: Ends, **how: Any) -> None:
        """Lead the pod to an address outside, as from its own end of the cable.

        Without ``prefsrc`` the kernel may choose another source, to which no way leads back.
        """
        self._here.route(
            "add",
            dst=f"{address}/{address.max_prefixlen}",
            oif=self._index,
            prefsrc=str(ends.pod),
            **how,
        )


@contextmanager
def cable(interface: str, peer: str, outside: int) -> Iterator[Cable]:
    """Lay a cable from the namespace this thread is in to another, both ends ready to send.

    Raises:
        NetlinkError: the kernel refuses.
    """
    from pyroute2 import IPRoute

    with IPRoute() as here:
        here.link(
            "add", ifname=interface, kind="veth", peer={"ifname": peer, "net_ns_fd": outside}
        )
        with netns.inside(outside):
            there = IPRoute()
        with there:
            _bring_up(there, "lo")
            index, peer_index = _bring_up(here, interface), _bring_up(there, peer)
            # Where the kernel cannot be asked, both are ready in a second.
            with suppress(OSError):
                has_link(interface)
                with netns.inside(outside):
                    has_link(peer)
            yield Cable(here, index, there, peer_index)


def _bring_up(kernel: Any, name: str) -> int:
    """Switch an interface on and give its number."""
    index: int = kernel.link_lookup(ifname=name)[0]
    kernel.link("set", index=index, state="up")
    return index


def _is_destination(kernel: Any, address: Address) -> bool:
    """Whether a namespace takes in what is sent to an address."""
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        return any(route["type"] == _LOCAL for route in kernel.route("get", dst=str(address)))
    except NetlinkError:
        return False
