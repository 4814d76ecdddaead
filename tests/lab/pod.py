"""A client, a pod and an outside, cabled as in a cluster; addresses of both families.

::

    client 10.1.0.2 ──── eth0 10.1.0.1 pod 10.2.0.1 eth1 ──── 10.2.0.2 outside
           fd01::2             fd01::1     fd02::1            fd02::2  (and far addresses)
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.lab.netns import Namespace, cable, namespaces

if TYPE_CHECKING:
    from collections.abc import Iterator

POD = {4: "10.1.0.1", 6: "fd01::1"}
CLIENT = {4: "10.1.0.2", 6: "fd01::2"}
POD_SIDE = {4: "10.2.0.1", 6: "fd02::1"}
OUTSIDE = {4: "10.2.0.2", 6: "fd02::2"}
FAR = {4: "203.0.113.10", 6: "2001:db8::10"}
"""Beyond the default route, answered by the outside."""
FAR_OTHER = {4: "198.51.100.10", 6: "2001:db8:1::10"}

APP_UID, APP_GID, PROXY_UID, PROXY_GID = 1000, 1000, 1337, 1337


class Pod:
    """The three namespaces."""

    def __init__(self, client: Namespace, pod: Namespace, outside: Namespace) -> None:
        self.client = client
        self.pod = pod
        self.outside = outside
        cable(client, "eth0", pod, "eth0")
        cable(pod, "eth1", outside, "eth0")
        client.address("eth0", f"{CLIENT[4]}/24", f"{CLIENT[6]}/64")
        pod.address("eth0", f"{POD[4]}/24", f"{POD[6]}/64")
        pod.address("eth1", f"{POD_SIDE[4]}/24", f"{POD_SIDE[6]}/64")
        outside.address("eth0", f"{OUTSIDE[4]}/24", f"{OUTSIDE[6]}/64")
        for far in (FAR, FAR_OTHER):
            outside.address("lo", f"{far[4]}/32", f"{far[6]}/128")
        pod.default_route(OUTSIDE[4], OUTSIDE[6])
        client.default_route(POD[4], POD[6])
        outside.default_route(POD_SIDE[4], POD_SIDE[6])


@contextmanager
def new_pod() -> Iterator[Pod]:
    """Have a pod for a while."""
    with namespaces("client", "pod", "outside") as (client, pod, outside):
        yield Pod(client, pod, outside)
