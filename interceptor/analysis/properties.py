"""What is proven of rules: each property by its stable id, in a line."""

from __future__ import annotations

from enum import StrEnum


class Property(StrEnum):
    """A property; its value is its id."""

    LOOP_FREE = "loop-free"
    SELF_CALLS = "self-calls"
    EXCEPTIONS_HOLD = "exceptions-hold"
    CAPTURE_TOTAL = "capture-total"
    UNTOUCHED = "untouched"
    FAMILIES_ALIKE = "families-alike"
    IDS_ALIKE = "ids-alike"
    ROUTES_THERE = "routes-there"
    NO_DEAD_RULE = "no-dead-rule"
    NO_SHADOWED_RULE = "no-shadowed-rule"
    NO_UNREACHABLE_CHAIN = "no-unreachable-chain"

    @property
    def says(self) -> str:
        """The property in words."""
        return _WORDS[self]


_WORDS = {
    Property.LOOP_FREE: "what the proxy sends is never handed back to it, and reaches the app",
    Property.SELF_CALLS: "the proxy's calls of its own pod go through its inbound listener",
    Property.EXCEPTIONS_HOLD: "what is excluded, or kept for others, is left alone",
    Property.CAPTURE_TOTAL: "no connection escapes that is to be captured",
    Property.UNTOUCHED: "nothing else is touched",
    Property.FAMILIES_ALIKE: "IPv4 and IPv6 mean the same",
    Property.IDS_ALIKE: "all users, and all groups, of the proxy are treated alike",
    Property.ROUTES_THERE: "what rules send to a transparent listener is routed there",
    Property.NO_DEAD_RULE: "every rule matches some packet that comes to it",
    Property.NO_SHADOWED_RULE: "no rule's packets are all taken by rules before it",
    Property.NO_UNREACHABLE_CHAIN: "some packet comes to every chain",
}
