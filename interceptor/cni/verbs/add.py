"""ADD: intercept a pod."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.cni.attachments import Attachments
from interceptor.cni.meshing import LeftAlone, decide
from interceptor.cni.namespace import Namespace
from interceptor.cni.protocol import CniError, Code
from interceptor.cni.verbs.common import check_ready, pod_of

if TYPE_CHECKING:
    from interceptor.cni.netconf import NetConf
    from interceptor.cni.notes import Notes
    from interceptor.cni.protocol import Call
    from interceptor.operations.policy import Policy


def run(call: Call, conf: NetConf, notes: Notes) -> bytes:
    """Intercept the pod, if it is meshed, and pass on what the plugins before said."""
    if not conf.prev_result:
        raise CniError(
            Code.CONFIGURATION,
            "must be called as a chained plugin: there is no prevResult",
            "put the entry after the plugin that makes the pod's interface",
        )
    attachments = Attachments(conf.plugin.state_dir)
    with Namespace(call.netns_path, any_netns=call.any_netns) as namespace:
        pod = pod_of(call, conf, notes)
        decided = decide(pod, conf.plugin)
        if isinstance(decided, LeftAlone):
            attachments.remove(call.container_id, call.ifname)
            notes.update(result="left alone", why=decided.reason)
            return conf.prev_result
        check_ready(conf)
        from interceptor.cni.interception import written_down

        before = attachments.read(call.container_id, call.ifname)
        container = (call.container_id, call.ifname, conf.name)
        attachments.write(written_down(container, pod, namespace, decided.config, conf.resolvers))
        try:
            _install(namespace, conf, notes, decided)
        except BaseException:
            if before is None:
                attachments.remove(call.container_id, call.ifname)
            else:
                attachments.write(before)
            raise
    return conf.prev_result


def _install(namespace: Namespace, conf: NetConf, notes: Notes, policy: Policy) -> None:
    from interceptor.cni.interception import intercept

    done = intercept(namespace, policy, conf.resolvers)
    notes.update(
        result="installed" if done.changed else "already in place",
        backend=done.backend,
        sheet=policy.sheet.name,
    )
    warnings = [*done.passed_over, *done.warnings, *map(str, done.shadowed)]
    if warnings:
        notes["warnings"] = warnings
