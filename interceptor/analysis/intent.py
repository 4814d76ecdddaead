"""What a configuration wants to become of each packet, written down without any rule.

A list of cases for what is sent and one for what is received; the first that holds decides. Each
names the property that is violated where rules do something else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from interceptor import model
from interceptor.analysis.diagram import NO, YES, Node
from interceptor.analysis.packet import Direct, Fate, Redirected, Transparent
from interceptor.analysis.properties import Property
from interceptor.config import DnsCapture, Mode
from interceptor.names import LOOPBACK_INTERFACE, Family
from interceptor.values import Interfaces, Mark, Marks, Networks, Ports

if TYPE_CHECKING:
    from collections.abc import Iterable

    from interceptor.analysis.space import Space
    from interceptor.config import Config

LOOPBACK = Networks.parse("127.0.0.0/8,::1")
HANDOVER = Networks.parse("127.0.0.6,::6")
"""Where the proxy hands a connection to the app from (Istio's InboundPassthroughBindIpv4/6)."""
_DNS = 53


class Case(NamedTuple):
    """Packets, what is to become of them, why, and what is violated if it does not."""

    where: Node
    fate: Fate
    why: str
    property: Property


class Intent(msgspec.Struct, frozen=True):
    """What is wanted.

    Args:
        config: the settings, account names resolved.
        resolvers: where DNS queries go that are captured.
        kept_ports: inbound ports the dialect never touches.
        kept_networks: whose TCP connections, in or out, it never touches.
    """

    config: Config
    resolvers: Networks = Networks()
    kept_ports: Ports = Ports()
    kept_networks: Networks = Networks()

    def sets(self) -> dict[str, model.Match]:
        """Give what its cases are made of, by name."""
        config = self.config
        dns = Ports.of(_DNS) - config.exclude_outbound_ports
        localhost = Networks.of((config.loopback_cidr,)) + Networks.parse("::1")
        included = config.include_outbound_cidrs
        inside = included.within(LOOPBACK)
        return {
            "by lo": model.OutInterface(Interfaces((LOOPBACK_INTERFACE,))),
            "out of excluded": model.OutInterface(config.exclude_interfaces),
            "into excluded": model.InInterface(config.exclude_interfaces),
            "from within": model.InInterface(config.virtual_interfaces),
            "proxy uid": model.Uid(config.proxy_uid.ids),
            "proxy gid": model.Gid(config.proxy_gid.ids),
            "proxy mark": model.PacketMark(config.exempt_mark),
            "tproxy mark": model.PacketMark(Marks((Mark(config.tproxy_mark),))),
            "excluded uid": model.Uid(config.exclude_outbound_uids.ids),
            "excluded gid": model.Gid(config.exclude_outbound_owner_groups.ids),
            "included gid": model.Gid(config.include_outbound_owner_groups.ids),
            "excluded out": model.DestinationPort(config.exclude_outbound_ports),
            "included out": model.DestinationPort(config.include_outbound_ports),
            "excluded networks": model.Destination(config.exclude_outbound_cidrs),
            "included networks": model.Destination(included.within(LOOPBACK, inside=False)),
            "included loopback": model.Destination(inside),
            "localhost": model.Destination(localhost),
            "handover": model.Source(HANDOVER),
            "dns": model.DestinationPort(dns),
            "resolvers": model.Destination(self.resolvers),
            "kept": model.DestinationPort(self.kept_ports),
            "kept sources": model.Source(self.kept_networks),
            "kept destinations": model.Destination(self.kept_networks),
            "excluded sources": model.Source(config.exclude_inbound_cidrs),
            "excluded in": model.DestinationPort(config.exclude_inbound_ports),
            "included in": model.DestinationPort(config.include_inbound_ports),
            "no mark": model.PacketMark(Marks((Mark(0),))),
            "tcp": model.Protocol("tcp"),
            "udp": model.Protocol("udp"),
        }

    @property
    def captures_inbound(self) -> bool:
        """Whether any inbound port goes to the proxy."""
        config = self.config
        left = config.include_inbound_ports - config.exclude_inbound_ports - self.kept_ports
        return config.mode is not Mode.NONE and bool(left)

    @property
    def inbound_fate(self) -> Fate:
        """What becomes of an inbound connection that is captured."""
        port = self.config.inbound_port
        return Transparent(port) if self.config.mode is Mode.TPROXY else Redirected(port)


class Wanted:
    """An intent as functions of the packets of one family.

    Args:
        intent: what is wanted.
        sets: the intent's.
        space: cut for them.
        family: whose packets.
    """

    def __init__(
        self, intent: Intent, sets: dict[str, model.Match], space: Space, family: Family
    ) -> None:
        self._intent, self._space = intent, space
        self._diagrams = space.diagrams
        self._sets: dict[str, Node] = {}
        for name, match in sets.items():
            mask = space.mask(match, family)
            self._sets[name] = space.diagrams.box([mask]) if isinstance(mask, tuple) else NO
        self.proxy = self.any_of("proxy uid", "proxy gid", "proxy mark")
        """What the proxy itself sends."""

    def _all(self, *names: str) -> Node:
        return self._diagrams.all_of(self._sets[name] for name in names)

    def any_of(self, *names: str) -> Node:
        """Give what is in one of the sets of these names."""
        return self._diagrams.any_of(self._sets[name] for name in names)

    def _not(self, name: str) -> Node:
        return self._diagrams.negation(self._sets[name])

    def sent(self) -> list[Case]:
        """Give the cases of what this host sends."""
        both, config = self._diagrams.both, self._intent.config
        outbound = Redirected(config.outbound_port)
        proxy_by_lo = both(self.proxy, self._sets["by lo"])
        cases: list[Case] = [
            self._direct("out of excluded", "an interface you excluded"),
        ]
        if self._intent.captures_inbound:
            if config.mode is Mode.TPROXY:
                handed = self._all("by lo", "tproxy mark", "tcp")
                cases.append(_handed(handed, "the proxy handing over in a client's name"))
            handed = both(proxy_by_lo, self._sets["handover"])
            cases.append(_handed(handed, "the proxy handing a connection to the app"))
            inbound = both(self._all("tcp", "included in"), self._not("kept"))
            inbound = both(inbound, self._not("excluded in"))
            inbound = both(inbound, self._not("excluded sources"))
            own = both(both(proxy_by_lo, inbound), self._not("localhost"))
            why = "the proxy calling its own pod counts as inbound"
            redirected = Redirected(config.inbound_port)
            cases.append(Case(own, redirected, why, Property.SELF_CALLS))
            alone = self.any_of("kept", "excluded in", "excluded sources")
            left = both(both(proxy_by_lo, self._sets["tcp"]), alone)
            why = "the proxy calling its own pod in a way that is left alone"
            cases.append(Case(left, Direct(), why, Property.SELF_CALLS))
        cases.append(Case(self.proxy, Direct(), "made by the proxy", Property.LOOP_FREE))
        cases.append(self._direct("excluded uid", "users you excluded"))
        cases.append(self._direct("excluded gid", "groups you excluded"))
        others = self._not("included gid")
        why = "groups you did not include"
        cases.append(Case(others, Direct(), why, Property.EXCEPTIONS_HOLD))
        cases.append(self._kept_network("kept destinations"))
        cases += self._excluded_outbound()
        if config.capture_dns is not DnsCapture.OFF:
            queries = both(self.any_of("tcp", "udp"), self._all("dns", "resolvers"))
            to_dns = Redirected(config.dns_port)
            cases.append(
                Case(queries, to_dns, "DNS queries that are captured", Property.CAPTURE_TOTAL)
            )
        loopback = both(self._all("by lo", "tcp", "included loopback"), self._not("localhost"))
        why = "loopback addresses you included"
        cases.append(Case(loopback, outbound, why, Property.CAPTURE_TOTAL))
        why = "the app talking to its own pod"
        cases.append(Case(self._sets["by lo"], Direct(), why, Property.UNTOUCHED))
        return [*cases, *self._captured_outbound(), _rest()]

    def _direct(self, name: str, why: str) -> Case:
        return Case(self._sets[name], Direct(), why, Property.EXCEPTIONS_HOLD)

    def _kept_network(self, name: str) -> Case:
        why = "addresses whose connections are kept for others"
        return Case(self._all("tcp", name), Direct(), why, Property.EXCEPTIONS_HOLD)

    def _excluded_outbound(self) -> Iterable[Case]:
        ports = self._all("tcp", "excluded out")
        yield Case(ports, Direct(), "outbound ports you excluded", Property.EXCEPTIONS_HOLD)
        yield self._direct("excluded networks", "destinations you excluded")

    def _captured_outbound(self) -> Iterable[Case]:
        outbound, total = Redirected(self._intent.config.outbound_port), Property.CAPTURE_TOTAL
        ports = self._all("tcp", "included out")
        yield Case(ports, outbound, "outbound ports captured whatever the address", total)
        networks = self._all("tcp", "included networks")
        yield Case(networks, outbound, "destinations that are captured", total)

    def received(self) -> list[Case]:
        """Give the cases of what comes in from outside."""
        both, within = self._diagrams.both, self._sets["from within"]
        cases = [self._direct("into excluded", "an interface you excluded")]
        as_outbound = (*self._excluded_outbound(), *self._captured_outbound())
        cases += [case._replace(where=both(case.where, within)) for case in as_outbound]
        why = "what comes from within counts as outbound"
        cases.append(Case(within, Direct(), why, Property.UNTOUCHED))
        kept = Case(
            self._all("tcp", "kept"),
            Direct(),
            "SSH, tunnel, health and telemetry ports",
            Property.EXCEPTIONS_HOLD,
        )
        excluded = kept._replace(
            where=self._all("tcp", "excluded in"), why="inbound ports you excluded"
        )
        sources = kept._replace(
            where=self._all("tcp", "excluded sources"), why="sources you excluded"
        )
        cases += [kept, self._kept_network("kept sources"), excluded, sources]
        if self._intent.captures_inbound:
            fate, total = self._intent.inbound_fate, Property.CAPTURE_TOTAL
            captured = self._all("tcp", "included in")
            cases.append(Case(captured, fate, "inbound ports that are captured", total))
        return [*cases, _rest()]


def _handed(where: Node, why: str) -> Case:
    return Case(where, Direct(), why, Property.LOOP_FREE)


def _rest() -> Case:
    return Case(YES, Direct(), "what nobody asked to be captured", Property.UNTOUCHED)
