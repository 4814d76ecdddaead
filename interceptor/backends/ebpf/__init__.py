"""Interception without netfilter: BPF programs for the machine, one policy a pod."""
