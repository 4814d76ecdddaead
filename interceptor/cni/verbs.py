"""What the verbs do; each gives the bytes for stdout and notes for the log what it saw."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from interceptor import __version__
from interceptor.cni.attachments import Attachment, Attachments
from interceptor.cni.meshing import LeftAlone, Meshed, decide, decide_early, meshed
from interceptor.cni.namespace import Namespace, facts
from interceptor.cni.pod import Pod
from interceptor.cni.protocol import CniError, Code
from interceptor.cni.selector import needs_marks, selects
from interceptor.errors import InterceptorError
from interceptor.operations.status import State, status
from interceptor.settings import SETTINGS, Scope, show
from interceptor.system.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from interceptor.cni.netconf import NetConf
    from interceptor.cni.protocol import Call
    from interceptor.config import Config

Notes = dict[str, Any]

_KEPT = {
    name
    for name, setting in SETTINGS.items()
    if setting.scope in (Scope.POLICY, Scope.HOST) or name == "unproven"
}
"""Settings an attachment is written down with: all that installing it again needs."""

_MOST_FINDINGS = 5
_REMOVAL_S = 10.0


def add(call: Call, conf: NetConf, notes: Notes) -> bytes:
    """Intercept the pod, if it is meshed, and pass on what the plugins before said."""
    if not conf.prev_result:
        raise CniError(
            Code.CONFIGURATION,
            "must be called as a chained plugin: there is no prevResult",
            "put the entry after the plugin that makes the pod's interface",
        )
    attachments = Attachments(conf.plugin.state_dir)
    with Namespace(call.netns_path, any_netns=call.any_netns) as namespace:
        decided = _decide(call, conf, notes)
        if isinstance(decided, LeftAlone):
            attachments.remove(call.container_id, call.ifname)
            notes.update(result="left alone", why=decided.reason)
            return conf.prev_result
        _wait_for_agent(conf)
        before = attachments.read(call.container_id, call.ifname)
        attachments.write(_attachment(call, conf, notes, namespace, decided.config))
        try:
            _install(namespace, conf, notes, decided)
        except BaseException:
            if before is None:
                attachments.remove(call.container_id, call.ifname)
            else:
                attachments.write(before)
            raise
    return conf.prev_result


def _decide(call: Call, conf: NetConf, notes: Notes) -> LeftAlone | Meshed:
    pod = Pod.of(call, conf)
    notes.update(namespace=pod.namespace, pod=pod.name, uid=pod.uid)
    if left := decide_early(pod, conf.plugin):
        return left
    lookup = conf.plugin.lookup
    if lookup and (lookup.always or (pod.annotations is None and _is_wanted(conf))):
        from interceptor.cni.lookup import looked_up

        pod = looked_up(lookup, pod)
        notes.update(uid=pod.uid, looked_up=True)
    return decide(pod, conf.plugin)


def _is_wanted(conf: NetConf) -> bool:
    """Whether what is not passed decides anything."""
    return needs_marks(conf.plugin.selector)


def _wait_for_agent(conf: NetConf) -> None:
    ready = conf.plugin.ready_file
    if ready and not os.path.exists(ready):
        raise CniError(
            Code.TRY_LATER,
            f"the node's agent is not ready: {ready} is not there",
            "see whether interceptor cni install --watch runs on this node; the runtime retries",
        )


def _attachment(
    call: Call, conf: NetConf, notes: Mapping[str, Any], namespace: Namespace, config: Config
) -> Attachment:
    return Attachment(
        container_id=call.container_id,
        ifname=call.ifname,
        network=conf.name,
        netns=namespace.path,
        netns_inode=namespace.inode,
        namespace=notes["namespace"],
        pod=notes["pod"],
        uid=notes["uid"],
        settings={name: show(getattr(config, name)) for name in sorted(_KEPT)},
        resolvers=conf.resolvers,
        version=__version__,
    )


def _install(namespace: Namespace, conf: NetConf, notes: Notes, wanted: Meshed) -> None:
    from interceptor.operations.install import install

    deadline = Deadline(wanted.config.timeout)
    with namespace.site(deadline) as site:
        known = facts(wanted.config, conf.resolvers)
        done = install(wanted.config, wanted.sheet, site, deadline, facts=known)
    notes.update(
        result="installed" if done.changed else "already in place",
        backend=done.backend,
        sheet=wanted.sheet.name,
    )
    warnings = [*done.passed_over, *done.warnings, *map(str, done.shadowed)]
    if warnings:
        notes["warnings"] = warnings


def delete(call: Call, conf: NetConf, notes: Notes) -> bytes:
    """Forget the attachment, and take its rules out of a namespace that stays.

    What cannot be taken out goes with the namespace: no pod is kept from going.
    """
    attachments = Attachments(conf.plugin.state_dir)
    notes.update(result="nothing to do")
    try:
        mine = attachments.read(call.container_id, call.ifname)
        if mine is not None:
            notes.update(namespace=mine.namespace, pod=mine.pod, uid=mine.uid, result="forgotten")
            others = [one for one in attachments.all() if one.netns_inode == mine.netns_inode]
            if call.netns_path and others == [mine]:
                _uninstall(call, mine, notes)
    except (CniError, InterceptorError) as error:
        notes.update(warnings=[str(error)])
    attachments.remove(call.container_id, call.ifname)
    return b""


def _uninstall(call: Call, mine: Attachment, notes: Notes) -> None:
    from interceptor.operations.install import uninstall

    if not os.path.exists(call.netns_path):
        return
    with Namespace(call.netns_path, any_netns=call.any_netns) as namespace:
        if namespace.inode == mine.netns_inode:
            deadline = Deadline(_REMOVAL_S)
            with namespace.site(deadline) as site:
                notes.update(result="removed", removed_from=list(uninstall(site, deadline)))


def check(call: Call, conf: NetConf, notes: Notes) -> bytes:
    """Compare what is in force with what ADD meant."""
    if not conf.prev_result:
        raise CniError(Code.CONFIGURATION, "required prevResult missing")
    mine = Attachments(conf.plugin.state_dir).read(call.container_id, call.ifname)
    if mine is None:
        if isinstance(_decide(call, conf, notes), LeftAlone):
            notes.update(result="left alone")
            return b""
        raise CniError(
            Code.DRIFTED,
            "the pod is meshed, and nothing says that it was ever intercepted",
            f"no file of it is in {conf.plugin.state_dir}: add the pod anew",
        )
    notes.update(namespace=mine.namespace, pod=mine.pod, uid=mine.uid)
    policy = mine.policy
    deadline = Deadline(policy.config.timeout)
    with Namespace(call.netns_path, any_netns=call.any_netns) as namespace:
        if namespace.inode != mine.netns_inode:
            raise CniError(
                Code.DRIFTED, f"{call.netns_path} is another network namespace than ADD met"
            )
        with namespace.site(deadline, shared=True) as site:
            known = facts(policy.config, mine.resolvers)
            found = status(policy, site, facts=known)
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


def status_of_plugin(_call: Call, conf: NetConf, notes: Notes) -> bytes:
    """Say whether an ADD could be served now."""
    from interceptor.operations.site import Site
    from interceptor.system import netns

    try:
        _wait_for_agent(conf)
        selects(conf.plugin.selector, {})
        wanted = meshed(conf.plugin.settings, Pod())
        Attachments(conf.plugin.state_dir).prepare()
        # As empty as a pod's, where the host's own may hold any number of rules.
        scratch = netns.make()
        with netns.closing(scratch), netns.inside(scratch):
            backends = Site(Deadline(_REMOVAL_S)).preferences(wanted.config)
    except CniError as error:
        raise CniError(Code.NOT_AVAILABLE, error.message, error.details) from None
    except InterceptorError as error:
        raise CniError(Code.NOT_AVAILABLE, error.message, error.hint) from None
    notes.update(result="available", backends=backends)
    return b""


def collect(_call: Call, conf: NetConf, notes: Notes) -> bytes:
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
    return b""


VERBS: Mapping[str, Callable[[Call, NetConf, Notes], bytes]] = {
    "ADD": add,
    "DEL": delete,
    "CHECK": check,
    "STATUS": status_of_plugin,
    "GC": collect,
}
