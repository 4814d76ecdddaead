"""What programs at sockets decided for each pod, read when the agent is asked for it."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING

from interceptor.cni.attachments import Attachments
from interceptor.cni.protocol import CniError
from interceptor.errors import InterceptorError
from interceptor.system.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import CounterMetricFamily

_NAME = "interceptor_decisions"
_LABELS = ("namespace", "pod", "reason", "cookie")
_LONGEST_S = 1.0


class Decisions:
    """A collector of prometheus_client's: it gives nothing where there is nothing to read.

    Args:
        state_dir: where the plugin keeps a file for each attachment, as this process sees it.
        pin_root: where programs and maps are pinned, likewise.
    """

    def __init__(self, state_dir: str, pin_root: str) -> None:
        self._attachments = Attachments(state_dir)
        self._pin_root = pin_root

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Give the counters; what cannot be read is no reason to answer nothing at all."""
        if not os.path.isdir(self._pin_root):
            return
        from prometheus_client.core import CounterMetricFamily

        try:
            counted = self._read()
        except (InterceptorError, CniError, OSError, ValueError):
            return
        said = "Connections and datagrams by why they went where they went."
        family = CounterMetricFamily(_NAME, said, labels=_LABELS)
        for labels, count in sorted(counted.items()):
            family.add_metric(labels, count)
        yield family

    def _read(self) -> Counter[tuple[str, str, str, str]]:
        # Late: a node without these programs needs no libbpf.
        from interceptor.backends.ebpf.machine import Machine

        with Machine(Deadline(_LONGEST_S), self._pin_root) as machine:
            counts, inodes = machine.counts(), machine.namespaces()
        attached = list(self._attachments.all()) if counts else []
        by_cookie = {one.netns_cookie: one for one in attached}
        # Of those that were added before there was anything at sockets. Of the inodes that
        # namespaces have, 0 is none: it is that of one that is no more.
        by_inode = {one.netns_inode: one for one in attached if not one.netns_cookie}
        found: Counter[tuple[str, str, str, str]] = Counter()
        for cookie, reasons in counts.items():
            whose = by_cookie.get(cookie) or by_inode.get(inodes.get(cookie, 0))
            for reason, count in reasons.items():
                if whose is None:
                    found["", "", reason, str(cookie)] += count
                else:
                    found[whose.namespace, whose.pod, reason, ""] += count
        return found
