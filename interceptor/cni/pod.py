"""The pod of a call, as far as the runtime or the API server says who it is and what it wants."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from interceptor.cni.netconf import NetConf
    from interceptor.cni.protocol import Call


class Pod(msgspec.Struct, frozen=True):
    """What is known; texts are empty where nobody said.

    ``annotations`` is ``None`` where nobody can tell, ``labels`` are known from the API server
    alone. ``sidecar`` holds settings as the proxy's container shows them, and ``skip`` why the
    pod looks after itself.
    """

    namespace: str = ""
    name: str = ""
    uid: str = ""
    annotations: Mapping[str, str] | None = None
    labels: Mapping[str, str] = {}
    sidecar: Mapping[str, str] = {}
    skip: str = ""

    @classmethod
    def of(cls, call: Call, conf: NetConf) -> Pod:
        """Give what the runtime says (containerd and CRI-O: K8S_POD_...; podman: a name)."""
        return cls(
            call.args.get("K8S_POD_NAMESPACE", ""),
            call.args.get("K8S_POD_NAME", ""),
            call.args.get("K8S_POD_UID", ""),
            conf.annotations,
        )

    @property
    def marks(self) -> dict[str, str]:
        """What a selector looks at: annotations, and labels, which are stronger."""
        return {**(self.annotations or {}), **self.labels}

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name or "this pod"
