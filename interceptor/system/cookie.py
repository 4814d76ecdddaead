"""The cookie of a network namespace: a number the kernel never uses again until the next boot."""

from __future__ import annotations

import errno
import socket

from interceptor.errors import HostError
from interceptor.system.netns import inside

_SO_NETNS_COOKIE = 71
"""asm-generic/socket.h; Linux 5.14."""


def cookie(netns: int) -> int:
    """Give that of an open network namespace.

    Raises:
        HostError: the kernel has none.
    """
    with inside(netns):
        return own_cookie()


def own_cookie() -> int:
    """Give that of the namespace this thread is in.

    Raises:
        HostError: the kernel has none.
    """
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as asked:
            value = asked.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT:
            raise
        from interceptor.system.libbpf import KERNEL_NEEDED

        raise HostError(
            "this kernel has no cookies of network namespaces",
            hint=f"the eBPF backend needs Linux {KERNEL_NEEDED}; --backend nftables does not",
        ) from None
    return int.from_bytes(value, "little")
