"""What the node enforces at sockets for pods that go; nothing is imported where there is none."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from interceptor.backends.ebpf import PIN_ROOT
from interceptor.errors import InterceptorError

if TYPE_CHECKING:
    from interceptor.cni.notes import Notes

_LONGEST_S = 10.0


def let_go(notes: Notes, cookie: int = 0) -> bool:
    """Let go of one pod, if its namespace's cookie is given, and of all that are gone.

    What fails is noted: no pod is kept from going, and the next call tries it again.

    Returns:
        Whether anything was enforced for that pod.
    """
    if not os.path.isdir(PIN_ROOT):
        return False
    from interceptor.backends.ebpf import leftovers
    from interceptor.system.deadline import Deadline

    try:
        gone = leftovers.let_go(Deadline(_LONGEST_S), cookie)
    except (InterceptorError, OSError) as error:
        notes["warnings"] = [*notes.get("warnings", ()), str(error)]
        return False
    others = len(set(gone) - {cookie})
    if others:
        notes["let_go"] = others
    return cookie in gone
