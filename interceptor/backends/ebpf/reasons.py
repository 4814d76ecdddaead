"""What becomes of a connection and why, numbered as in rules/bpf/policy.h, and in words."""

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
    "excluded-source",
    "no-listener",
    "unsettled",
)
"""By number; the first is for what is none of the policy's business, which is not counted."""

VERDICTS = ("direct", "outbound", "inbound", "dns", "refused")
"""Where it went: on its way, to one of the proxy's listeners, or nowhere."""

_KEPT = "SSH, tunnel, health and telemetry ports"
_SENTENCES = {
    "inbound": "inbound ports that are captured",
    "self-call": "the proxy calling its own pod counts as inbound",
    "dns": "DNS queries that are captured",
    "network": "destinations that are captured",
    "port": "outbound ports captured whatever the address",
    "loopback": "loopback addresses you included",
    "proxy-user": "made by the proxy: its user",
    "proxy-group": "made by the proxy: its group",
    "proxy-mark": "made by the proxy: its socket mark",
    "handover": "the proxy handing a connection to the app",
    "excluded-user": "users you excluded",
    "excluded-group": "groups you excluded",
    "other-group": "groups you did not include",
    "excluded-port": "outbound ports you excluded",
    "excluded-network": "destinations you excluded",
    "excluded-source": "sources you excluded",
    "own-pod": "the app talking to its own pod",
    # One fact in the kernel, because it makes no difference there.
    "kept-port": f"inbound ports you excluded, or {_KEPT}",
    # From here on the rules of the sheet have no row: nothing matches there, or cannot be.
    "not-included": "destinations you did not include",
    "inbound-not-included": "inbound ports you did not include",
    "no-listener": "nobody listens on the inbound port of the proxy",
    "unsettled": "its policy was replaced again and again meanwhile",
}
_OF_QUERIES = {
    "proxy-user": "asked by the proxy: its user",
    "proxy-group": "asked by the proxy: its group",
    "proxy-mark": "asked by the proxy: its socket mark",
    "not-included": "resolvers whose queries are not captured",
}
"""Where a query by UDP is spoken of otherwise than a connection."""


def sentence(reason: str, protocol: str) -> str:
    """Say a reason, in the words of rules/sidecar.toml where that has it too."""
    of_query = _OF_QUERIES.get(reason) if protocol == "udp" else None
    return of_query or _SENTENCES[reason]
