"""The name servers a namespace's processes ask, from the resolv.conf they read."""

from __future__ import annotations

import os
import re

from interceptor.config import OWN_NETNS
from interceptor.errors import HostError
from interceptor.values import Networks, parse_network

_OWN = "/etc/resolv.conf"
_NAMED = re.compile(r"/(?:var/)?run/netns/([^/]+)")
_OF_PROCESS = re.compile(r"/proc/(\d+)/ns/net")
_MOST_BYTES = 1 << 20


def resolvers(netns: str) -> Networks:
    """Read the ``nameserver`` lines (resolv.conf(5)), each as a network of one, in their order.

    Args:
        netns: the path of the namespace, which decides whose file it is: that of this process,
            of the process the path names, or of ``ip netns`` (ip-netns(8)).

    Raises:
        HostError: nobody knows whose file it is, or it cannot be read.
    """
    path = _path(netns)
    try:
        with open(path, "rb") as file:
            text = file.read(_MOST_BYTES).decode(errors="replace")
    except OSError as error:
        raise HostError(
            f"{path} cannot be read: {error.strerror}", hint="or capture DNS to anywhere: all"
        ) from None
    lines = (line.split() for line in text.splitlines())
    named = [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"]
    try:
        # The zone says by which interface; rules for an address need none.
        found = tuple(parse_network(address.partition("%")[0]) for address in named)
    except ValueError as error:
        raise HostError(f"{path}: {error}", hint="or capture DNS to anywhere: all") from None
    return Networks.written_as(found)


def _path(netns: str) -> str:
    if netns == OWN_NETNS:
        return _OWN
    if found := _OF_PROCESS.fullmatch(netns):
        return f"/proc/{found[1]}/root{_OWN}"
    if found := _NAMED.fullmatch(netns):
        own = f"/etc/netns/{found[1]}/resolv.conf"
        if os.path.exists(own):
            return own
    raise HostError(
        f"nobody knows which resolv.conf the processes in {netns} read",
        hint="capture DNS to anywhere (all), or give the namespace as /proc/PID/ns/net",
    )
