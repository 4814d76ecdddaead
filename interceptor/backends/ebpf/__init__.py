"""Interception without netfilter: BPF programs for the machine, one policy a pod."""

from __future__ import annotations

import os

PIN_ROOT = "/sys/fs/bpf/interceptor"
"""Where programs and maps are pinned (bpf(2), "BPF_OBJ_PIN")."""
PODS = "pods"
"""Below it, the directory of the links to pods, by cookie."""
RECORDS = "/run/interceptor/ebpf"
"""Where it is written down what was meant, by cookie too."""


def pod_pin(pin_root: str, cookie: int) -> str:
    """Give the path of a pod's link."""
    return os.path.join(pin_root, PODS, str(cookie))


def record_file(directory: str, cookie: int) -> str:
    """Give the path of a pod's record."""
    return os.path.join(directory, f"{cookie}.json")


def may_hold(cookie: int) -> bool:
    """Whether anything of ours may be in force for a namespace; cheap, and never wrong by a no.

    A pod has a link before it has a policy, and a policy no longer than its link.
    """
    return os.path.lexists(pod_pin(PIN_ROOT, cookie)) or os.path.lexists(
        record_file(RECORDS, cookie)
    )
