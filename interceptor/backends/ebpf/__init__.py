"""Interception without netfilter: BPF programs for the machine, one policy a pod."""

PIN_ROOT = "/sys/fs/bpf/interceptor"
"""Where programs and maps are pinned (bpf(2), "BPF_OBJ_PIN")."""
