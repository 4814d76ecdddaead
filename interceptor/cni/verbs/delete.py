"""DEL: forget a pod, and leave nothing of ours in a namespace that stays."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from interceptor.cni.attachments import Attachments
from interceptor.cni.protocol import CniError
from interceptor.errors import InterceptorError

if TYPE_CHECKING:
    from interceptor.cni.attachments import Attachment
    from interceptor.cni.netconf import NetConf
    from interceptor.cni.notes import Notes
    from interceptor.cni.protocol import Call

_LONGEST_S = 10.0


def run(call: Call, conf: NetConf, notes: Notes) -> bytes:
    """Forget the attachment, and take its rules out of a namespace that stays.

    What cannot be taken out goes with the namespace: no pod is kept from going.
    """
    attachments = Attachments(conf.plugin.state_dir)
    notes.update(result="nothing to do")
    try:
        mine = attachments.read(call.container_id, call.ifname)
        if mine is not None:
            notes.update(namespace=mine.namespace, pod=mine.pod, uid=mine.uid, result="forgotten")
            _take_out(call, mine, list(attachments.all()), notes)
    except (CniError, InterceptorError, OSError) as error:
        notes.update(warnings=[str(error)])
    attachments.remove(call.container_id, call.ifname)
    return b""


def _take_out(call: Call, mine: Attachment, all_of_them: list[Attachment], notes: Notes) -> None:
    from interceptor.cni import sockets

    alone = [one for one in all_of_them if one.netns_inode == mine.netns_inode] == [mine]
    try:
        if call.netns_path and alone:
            _uninstall(call, mine, notes)
    except (CniError, InterceptorError, OSError) as error:
        notes.update(warnings=[str(error)])
    # Also of a namespace that cannot be entered any more: this does not end with it.
    known = [one for one in all_of_them if one.netns_cookie == mine.netns_cookie] == [mine]
    if sockets.let_go(notes, mine.netns_cookie if known else 0):
        notes.update(result="removed", removed_from=["ebpf"])


def _uninstall(call: Call, mine: Attachment, notes: Notes) -> None:
    from interceptor.cni.namespace import Namespace
    from interceptor.operations.install import uninstall
    from interceptor.system.deadline import Deadline

    if not os.path.exists(call.netns_path):
        return
    with Namespace(call.netns_path, any_netns=call.any_netns) as namespace:
        if namespace.inode == mine.netns_inode:
            deadline = Deadline(_LONGEST_S)
            with namespace.site(deadline) as site:
                notes.update(result="removed", removed_from=list(uninstall(site, deadline)))
