"""What several verbs do."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from interceptor.cni.meshing import known
from interceptor.cni.pod import Pod
from interceptor.cni.protocol import CniError, Code

if TYPE_CHECKING:
    from interceptor.cni.netconf import NetConf
    from interceptor.cni.notes import Notes
    from interceptor.cni.protocol import Call


def pod_of(call: Call, conf: NetConf, notes: Notes) -> Pod:
    """Give what can be known of the pod of a call, and note who it is."""
    said = Pod.of(call, conf)
    notes.update(namespace=said.namespace, pod=said.name, uid=said.uid)
    pod = known(said, conf.plugin)
    if pod is not said:
        notes.update(uid=pod.uid, looked_up=True)
    return pod


def check_ready(conf: NetConf) -> None:
    """Refuse to go on before the node's agent is ready, if that is configured.

    Raises:
        CniError: code 11.
    """
    ready = conf.plugin.ready_file
    if ready and not os.path.exists(ready):
        raise CniError(
            Code.TRY_LATER,
            f"the node's agent is not ready: {ready} is not there",
            "see whether interceptor cni install --watch runs on this node; the runtime retries",
        )
