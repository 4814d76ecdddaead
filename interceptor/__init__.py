"""Steer every TCP connection of a pod through its sidecar proxy, proven and reversible."""

__version__ = "0.1.0"
