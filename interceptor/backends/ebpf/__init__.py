"""Interception without netfilter: BPF programs for the machine, one policy a pod."""

from __future__ import annotations

import os

PIN_ROOT = "/sys/fs/bpf/interceptor"
"""Where programs and maps are pinned (bpf(2), "BPF_OBJ_PIN")."""
PODS = "pods"
"""The directory of the links to pods, by cookie, in each version's set of pins."""
RECORDS = "/run/interceptor/ebpf"
"""Where it is written down what was meant, by cookie too."""


def pod_pin(pins: str, cookie: int) -> str:
    """Give the path of a pod's link in a set of pins."""
    return os.path.join(pins, PODS, str(cookie))


def record_file(directory: str, cookie: int) -> str:
    """Give the path of a pod's record."""
    return os.path.join(directory, f"{cookie}.json")


def may_hold(cookie: int) -> bool:
    """Whether anything of ours may be in force for a namespace; cheap, and never wrong by a no.

    A pod has a link before it has a policy, and a policy no longer than its link.
    """
    try:
        versions = os.listdir(PIN_ROOT)
    except OSError:
        versions = []
    pins = [pod_pin(os.path.join(PIN_ROOT, version), cookie) for version in versions]
    return any(os.path.lexists(path) for path in (*pins, record_file(RECORDS, cookie)))
