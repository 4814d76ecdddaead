"""What packets need beside rules, as a backend: policy routes, and the hand-over's address."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

import msgspec

from interceptor.backends.drift import Finding, Kind
from interceptor.model import (
    OWN_PROTOCOL,
    LocalRoute,
    LoopbackAddress,
    MarkRule,
    Routing,
    Ruleset,
)
from interceptor.names import Family
from interceptor.system import rtnetlink
from interceptor.values import Mark

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from ipaddress import IPv4Address, IPv6Address

    from interceptor.backends.interface import Wanted
    from interceptor.backends.step import Step
    from interceptor.dialect import Dialect
    from interceptor.system.deadline import Deadline

NAME = "routing"

_ADDED = (LoopbackAddress, LocalRoute, MarkRule)
"""In this order: a rule that leads to an empty table would lead past it."""
_MISSING = {
    MarkRule: Kind.MISSING_IP_RULE,
    LocalRoute: Kind.MISSING_ROUTE,
    LoopbackAddress: Kind.MISSING_ADDRESS,
}


class Adopted(msgspec.Struct, frozen=True):
    """What was left by somebody whose place we take, and is known by what his rules say.

    Args:
        marks: rules of just such a mark count as ours, and the local routes of their tables.
        addresses: such addresses of ``lo`` count as ours, whoever put them there.
    """

    marks: frozenset[Mark] = frozenset()
    addresses: frozenset[IPv4Address | IPv6Address] = frozenset()


class RoutingBackend:
    """Routing rules, local routes and addresses of ``lo``.

    Ours is what the kernel has down as made by us. What we take over is made ours by the way,
    without a moment in which it is not there. What somebody else made and that does what is
    wanted is left to him.
    """

    name = NAME

    def __init__(self, adopted: Adopted = Adopted()) -> None:  # noqa: B008 - it is frozen
        self._adopted = adopted

    def families(self) -> frozenset[Family]:
        """Give both: the kernel says by itself what it lacks."""
        return frozenset(Family.INET.members)

    def observe(self, deadline: Deadline) -> Ruleset:
        """Look at what is there, of anybody."""
        deadline.remaining("looking at routes")
        return Ruleset(routing=rtnetlink.look())

    def own(self, observed: Ruleset) -> Ruleset:
        """Give what of it is ours, or taken over."""
        tables = {
            (one.family, one.table)
            for one in observed.routing
            if isinstance(one, MarkRule) and _mark(one) in self._adopted.marks
        }
        return Ruleset(routing=tuple(o for o in observed.routing if self._is_own(o, tables)))

    def _is_own(self, one: Routing, tables: set[tuple[Family, int]]) -> bool:
        if one.protocol == OWN_PROTOCOL:
            return True
        match one:
            case MarkRule():
                return _mark(one) in self._adopted.marks
            case LocalRoute():
                return (one.family, one.table) in tables
            case LoopbackAddress():
                return one.address in self._adopted.addresses
            case _:
                assert_never(one)

    def target(self, ruleset: Ruleset, dialect: Dialect) -> Ruleset:
        """Give what a policy needs beside its rules."""
        del dialect
        return Ruleset(routing=ruleset.routing)

    def made(self, target: Ruleset) -> tuple[str, ...]:
        """Name nothing: what is ours is known by itself."""
        del target
        return ()

    def plan(self, wanted: Wanted, observed: Ruleset) -> tuple[Step, ...]:
        """Give what has to be added, taken over and, last, removed.

        To put back what was there is to put it back as it was, with its maker's name.
        """
        as_it_was = wanted.like is not None
        kept = {one if as_it_was else _as_ours(one) for one in wanted.ruleset.routing}
        own = set(self.own(observed).routing)
        there = set(map(_anywhere, observed.routing))
        foreign = {_ours(one) for one in observed.routing if one not in own}
        adds = {
            one
            for one in kept
            if _anywhere(one) not in there and _ours(one) not in foreign and _is_possible(one)
        }
        names = set(map(_anywhere, kept))
        gone = set(_gone({one for one in map(_anywhere, own) if one not in names}, kept))
        return (
            *map(AddStep, sorted(adds, key=_order)),
            *map(RemoveStep, sorted(gone, key=_order, reverse=True)),
        )

    def expected(self, wanted: Wanted, observed: Ruleset) -> Ruleset:
        """Give what will be there once what is planned is done."""
        there = set(observed.routing)
        for step in self.plan(wanted, observed):
            if isinstance(step, AddStep):
                if not isinstance(step.what, MarkRule):
                    there -= {one for one in there if _ours(one) == _ours(step.what)}
                there.add(step.what)
            elif isinstance(step, RemoveStep):
                there -= {one for one in there if _anywhere(one) == step.what}
        return Ruleset(routing=tuple(there))

    def findings(self, target: Ruleset, observed: Ruleset) -> tuple[Finding, ...]:
        """Name what is missing, whoever should have made it, and what is ours and not meant."""
        there = {_ours(one) for one in observed.routing}
        meant = {_ours(one) for one in target.routing}
        missing = [o for o in target.routing if _ours(o) not in there and _is_possible(o)]
        extra = [one for one in self.own(observed).routing if _ours(one) not in meant]
        return (
            *(Finding(_MISSING[type(one)], NAME, str(one)) for one in missing),
            *(Finding(Kind.EXTRA_ROUTING, NAME, str(one)) for one in extra),
        )

    def shadowing(self, target: Ruleset, observed: Ruleset) -> tuple[Finding, ...]:
        """Find nothing: it is about packets that only we mark."""
        del target, observed
        return ()


class AddStep(msgspec.Struct, frozen=True):
    """Something added, or made ours."""

    what: Routing

    def apply(self, deadline: Deadline) -> None:
        """Add it; if it is there, nothing changes."""
        deadline.remaining(f"adding {self.what}")
        match self.what:
            case LoopbackAddress():
                rtnetlink.add_address(self.what)
            case LocalRoute():
                from interceptor.system import routes

                routes.add_route(self.what)
            case MarkRule():
                from interceptor.system import routes

                routes.add_rule(self.what)
            case _:
                assert_never(self.what)

    def describe(self) -> dict[str, object]:
        """Give the command that would do it."""
        return {"argv": _command(self.what, "add"), "stdin": ""}


class RemoveStep(msgspec.Struct, frozen=True):
    """Something removed."""

    what: Routing

    def apply(self, deadline: Deadline) -> None:
        """Remove it; if it is gone, nothing changes."""
        deadline.remaining(f"removing {self.what}")
        match self.what:
            case LoopbackAddress():
                rtnetlink.remove_address(self.what)
            case LocalRoute():
                from interceptor.system import routes

                routes.remove_route(self.what)
            case MarkRule():
                from interceptor.system import routes

                routes.remove_rule(self.what)
            case _:
                assert_never(self.what)

    def describe(self) -> dict[str, object]:
        """Give the command that would do it."""
        return {"argv": _command(self.what, "del"), "stdin": ""}


def _mark(one: MarkRule) -> Mark:
    return Mark(one.mark, one.mask)


def _is_possible(one: Routing) -> bool:
    """Whether it can be there; what cannot is not needed either."""
    return rtnetlink.lo_takes(one.family)


def _ours(one: Routing) -> Routing:
    """Give the same thing as made by us, wherever."""
    return msgspec.structs.replace(_anywhere(one), protocol=OWN_PROTOCOL)


def _as_ours(one: Routing) -> Routing:
    """Give what we make or have made where it is; what another made, as ours, wherever."""
    return one if one.protocol == OWN_PROTOCOL else _ours(one)


def _anywhere(one: Routing) -> Routing:
    """Give the same thing without its place among others."""
    return msgspec.structs.replace(one, priority=0) if isinstance(one, MarkRule) else one


def _gone(unwanted: Iterable[Routing], kept: Iterable[Routing]) -> Iterator[Routing]:
    """Give what is to be removed; what was taken over after it was looked at has our name now.

    To add a route or an address replaces what is there of another maker; a rule stays beside it.
    """
    replaced = {_ours(one) for one in kept}
    for one in unwanted:
        if isinstance(one, MarkRule) or _ours(one) not in replaced:
            yield one
        if _ours(one) not in replaced:
            yield _ours(one)


def _order(one: Routing) -> tuple[int, str]:
    return _ADDED.index(type(one)), str(one)


def _command(what: Routing, verb: str) -> list[str]:
    ip, family, thing, *words = str(what).split()
    # Older versions of ip cannot say who an address is of.
    maker = [] if isinstance(what, LoopbackAddress) else ["protocol", str(what.protocol)]
    at = ["priority", str(what.priority)] if isinstance(what, MarkRule) and what.priority else []
    return [ip, family, thing, verb, *words, *at, *maker]
