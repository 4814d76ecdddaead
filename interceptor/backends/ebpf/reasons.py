"""What becomes of a connection and why, numbered as in rules/bpf/policy.h."""

from __future__ import annotations

REASONS = (
    "",
    "inbound",
    "self-call",
    "dns",
    "network",
    "port",
    "loopback",
    "proxy-user",
    "proxy-group",
    "proxy-mark",
    "handover",
    "excluded-user",
    "excluded-group",
    "other-group",
    "excluded-port",
    "excluded-network",
    "own-pod",
    "not-included",
    "kept-port",
    "inbound-not-included",
    "no-listener",
    "unsettled",
)
"""By number; the first is for what is none of the policy's business, which is not counted."""

VERDICTS = ("direct", "outbound", "inbound", "dns", "refused")
"""Where it went: on its way, to one of the proxy's listeners, or nowhere."""
