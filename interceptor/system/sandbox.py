"""Keep a kernel tool from asking a directory service whether an id is somebody's name.

``iptables-restore`` and ``nft -f`` look every user and group up as a name before they take it for
the number it is (``getpwnam`` in libxt_owner.c and in nftables' meta.c), and protocols too. Where
a host asks a directory for names, and the half-made pod cannot reach it, that takes for ever.
So such a tool gets a mount namespace of its own, in which /etc/nsswitch.conf is empty; the C
library then asks /etc/passwd and /etc/group alone (nsswitch.conf(5)).
"""

from __future__ import annotations

import os
import stat
from functools import cache
from typing import TYPE_CHECKING

from interceptor.system.host import CAP_SYS_ADMIN, has_capability
from interceptor.system.libc import library

if TYPE_CHECKING:
    from collections.abc import Callable

_CONFIGURATION = "/etc/nsswitch.conf"
_ASKED = ("passwd:", "group:", "initgroups:", "protocols:", "services:")
_LOCAL = frozenset({"files", "compat", "db"})
_MOST_BYTES = 1 << 16

_CLONE_NEWNS = 0x00020000
_MS_BIND, _MS_REC, _MS_PRIVATE = 1 << 12, 1 << 14, 1 << 18
"""linux/sched.h and linux/mount.h."""


@cache
def without_names() -> Callable[[], None] | None:
    """Give what a child process does before it becomes the tool; ``None`` if nothing is needed.

    Nothing is needed where names are in files anyway, and nothing can be done without
    CAP_SYS_ADMIN: a container has an nsswitch.conf of its image's own.
    """
    if _asks_files_only() or not has_capability(CAP_SYS_ADMIN):
        return None
    libc = library()
    empty, there = b"/dev/null", _CONFIGURATION.encode()

    def hide() -> None:
        # What fails leaves the tool as it would be without.
        if libc.unshare(_CLONE_NEWNS) == 0 and not libc.mount(
            None, b"/", None, _MS_REC | _MS_PRIVATE, None
        ):
            libc.mount(empty, there, None, _MS_BIND, None)

    return hide


def _asks_files_only() -> bool:
    """Whether what a tool looks up is in files, as without a configuration."""
    try:
        descriptor = os.open(_CONFIGURATION, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return False
        lines = file.read(_MOST_BYTES).decode(errors="replace").splitlines()
    asked = [
        line.partition("#")[0].partition(":")[2].split()
        for line in lines
        if line.lstrip().startswith(_ASKED)
    ]
    return all(set(words) <= _LOCAL for words in asked)
