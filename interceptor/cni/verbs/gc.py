"""GC: forget what the runtime does not know any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.cni import sockets
from interceptor.cni.attachments import Attachments
from interceptor.cni.protocol import CniError, Code

if TYPE_CHECKING:
    from interceptor.cni.netconf import NetConf
    from interceptor.cni.notes import Notes
    from interceptor.cni.protocol import Call


def run(_call: Call, conf: NetConf, notes: Notes) -> bytes:
    """Forget attachments of this network that the runtime does not know any more.

    Other networks have their own lists, and their attachments are left.
    """
    if conf.valid is None:
        raise CniError(Code.CONFIGURATION, "required cni.dev/valid-attachments missing")
    valid = {(one.container_id, one.ifname) for one in conf.valid}
    attachments = Attachments(conf.plugin.state_dir)
    stale = [
        one
        for one in attachments.all()
        if one.network == conf.name and (one.container_id, one.ifname) not in valid
    ]
    for one in stale:
        attachments.remove(one.container_id, one.ifname)
    notes.update(result="collected", removed=len(stale))
    # Of whichever network: what is let go of is that of namespaces that are no more.
    sockets.let_go(notes)
    return b""
