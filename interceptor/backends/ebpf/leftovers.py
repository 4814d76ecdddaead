"""What is left of pods that are gone, on the node: what was enforced for them, and their records.

Rules live in a pod's namespace and die with it; programs at sockets do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.backends.ebpf import PIN_ROOT, RECORDS, elders
from interceptor.backends.ebpf.machine import Machine
from interceptor.backends.ebpf.records import Records

if TYPE_CHECKING:
    from interceptor.system.deadline import Deadline


def let_go(
    deadline: Deadline,
    cookie: int = 0,
    *,
    pin_root: str = PIN_ROOT,
    records: str = RECORDS,
) -> tuple[int, ...]:
    """Enforce nothing for a pod any more, nor for namespaces that are no more.

    If no pod is left, the programs go as well.

    Args:
        deadline: for waiting.
        cookie: the pod's; 0 for none but those that are gone.
        pin_root: where programs and maps are pinned.
        records: directory of the records.

    Returns:
        The cookies of those for which something was enforced.

    Raises:
        InterceptorError: why not.
        OSError: a record cannot be removed.
    """
    written = Records(records)
    # Before the pods: a record is written when its pod is enforced already.
    recorded = written.cookies()
    with Machine(deadline, pin_root) as machine:
        gone = (cookie,) if cookie and machine.disable(cookie) else ()
        gone = (*gone, *machine.collect(), *elders.let_go(pin_root, deadline, cookie))
        if gone:
            machine.unload()
        enforced = machine.namespaces()
    for one in recorded:
        if one not in enforced:
            written.write(one, ())
    return gone
