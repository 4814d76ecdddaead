"""``interceptor cni pods``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from interceptor.cli.cni_options import check
from interceptor.cli.exits import DONE, FAILED, FOUND
from interceptor.node.configured import configured
from interceptor.node.place import Place
from interceptor.node.pods import Node, Survey

if TYPE_CHECKING:
    from interceptor.cli.session import Session
    from interceptor.node.pods import Found


def pods(session: Session, **given: Any) -> int:
    """Find the pods of this node that should be intercepted and are not.

    Walks the network namespaces that runtimes keep open, asks what the plugin wrote down and what
    the runtimes remember whose they are, and compares. With --repair what is wrong is
    installed again. The host's own namespace is never touched.

    Exit code 3 means that pods are not intercepted that should be; with --repair, 1 means that
    some still are not.
    """
    check(given)
    place = Place(given["host_root"])
    plugin, network = configured(given["conf_dir"], place)
    node = Node(plugin, network, tuple(given["netns_dir"]), given["cache_dir"], place)
    found = list(Survey(node, repair=given["repair"]).found())
    wrong = [one for one in found if one.condition.is_wrong]
    left = [one for one in wrong if not one.repaired]
    facts = {
        "wrong": len(wrong),
        "repaired": len(wrong) - len(left),
        "pods": [{**_as_data(one)} for one in found],
    }
    session.printer.table(
        facts, ("STATE", "POD", "NAMESPACE", "WHY"), [_row(one) for one in found]
    )
    if left:
        return FAILED if given["repair"] else FOUND
    return DONE


def _as_data(one: Found) -> dict[str, Any]:
    return {
        "state": str(one.condition),
        "repaired": one.repaired,
        "netns": one.netns,
        "namespace": one.namespace,
        "pod": one.pod,
        "container_id": one.container_id,
        "why": one.why,
    }


def _row(one: Found) -> tuple[str, str, str, str]:
    state = f"{one.condition}, repaired" if one.repaired else str(one.condition)
    pod = f"{one.namespace}/{one.pod}" if one.namespace else one.pod
    return state, pod or "?", os.path.basename(one.netns), one.why
