"""Network configurations as real network plugins write them."""

from __future__ import annotations

import json

CALICO = b"""{
  "name": "k8s-pod-network",
  "cniVersion": "0.3.1",
  "plugins": [
    {
      "type": "calico",
      "log_level": "info",
      "datastore_type": "kubernetes",
      "mtu": 0,
      "ipam": {"type": "calico-ipam"},
      "policy": {"type": "k8s"},
      "kubernetes": {"kubeconfig": "/etc/cni/net.d/calico-kubeconfig"}
    },
    {"type": "portmap", "snat": true, "capabilities": {"portMappings": true}},
    {"type": "bandwidth", "capabilities": {"bandwidth": true}}
  ]
}"""

CILIUM = b"""
{
  "cniVersion": "0.3.1",
  "name": "cilium",
  "plugins": [
    {
       "type": "cilium-cni",
       "enable-debug": false,
       "log-file": "/var/run/cilium/cilium-cni.log"
    }
  ]
}
"""

FLANNEL = b"""{
  "name": "cbr0",
  "cniVersion": "0.3.1",
  "plugins": [
    {"type": "flannel", "delegate": {"hairpinMode": true, "isDefaultGateway": true}},
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
"""

BRIDGE = b"""{
  "cniVersion": "0.4.0", "name": "crio", "type": "bridge", "bridge": "cni0",
  "ratio": 1.50, "large": 123456789012345678901234567890, "none": null,
  "ipam": { "type": "host-local", "ranges": [[{ "subnet": "10.85.0.0/16" }]] }
}
"""

LISTS = {
    "10-calico.conflist": CALICO,
    "05-cilium.conflist": CILIUM,
    "10-flannel.conflist": FLANNEL,
}
SINGLES = {"100-crio-bridge.conf": BRIDGE, "100-crio-bridge.json": BRIDGE}


def types(content: bytes) -> list[str]:
    """Give the plugins a configuration names."""
    value = json.loads(content)
    return [plugin["type"] for plugin in value.get("plugins", [value])]
