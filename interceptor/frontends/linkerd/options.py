"""The table of options: those of today's proxy-init, and a few of ours after them."""

from __future__ import annotations

from interceptor.frontends.option import Option, ours
from interceptor.frontends.reading import (
    cidrs,
    count,
    number,
    one_of,
    port,
    ports,
    ports_one_by_one,
)
from interceptor.frontends.row import Table

MODES = ("legacy", "nft", "plain")
BINARIES = ("iptables-legacy", "iptables-nft")

_LEVELS = ("panic", "fatal", "error", "warn", "warning", "info", "debug", "trace")

_RULES = (
    Option(
        key="incoming-proxy-port",
        short="p",
        kind="PORT",
        read=port,
        help="where the proxy takes inbound connections; needed",
    ),
    Option(
        key="outgoing-proxy-port",
        short="o",
        kind="PORT",
        read=port,
        help="where the proxy takes outbound connections; needed",
    ),
    Option(
        key="proxy-uid",
        short="u",
        kind="UID",
        default="-1",
        read=number,
        help="the user the proxy runs as; none if it is not above 0",
    ),
    Option(
        key="proxy-gid",
        short="g",
        kind="GID",
        default="-1",
        read=number,
        help="the group the proxy runs as; none if it is not above 0",
    ),
    Option(
        key="ports-to-redirect",
        short="r",
        kind="PORTS",
        read=ports_one_by_one,
        repeated=True,
        help="inbound ports that are captured; without it, all are",
    ),
    Option(
        key="inbound-ports-to-ignore",
        kind="PORTS",
        read=ports("-"),
        repeated=True,
        help="inbound ports and ranges that are not captured, 25,8000-8100",
    ),
    Option(
        key="outbound-ports-to-ignore",
        kind="PORTS",
        read=ports("-"),
        repeated=True,
        help="outbound ports and ranges that are not captured",
    ),
    Option(
        key="subnets-to-ignore",
        kind="CIDRS",
        read=cidrs,
        repeated=True,
        help="networks whose connections are not captured inbound",
    ),
    Option(
        key="ipv6",
        kind="",
        default="true",
        help="intercept IPv6 as well",
    ),
)

_RUN = (
    Option(key="simulate", kind="", help="print the rules and touch nothing"),
    Option(key="netns", kind="PATH", help="network namespace to work in"),
    Option(
        key="iptables-mode",
        kind="legacy|nft|plain",
        read=one_of("", *MODES),
        help="which iptables; plain takes the one that holds rules, else nft; empty is legacy",
    ),
    Option(
        key="firewall-bin-path",
        kind="NAME",
        read=one_of("", *BINARIES),
        help="the older way to say so: iptables-legacy or iptables-nft",
    ),
    Option(
        key="firewall-save-bin-path",
        kind="NAME",
        help="without effect: it goes with the one before",
    ),
    Option(
        key="timeout-close-wait-secs",
        kind="SECONDS",
        default="0",
        read=count,
        help="how long conntrack keeps a connection in CLOSE_WAIT; 0 leaves it as it is",
    ),
    Option(
        key="use-wait-flag",
        short="w",
        kind="",
        help="without effect: who has the lock is waited for in any case",
    ),
    Option(
        key="log-format",
        kind="plain|json",
        default="plain",
        help="for a person, or the facts as json",
    ),
    Option(
        key="log-level",
        kind="LEVEL",
        default="info",
        read=lambda text: one_of(*_LEVELS)(text.lower()),
        help="without effect",
    ),
)

TABLE: Table[Option] = Table(
    "linkerd-proxy-init",
    {
        "What is intercepted": _RULES,
        "What is done": _RUN,
        "Not Linkerd's": ours("backend", "output", "timeout", "debug"),
    },
)
"""All options under headings for a person."""

HEAD = """\
  Do what Linkerd's proxy-init does, from its own flags: the rules of the sheet linkerd, as one
  change that is made as a whole or not at all, whatever is there.

  A list with a wrong item is refused. proxy-init says so in its log and goes on without it.
"""
