"""CHECK: is a pod still as ADD made it?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.cni.attachments import Attachments
from interceptor.cni.meshing import LeftAlone, decide
from interceptor.cni.namespace import Namespace
from interceptor.cni.protocol import CniError, Code
from interceptor.cni.verbs.common import pod_of
from interceptor.operations.status import State

if TYPE_CHECKING:
    from interceptor.cni.netconf import NetConf
    from interceptor.cni.notes import Notes
    from interceptor.cni.protocol import Call

_MOST_FINDINGS = 5


def run(call: Call, conf: NetConf, notes: Notes) -> bytes:
    """Compare what is in force with what ADD meant."""
    if not conf.prev_result:
        raise CniError(Code.CONFIGURATION, "required prevResult missing")
    mine = Attachments(conf.plugin.state_dir).read(call.container_id, call.ifname)
    if mine is None:
        if isinstance(decide(pod_of(call, conf, notes), conf.plugin), LeftAlone):
            notes.update(result="left alone")
            return b""
        raise CniError(
            Code.DRIFTED,
            "the pod is meshed, and nothing says that it was ever intercepted",
            f"no file of it is in {conf.plugin.state_dir}: add the pod anew",
        )
    notes.update(namespace=mine.namespace, pod=mine.pod, uid=mine.uid)
    with Namespace(call.netns_path, any_netns=call.any_netns) as namespace:
        if namespace.inode != mine.netns_inode:
            raise CniError(
                Code.DRIFTED, f"{call.netns_path} is another network namespace than ADD met"
            )
        from interceptor.cni.interception import compared

        found = compared(namespace, mine)
    notes.update(result=str(found.state), backend=found.backend)
    if found.state is not State.IN_SYNC:
        shown = [str(finding) for finding in found.findings]
        more = len(shown) - _MOST_FINDINGS
        raise CniError(
            Code.DRIFTED,
            f"the rules in {call.netns_path} are not as ADD made them: {found.state}",
            "; ".join(shown[:_MOST_FINDINGS]) + (f"; and {more} more" if more > 0 else ""),
        )
    return b""
